"""Rules about the commands in docs/kubernetes.md: every name in them is defined by the manifests."""

from __future__ import annotations

import re
from collections.abc import Iterator

from manifests.objects import ROOT, Objects, constant, matches
from manifests.secrets import hosts_of_certificates
from manifests.startup_rules import documentation, documented_objects

# Overlays with images of a release. An operator's may be called anything.
OF_A_RELEASE = {"production", "gpu"}
KINDS = {
    "job": "Job",
    "deployment": "Deployment",
    "statefulset": "StatefulSet",
    "service": "Service",
    "secret": "Secret",
    "configmap": "ConfigMap",
}


def command_blocks(language: str = "bash") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", documentation("kubernetes"), re.DOTALL)


def commands(language: str = "bash") -> str:
    return "\n".join(command_blocks(language))


def commands_name_what_is_there(objects: Objects) -> Iterator[str]:
    text = re.sub(r"\\\n\s*", " ", commands())
    made = {name for _, name in documented_objects()}
    for kind, name in sorted(set(re.findall(rf"\b({'|'.join(KINDS)})[/ ](?:generic )?([a-z][a-z-]*)\b", text))):
        if objects.named(KINDS[kind], name) is None and name not in made:
            yield f"docs/kubernetes.md has people type {kind}/{name}, which is not there"
    for name, port in re.findall(r"port-forward service/(\S+) \d+:(\d+)", text):
        service = objects.named("Service", name)
        if service and port not in {str(known["port"]) for known in service["spec"]["ports"]}:
            yield f"docs/kubernetes.md forwards port {port} of the Service {name}, which has no such port"
    for path in re.findall(r"\bkubectl apply -[kf] (\S+)", text):
        if not (ROOT / path).exists():
            yield f"docs/kubernetes.md applies {path}, which is not there"
    for namespace in sorted(
        {*re.findall(r"-n (\S+)", text)} - {found["metadata"]["name"] for found in objects.of("Namespace")}
    ):
        yield f"docs/kubernetes.md works in the namespace {namespace}, which is not made"


def what_scales_is_left_out_at_first(objects: Objects) -> Iterator[str]:
    """The first apply leaves out what the selector of its command does, and that is KEDA's."""
    label, value = re.search(r"--selector '(\S+)!=(\S+)'", commands()).groups()
    left_out = [found for found in objects.all if found["metadata"].get("labels", {}).get(label) == value]
    for found in objects.all:
        if (found in left_out) != (found["kind"] == "ScaledObject"):
            is_there = "left out of" if found in left_out else "in"
            yield f"{found['kind']}/{found['metadata']['name']} is {is_there} the first apply"


def certificates_are_for_the_names_in_use(objects: Objects) -> Iterator[str]:
    """Names of NATS servers among themselves; those that clients use are tried by logging in."""
    hosts = hosts_of_certificates()
    if objects.overlay == "local":
        return
    for host in re.findall(r"nats://([^:\"]+)", objects.settings("nats")["NATS_ROUTES"]):
        if not any(is_for(pattern, host) for pattern in hosts["nats-tls"]):
            yield f"a server of NATS is addressed as {host}, which docs/kubernetes.md puts in no certificate"
    wanted = re.search(r"secretName: (\S+)\n(?:.*\n)*?\s*dnsNames: \[(.*)\]", commands("yaml"))
    if re.findall(r"[\w*.-]+", wanted[2]) != hosts.get(wanted[1]):
        secret, names = wanted.groups()
        yield f"docs/kubernetes.md has cert-manager make {secret} for {names}, and its table says {hosts.get(secret)}"


def is_for(pattern: str, host: str) -> bool:
    """As Go has it, which NATS is written in: `*` is the whole first label."""
    return pattern == host or pattern.startswith("*.") and host.partition(".")[2] == pattern[2:]


def images_are_of_this_version(objects: Objects) -> Iterator[str]:
    version = constant("Cargo.toml", r'\[workspace\.package\]\n(?:.*\n)*?version = "(.*)"')
    images = {name: objects.container(name)["image"] for name in objects.ours()}
    for name, image in images.items():
        tag = image.rpartition(":")[2]
        # As the release names them (IMAGE_TAG in .github/workflows/images.yml).
        if objects.overlay in OF_A_RELEASE and not re.fullmatch(rf"v{re.escape(version)}(-\w+)?", tag):
            yield f"{name} runs the image {image}, and a release names it v{version}"
    if images["api"] != images["set-up"]:
        yield f"set-up runs {images['set-up']}, and sets up for {images['api']}"


def evictions_are_possible(objects: Objects) -> Iterator[str]:
    """A budget that allows no disruption prevents a node from being drained."""
    for found in objects.of("PodDisruptionBudget"):
        spec = found["spec"]
        for workload in objects.of("Deployment", "StatefulSet"):
            replicas, kept = workload["spec"].get("replicas"), spec.get("minAvailable")
            all_stay = kept == "100%" or isinstance(kept, int) and isinstance(replicas, int) and kept >= replicas
            none_may_go = spec.get("maxUnavailable") in (0, "0%")
            if matches(spec["selector"]["matchLabels"], workload["spec"]["template"]["metadata"]["labels"]) and (
                all_stay or none_may_go
            ):
                budget, pods = found["metadata"]["name"], workload["metadata"]["name"]
                yield f"PodDisruptionBudget/{budget} may let no pod of {pods} go"


RULES = [
    commands_name_what_is_there,
    what_scales_is_left_out_at_first,
    certificates_are_for_the_names_in_use,
    images_are_of_this_version,
    evictions_are_possible,
]
