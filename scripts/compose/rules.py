"""Checks the settings in docker-compose.yml against docs/configuration.md: none unknown, none missing.

`make test-compose` runs the file, and would not notice a misspelt variable.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

from manifests.objects import ROOT
from manifests.startup_rules import documentation, documented_settings

# What follows from the images and from where containers find each other, and what hangs together with
# stop_grace_period: set in the file, and not by those who use it.
OF_THE_FILE = {
    *(
        "HOST",
        "PORT",
        "PROBES_ADDRESS",
        "NATS_CREDENTIALS_FILE",
        "NATS_CA_FILE",
        "NATS_CERTIFICATE_FILE",
        "NATS_KEY_FILE",
    ),
    *("REDIS_CA_FILE", "FETCH_CA_FILE", "WEBHOOK_CA_FILE"),
    *("MODELS_DIR", "EXECUTION_PROVIDER", "ORT_DYLIB_PATH", "SHUTDOWN_GRACE_SECONDS"),
}
# The services of the project, each with its sections of docs/configuration.md.
SECTIONS = {
    "api": ("API", "Both: the queue", "Both: logs", "Both: traces"),
    "worker": ("Worker", "Both: the queue", "Both: logs", "Both: traces"),
    "notifier": ("Notifier", "Both: the queue", "Both: logs"),
    "setup": ("Set-up", "Both: the queue", "Both: logs"),
}


def settings_in(section: str) -> set[str]:
    text = documentation("configuration").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))


def compose_file() -> dict:
    import yaml

    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def compose_problems(compose: dict) -> list[str]:
    problems = []
    for service in ("api", "worker", "notifier", "setup", "models", "tools"):
        given = compose["services"][service]["environment"]
        problems += [
            f"{service} is given {name}, which no documentation knows"
            for name in sorted(given.keys() - documented_settings())
        ]
        wanted = set().union(*(settings_in(section) for section in SECTIONS.get(service, ()))) - OF_THE_FILE
        problems += [f"{service} is not given {name}" for name in sorted(wanted - given.keys())]
    problems += wrong_passwords(compose["services"])
    return problems


def wrong_passwords(services: dict) -> list[str]:
    """Each part's login is, by default, the one that NATS knows."""
    problems, passwords = [], services["nats"]["environment"]
    for service, user in [
        *((part, part) for part in ("api", "worker", "notifier", "setup")),
        ("tools", "operator"),
    ]:
        address = services[service]["environment"]["NATS_URL"]
        known = passwords.get(f"NATS_{user.upper()}_PASSWORD")
        if not address.startswith(f"nats://{user}:{known}@"):
            problems.append(f"{service} logs in by {address}, and NATS knows {user} by {known}")
    return problems


# --- Seen to fail -----------------------------------------------------------------------------


def set_in(service: str, name: str, value: str | None) -> Callable[[dict], None]:
    def change(compose: dict) -> None:
        environment = compose["services"][service]["environment"] = dict(compose["services"][service]["environment"])
        environment.pop(name, None)
        environment.update({} if value is None else {name: value})

    return change


WRONG = {
    "worker is given CONCURENCY, which": set_in("worker", "CONCURENCY", "2"),
    "api is not given RECONCILE_SECONDS": set_in("api", "RECONCILE_SECONDS", None),
    "setup is not given NATS_REPLICAS": set_in("setup", "NATS_REPLICAS", None),
    "tools logs in by": set_in("nats", "NATS_OPERATOR_PASSWORD", "${NATS_OPERATOR_PASSWORD:-other}"),
    "worker logs in by": set_in("worker", "NATS_URL", "nats://worker:other@nats:4222"),
}


def rules_that_cannot_fail() -> list[str]:
    let_through = []
    for expected, change in WRONG.items():
        compose = copy.deepcopy(compose_file())
        change(compose)
        if not any(problem.startswith(expected) for problem in compose_problems(compose)):
            let_through.append(f"docker-compose.yml: '{expected}…' was not found")
    return let_through
