"""The crates that a build of the images compiled, from its log, and whether a rebuild was a small part of a full one.

There is no limit in seconds, which would depend on the machine and on what else it does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

# cargo's line, behind BuildKit's step and time. Crates of the workspace are shown with their folder.
COMPILING = re.compile(r"\bCompiling (?P<crate>\S+) v\S+(?P<ours> \(/build/)?")
# A changed line in services/api compiles the API, and the command that contains it.
AFTER_A_CHANGE = {"spotter-api", "spotter"}
# The maximum share of a full build's time that a rebuild may take. Measured: 70.3 s after 717 s, a tenth, on a busy
# machine; the last step, linking two programs, takes most of it.
LARGEST_SHARE = 1 / 4
# A build that compiled fewer external crates than this found most of them in the builder's cache, and is no measure
# of a full one.
LEAST_OF_A_WHOLE_BUILD = 100


@dataclass(frozen=True)
class Build:
    """One build: how long it took, which crates of the workspace it compiled, and how many of others."""

    seconds: float
    ours: frozenset[str]
    others: int

    @classmethod
    def of(cls, seconds: float, log: str) -> Build:
        found = list(COMPILING.finditer(log))
        ours = frozenset(match["crate"] for match in found if match["ours"])
        return cls(seconds, ours, len(found) - sum(1 for match in found if match["ours"]))

    @classmethod
    def sum(cls, builds: Iterable[Build]) -> Build:
        """Several builds, one after another."""
        all_of_them = list(builds)
        ours = frozenset().union(*(build.ours for build in all_of_them))
        return cls(sum(build.seconds for build in all_of_them), ours, sum(build.others for build in all_of_them))

    def is_whole(self) -> bool:
        return self.others >= LEAST_OF_A_WHOLE_BUILD


def describe(first: Build, rebuild: Build) -> str:
    rebuilt = f"rebuilt after a changed line in services/api in {rebuild.seconds:.1f} s"
    if not first.is_whole():
        return f"{rebuilt}; its share is not checked: the first build compiled only {first.others} external crates"
    return f"{rebuilt}, {rebuild.seconds / first.seconds:.0%} of the first build"


def problem_of_a_rebuild(first: Build, rebuild: Build) -> str | None:
    """What is wrong with a build after a changed line in services/api; None if nothing is."""
    if "spotter-api" not in rebuild.ours:
        return "the log of the rebuild does not say that spotter-api was compiled"
    if rebuild.others:
        return f"the rebuild compiled {rebuild.others} external crates, which had not changed"
    if rebuild.ours - AFTER_A_CHANGE:
        return f"the rebuild compiled what had not changed: {', '.join(sorted(rebuild.ours - AFTER_A_CHANGE))}"
    if first.is_whole() and rebuild.seconds > LARGEST_SHARE * first.seconds:
        return (
            f"a rebuild took {rebuild.seconds:.1f} s, more than {LARGEST_SHARE:.0%} of the {first.seconds:.1f} s "
            "that the first build took"
        )
    return None
