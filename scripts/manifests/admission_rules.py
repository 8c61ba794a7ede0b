"""Rules that a schema does not express: what Kubernetes does not admit, and connections that must be allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from manifests.objects import Objects, matches, quantity

DNS = "namespace kube-system"
INTERNET = "the internet"
# The connections that the system and its monitoring need, with their ports; `worker` is each pool of workers.
NEEDED = {
    ("api", "nats", "client"),
    ("api", "redis", "redis"),
    # Pictures by URL.
    ("api", INTERNET, 443),
    ("worker", "nats", "client"),
    ("notifier", "nats", "client"),
    # Receivers of webhooks.
    ("notifier", INTERNET, 443),
    ("set-up", "nats", "client"),
    ("nats", "nats", "cluster"),
    ("namespace ingress-nginx", "api", "http"),
    ("namespace monitoring", "api", "probes"),
    ("namespace monitoring", "worker", "probes"),
    ("namespace monitoring", "notifier", "probes"),
    ("namespace keda", "nats", "monitor"),
    ("api", "namespace observability", 4318),
    ("worker", "namespace observability", 4318),
    *((name, DNS, 53) for name in ("api", "worker", "notifier", "set-up", "nats")),
}
LONGEST_PORT_NAME = 15


def who_needs_each_other_may_talk(objects: Objects) -> Iterator[str]:
    for one, other, port in sorted(needed(objects), key=str):
        neighbour = next((name for name in (one, other) if name.startswith("namespace ")), DNS)
        if neighbour != DNS and not objects.is_ours:
            continue
        if not one.startswith("namespace ") and not is_allowed(objects, one, "egress", other, port):
            yield f"{one} may not speak to {other} on port {port}, and needs to"
        if other == INTERNET or other.startswith("namespace "):
            continue
        if not is_allowed(objects, other, "ingress", one, port):
            yield f"{other} does not listen to {one} on port {port}, which needs it"
    for name, _ in objects.workloads():
        for policy in policies_of(objects, name):
            names = {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule.get("ports", [])}
            declared = objects.container(name).get("ports", [])
            for port in sorted(names - {p["name"] for p in declared} - {p["containerPort"] for p in declared}, key=str):
                yield f"{name} is reached at port {port} by a policy, and has no such port"


def needed(objects: Objects) -> set[tuple[str, str, object]]:
    pools = {"worker": objects.pools()}
    return {
        (one, other, port)
        for first, second, port in NEEDED
        for one in pools.get(first, [first])
        for other in pools.get(second, [second])
    }


def policies_of(objects: Objects, name: str) -> list[dict]:
    labels = objects.template(name)["metadata"].get("labels", {})
    policies = objects.of("NetworkPolicy")
    return [policy for policy in policies if matches(policy["spec"]["podSelector"].get("matchLabels", {}), labels)]


def is_allowed(objects: Objects, name: str, direction: str, other: str, port: object) -> bool:
    side = {"ingress": "from", "egress": "to"}[direction]
    for policy in policies_of(objects, name):
        for rule in policy["spec"].get(direction, []):
            ports = rule.get("ports")
            # Names are asked for over both protocols: an answer that is too long for UDP comes again over TCP.
            wanted = {"UDP", "TCP"} if port == 53 else {"TCP"}
            found = {given.get("protocol", "TCP") for given in ports or [] if given.get("port") == port}
            if (ports is None or wanted <= found) and any(is_peer(objects, peer, other) for peer in rule.get(side, [])):
                return True
    return False


def is_peer(objects: Objects, peer: dict, other: str) -> bool:
    if "ipBlock" in peer or other == INTERNET:
        return other == INTERNET and peer.get("ipBlock", {}).get("cidr") == "0.0.0.0/0"
    if other.startswith("namespace "):
        selector = peer.get("namespaceSelector", {}).get("matchLabels", {})
        return selector.get("kubernetes.io/metadata.name") == other.removeprefix("namespace ")
    labels = objects.template(other)["metadata"]["labels"]
    return "namespaceSelector" not in peer and matches(peer.get("podSelector", {}).get("matchLabels", {}), labels)


def pods_are_admitted(objects: Objects) -> Iterator[str]:
    for name, spec, container in objects.containers():
        resources = container.get("resources", {})
        for kind, wanted in resources.get("requests", {}).items():
            limit = resources.get("limits", {}).get(kind)
            if limit is not None and quantity(wanted) > quantity(limit):
                yield f"{name} requests {wanted} of {kind}, more than its limit of {limit}"
        lists = {
            "port": [port["name"] for port in container.get("ports", []) if "name" in port],
            "mount": [mount["mountPath"] for mount in container.get("volumeMounts", [])],
            "volume": [volume["name"] for volume in spec.get("volumes", [])],
        }
        for what, entries in lists.items():
            for twice in sorted(entry for entry, times in Counter(entries).items() if times > 1):
                yield f"{name} has the {what} {twice} twice"
        for port in lists["port"]:
            if len(port) > LONGEST_PORT_NAME:
                yield f"{name}: the port's name {port} is longer than {LONGEST_PORT_NAME} letters"
    for found in objects.of("Job"):
        if found["spec"]["template"]["spec"].get("restartPolicy") not in ("Never", "OnFailure"):
            yield f"Job/{found['metadata']['name']} is to be restarted for ever"


def numbers_of_pods_are_admitted(objects: Objects) -> Iterator[str]:
    for found in objects.of("HorizontalPodAutoscaler", "ScaledObject"):
        spec, name = found["spec"], f"{found['kind']}/{found['metadata']['name']}"
        least, most = (spec.get(f"{end}Replicas", spec.get(f"{end}ReplicaCount")) for end in ("min", "max"))
        if (least or 0) > most:
            yield f"{name} wants {least} pods at least and {most} at most"
        kept = spec.get("fallback", {}).get("replicas", 0)
        if kept > most:
            yield f"{name} falls back to {kept} pods, more than {most}"
    for found in objects.of("Deployment"):
        update = found["spec"].get("strategy", {}).get("rollingUpdate", {})
        if all(str(update.get(key, "25%")).rstrip("%") == "0" for key in ("maxSurge", "maxUnavailable")):
            yield f"Deployment/{found['metadata']['name']} may neither add nor remove a pod to replace one"


RULES = [who_needs_each_other_may_talk, pods_are_admitted, numbers_of_pods_are_admitted]
