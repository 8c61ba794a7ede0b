"""The variables and arguments of a container, as the kubelet expands them.

The kubelet replaces `$(NAME)` in a variable's value by a variable that stands before it in the same
container's list, or that comes from `envFrom`; in `command` and `args` by any of the container's
variables. A reference to anything else stays as it is, and the program is given the text `$(NAME)`.
`$$` is a `$` that begins no reference. Values from ConfigMaps and Secrets are not expanded, nor are
the commands of probes and hooks. Source: Kubernetes' documentation, "Define Dependent Environment
Variables" and `third_party/forked/golang/expansion`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

REFERENCE = re.compile(r"\$\$|\$\((?P<name>[^)]*)\)")

# The values of an object of that kind and name, or None where it is not known.
Lookup = Callable[[str, str], "dict[str, str] | None"]


@dataclass
class Started:
    """Variables and arguments as the program sees them, and the references that were not replaced."""

    variables: dict[str, str] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    # Where a reference stands, and its name.
    unresolved: list[tuple[str, str]] = field(default_factory=list)

    def expand(self, text: str, place: str) -> str:
        def replace(found: re.Match) -> str:
            name = found["name"]
            if name is None:
                return "$"
            if name not in self.variables:
                self.unresolved.append((place, name))
                return found[0]
            return self.variables[name]

        return REFERENCE.sub(replace, text)


def started(container: dict, lookup: Lookup) -> Started:
    """`container` as the kubelet starts it, with what `lookup` says of ConfigMaps and Secrets."""
    result = Started()
    for source in container.get("envFrom", []):
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            values = lookup(kind, source[key]["name"]) if key in source else None
            result.variables |= {source.get("prefix", "") + name: value for name, value in (values or {}).items()}
    for entry in container.get("env", []):
        name = entry["name"]
        if entry.get("valueFrom"):
            result.variables[name] = value_from(entry["valueFrom"], lookup)
        else:
            result.variables[name] = result.expand(entry.get("value", ""), name)
    for key in ("command", "args"):
        result.arguments += [result.expand(text, key) for text in container.get(key, [])]
    return result


def value_from(source: dict, lookup: Lookup) -> str:
    """The value of a variable with a source; its reference, where the value is not known."""
    for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if key in source:
            reference = source[key]
            return (lookup(kind, reference["name"]) or {}).get(
                reference["key"], f"{reference['name']}/{reference['key']}"
            )
    return next(iter(source.values())).get("fieldPath", "")
