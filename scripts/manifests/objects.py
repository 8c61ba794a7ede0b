"""Rendered manifests, and lookups in them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

from manifests.environment import Started, started

ROOT = Path(__file__).resolve().parent.parent.parent

OVERLAYS = ["local", "production", "gpu"]
# Pods that run `spotter-worker` have this label, whatever their pool is called.
POOL_LABEL = ("app.kubernetes.io/component", "worker")
WORKLOADS = {"Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}


class Objects:
    """The objects of one overlay, by kind and by name."""

    def __init__(self, objects: list[dict], overlay: str) -> None:
        self.all = objects
        # Of "production with worker-large", production.
        self.overlay = overlay.partition(" with ")[0]
        # An operator's own overlay is named by its folder, and may name neighbours as they are called there.
        self.is_ours = self.overlay in OVERLAYS

    def of(self, *kinds: str) -> list[dict]:
        return [found for found in self.all if found["kind"] in kinds]

    def named(self, kind: str, name: str) -> dict | None:
        return next((found for found in self.of(kind) if found["metadata"]["name"] == name), None)

    def workloads(self) -> Iterator[tuple[str, dict]]:
        """The name and the pod's template of everything that makes pods."""
        for found in self.of(*WORKLOADS):
            spec = found["spec"]["jobTemplate"]["spec"] if found["kind"] == "CronJob" else found["spec"]
            yield found["metadata"]["name"], spec["template"]

    def containers(self) -> Iterator[tuple[str, dict, dict]]:
        """Each container, with the name of its workload and the pod's specification."""
        for name, template in self.workloads():
            for container in template["spec"].get("initContainers", []) + template["spec"]["containers"]:
                yield name, template["spec"], container

    def pools(self) -> list[str]:
        """The Deployments of workers, the first pool first."""
        key, value = POOL_LABEL
        labels = {name: template["metadata"].get("labels", {}) for name, template in self.workloads()}
        named = [name for name, found in labels.items() if found.get(key) == value]
        return sorted(named, key=lambda name: (name != "worker", name))

    def ours(self) -> list[str]:
        """The workloads with programs of the project."""
        return ["api", *self.pools(), "notifier", "set-up"]

    def template(self, name: str) -> dict:
        return dict(self.workloads())[name]

    def container(self, name: str) -> dict:
        return self.template(name)["spec"]["containers"][0]

    def nats_files(self) -> dict[str, str]:
        (files,) = [
            found["data"] for found in self.of("ConfigMap") if found["metadata"]["name"].startswith("nats-config")
        ]
        return files

    def nats_config(self) -> str:
        """The file that the NATS servers are started with."""
        return self.nats_files()[self.container("nats")["args"][-1].rpartition("/")[2]]

    def values(self, kind: str, name: str) -> dict[str, str] | None:
        """What a ConfigMap or a Secret of these manifests holds."""
        found = self.named(kind, name)
        if found is None or kind == "ConfigMap":
            return None if found is None else found.get("data", {})
        decoded = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
        return decoded | found.get("stringData", {})

    def started(self, container: dict) -> Started:
        return started(container, self.values)

    def settings(self, name: str) -> dict[str, str]:
        """The variables that a workload's program is given; a secret that is not here by its name and key."""
        return self.started(self.container(name)).variables


def constant(file: str, pattern: str) -> str:
    """What the source says: one rule for names in two places."""
    return constants(file, pattern)[0]


def constants(file: str, pattern: str) -> list[str]:
    """As `constant`, all of them in their order."""
    return re.findall(pattern, (ROOT / file).read_text())


def quantity(text: object) -> float:
    """`250m`, `2`, `1Gi`, `16GB` as a number."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    mebi, gibi = 2**20, 2**30
    units = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": mebi, "Gi": gibi, "MiB": mebi, "MB": mebi, "mb": mebi, "GB": gibi}
    return float(number) * units[unit]


def matches(selector: dict, labels: dict) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())
