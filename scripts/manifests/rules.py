"""The rules for the manifests in k8s/ in addition to Kubernetes' own schemas.

Each rule is a function that takes the objects of one overlay and yields the problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from manifests.admission_rules import INTERNET
from manifests.admission_rules import RULES as ADMISSION_RULES
from manifests.documentation_rules import RULES as DOCUMENTATION_RULES
from manifests.internet_rules import RULES as INTERNET_RULES
from manifests.objects import WORKLOADS, Objects, matches, quantity
from manifests.pool_rules import RULES as POOL_RULES
from manifests.port_rules import RULES as PORT_RULES
from manifests.queue_rules import RULES as QUEUE_RULES
from manifests.startup_rules import RULES as STARTUP_RULES

WITHOUT_NAMESPACE = {"Namespace", "PriorityClass"}
# Namespaces of others, as network-policies.yaml and docs/kubernetes.md name them.
NEIGHBOURS = {"kube-system", "ingress-nginx", "keda", "monitoring", "observability"}
# Volumes that Pod Security "restricted" lets a pod have, of those in use.
VOLUMES = {"configMap", "emptyDir", "secret", "persistentVolumeClaim"}
MIB = 1 << 20


Rule = Callable[[Objects], Iterator[str]]


def problems_of(objects: list[dict], overlay: str) -> list[str]:
    found, problems = Objects(objects, overlay), []
    for rule in RULES:
        try:
            problems += rule(found)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            problems.append(f"'{rule.__name__}' cannot be judged: {type(error).__name__} {error}")
    return problems


# --- What there is -----------------------------------------------------------------------


def names_are_unique_and_in_one_namespace(objects: Objects) -> Iterator[str]:
    seen = set()
    for found in objects.all:
        key = (found["kind"], found["metadata"]["name"])
        if key in seen:
            yield f"{key[0]}/{key[1]} is there twice"
        seen.add(key)
        if found["kind"] not in WITHOUT_NAMESPACE and found["metadata"].get("namespace") != "spotter":
            yield f"{key[0]}/{key[1]} is not in the namespace spotter"
    labels = objects.named("Namespace", "spotter")["metadata"]["labels"]
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        yield "the namespace does not enforce Pod Security 'restricted'"


def selectors_find_something(objects: Objects) -> Iterator[str]:
    labels = {name: template["metadata"]["labels"] for name, template in objects.workloads()}
    for found in objects.of("Deployment", "StatefulSet"):
        name = found["metadata"]["name"]
        if not matches(found["spec"]["selector"]["matchLabels"], labels[name]):
            yield f"{found['kind']}/{name} selects other pods than its own"
    for found in objects.of("Service", "PodDisruptionBudget"):
        selector = found["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        chosen = [name for name in labels if matches(selector, labels[name])]
        if not chosen:
            yield f"{found['kind']}/{found['metadata']['name']} selects no pod"
        for port in found["spec"].get("ports", []) if chosen else []:
            ports = {port["name"] for port in objects.container(chosen[0])["ports"]}
            if port["targetPort"] not in ports:
                yield f"Service/{found['metadata']['name']} leads to port {port['targetPort']}, which no container has"
    for name, template in objects.workloads():
        for constraint in template["spec"].get("topologySpreadConstraints", []):
            if not matches(constraint["labelSelector"]["matchLabels"], labels[name]):
                yield f"{name} is spread by the labels of others"
    for found in objects.of("Ingress"):
        for path in (path for rule in found["spec"]["rules"] for path in rule["http"]["paths"]):
            if objects.named("Service", path["backend"]["service"]["name"]) is None:
                yield f"the Ingress leads from {path['path']} to a service that is not there"


def references_lead_somewhere(objects: Objects) -> Iterator[str]:
    for name, template in objects.workloads():
        spec = template["spec"]
        if objects.named("PriorityClass", spec.get("priorityClassName", "")) is None:
            yield f"{name} has no PriorityClass that is there"
        account = objects.named("ServiceAccount", spec.get("serviceAccountName", ""))
        if account is None or account.get("automountServiceAccountToken") is not False:
            yield f"{name} has no ServiceAccount without a token"
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        claims = [found for found in objects.of("StatefulSet") if found["metadata"]["name"] == name]
        templates = {t["metadata"]["name"] for found in claims for t in found["spec"]["volumeClaimTemplates"]}
        for container in spec["containers"]:
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes.keys() | templates:
                    yield f"{name} mounts the volume {mount['name']}, which it has not"
        for volume in volumes.values():
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and objects.named("PersistentVolumeClaim", claim) is None:
                yield f"{name} mounts the claim {claim}, which is not there"


def what_is_scaled_is_there_and_counts_nowhere_else(objects: Objects) -> Iterator[str]:
    for found in objects.of("ScaledObject", "HorizontalPodAutoscaler"):
        target = found["spec"]["scaleTargetRef"]["name"]
        deployment = objects.named("Deployment", target)
        if deployment is None:
            yield f"{found['kind']}/{found['metadata']['name']} scales the Deployment {target}, which is not there"
        elif "replicas" in deployment["spec"]:
            yield f"Deployment/{target} has a number of replicas, and each apply would set it back to that"


# --- What a pod may ----------------------------------------------------------------------


def pods_are_confined(objects: Objects) -> Iterator[str]:
    for name, template in objects.workloads():
        spec = template["spec"]
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name} is given a token for the Kubernetes API"
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name} may run as root"
        if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name} has no seccomp profile"
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(key):
                yield f"{name} has {key}"
        for volume in spec.get("volumes", []):
            if not VOLUMES & volume.keys():
                yield f"{name} has a volume of a kind that is not allowed: {volume['name']}"
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
            if any(context.get(key) is not value for key, value in wanted.items()):
                yield f"{name}: its container {container['name']} may write to its root or gain rights"
            if context.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name}: its container {container['name']} keeps capabilities"


def containers_say_what_they_need(objects: Objects) -> Iterator[str]:
    for found in objects.of(*WORKLOADS):
        name = found["metadata"]["name"]
        for container in found["spec"]["template"]["spec"]["containers"]:
            tag = container["image"].rpartition("/")[2].partition(":")[2]
            if tag in ("", "latest"):
                yield f"{name}: the image {container['image']} has no tag that says which"
            for kind in ("requests", "limits"):
                missing = {"cpu", "memory"} - container.get("resources", {}).get(kind, {}).keys()
                if missing:
                    yield f"{name}: no {kind} of {' and '.join(sorted(missing))}"
            probes = {"startupProbe", "readinessProbe", "livenessProbe"} - container.keys()
            if found["kind"] != "Job" and probes:
                yield f"{name} has no {' and no '.join(sorted(probes))}"


# --- The network -------------------------------------------------------------------------


def policies(objects: Objects, name: str, direction: str) -> Iterator[tuple[dict, list]]:
    """Each peer that the pods of `name` may hear or address, and on which ports."""
    labels = objects.template(name)["metadata"]["labels"]
    side = {"ingress": "from", "egress": "to"}[direction]
    for policy in objects.of("NetworkPolicy"):
        if matches(policy["spec"]["podSelector"].get("matchLabels", {}), labels):
            for allowed in policy["spec"].get(direction, []):
                for peer in allowed.get(side, [{}]):
                    yield peer, [port["port"] for port in allowed.get("ports", [])]


def peers(objects: Objects, name: str, direction: str) -> set[tuple[str, object]]:
    """The same as pairs of a workload's or a neighbour's name, and a port."""
    found = set()
    for peer, ports in policies(objects, name, direction):
        if "ipBlock" in peer:
            found |= {(INTERNET, port) for port in ports or ["any"]}
            continue
        if "namespaceSelector" in peer:
            namespace = peer["namespaceSelector"].get("matchLabels", {}).get("kubernetes.io/metadata.name", "any")
            found |= {(f"namespace {namespace}", port) for port in ports or ["any"]}
            continue
        selector = peer.get("podSelector", {}).get("matchLabels", {})
        chosen = [other for other, template in objects.workloads() if matches(selector, template["metadata"]["labels"])]
        found |= {(other, port) for other in chosen or ["nobody"] for port in ports or ["any"]}
    return found


def the_network_is_closed_but_for_what_is_needed(objects: Objects) -> Iterator[str]:
    default = objects.named("NetworkPolicy", "deny-by-default")
    if default is None or default["spec"] != {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}:
        yield "nothing denies by default"
    names = [name for name, _ in objects.workloads()]
    speaks = {name: peers(objects, name, "egress") for name in names}
    hears = {name: peers(objects, name, "ingress") for name in names}
    for name in names:
        for other, port in sorted(speaks[name] | hears[name], key=str):
            if other == "nobody":
                yield f"a policy of {name} speaks of pods that are not there"
            unknown = other.startswith("namespace ") and other.removeprefix("namespace ") not in NEIGHBOURS
            if unknown and objects.is_ours:
                yield f"a policy of {name} speaks of the {other}, which docs/kubernetes.md does not name"
            if port == "any":
                yield f"a policy of {name} names no port for {other}"
        for other, port in sorted(pair for pair in speaks[name] if pair[0] in names):
            if (name, port) not in hears[other]:
                yield f"{name} may speak to {other} on port {port}, which does not listen to it"
            if port not in {named["name"] for named in objects.container(other)["ports"]}:
                yield f"{name} may speak to port {port} of {other}, which has no such port"
        for other, port in sorted(pair for pair in hears[name] if pair[0] in names):
            if (name, port) not in speaks[other]:
                yield f"{name} listens to {other} on port {port}, which may not speak to it"
    for pool in objects.pools():
        beyond = {other for other, _ in speaks[pool]} - {"nats", "namespace kube-system", "namespace observability"}
        if beyond:
            yield f"{pool}: a worker may speak to {', '.join(sorted(beyond))}"


# --- Who is served -----------------------------------------------------------------------


def requests_need_keys(objects: Objects) -> Iterator[str]:
    api = objects.settings("api")
    auth = api.get("AUTH")
    if auth not in ("keys", "off"):
        yield f"api has AUTH={auth}, and starts only with keys or off"
    if auth != "keys" and api.get("MAX_LISTED_TASKS") != "0":
        yield "api lists tasks without keys, which shows each client the tasks of all others"
    if objects.is_ours and objects.overlay != "local" and auth != "keys":
        yield "api serves requests without a key"


# --- Numbers and names that stand in two places ------------------------------------------


def time_to_stop_is_enough(objects: Objects) -> Iterator[str]:
    grace = {name: template["spec"].get("terminationGracePeriodSeconds", 30) for name, template in objects.workloads()}
    for pool in objects.pools():
        worker = objects.settings(pool)
        needed = int(worker["JOB_DEADLINE_SECONDS"]) + int(worker["SHUTDOWN_GRACE_SECONDS"])
        if grace[pool] <= needed:
            yield f"{pool}: a worker is killed after {grace[pool]} s, and may need {needed} s"
    api = objects.settings("api")
    sleep = objects.container("api").get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = sleep + int(api["SHUTDOWN_GRACE_SECONDS"])
    if not sleep:
        yield "an API that stops does not wait until it gets no more requests"
    if grace["api"] <= needed:
        yield f"an API is killed after {grace['api']} s, and may need {needed} s"
    lame = int(re.search(r"lame_duck_duration: (\d+)s", objects.nats_config()).group(1))
    if grace["nats"] <= lame:
        yield f"NATS is killed after {grace['nats']} s, and lets clients move for {lame} s"
    if objects.container("nats").get("lifecycle", {}).get("preStop", {}).get("exec") is None:
        yield "NATS has no preStop hook"


def memory_and_disk_are_enough(objects: Objects) -> Iterator[str]:
    api = objects.settings("api")
    uploads = 2 * int(api["MAX_CONCURRENT_UPLOADS"]) * int(api["MAX_PICTURE_BYTES"]) + 128 * MIB
    if quantity(objects.container("api")["resources"]["limits"]["memory"]) < uploads:
        yield f"uploads may take {uploads // MIB} MiB of an API's memory, which has less"
    for pool in objects.pools():
        cores = quantity(objects.container(pool)["resources"]["limits"]["cpu"])
        slots = objects.settings(pool)["CONCURRENCY"]
        if cores < int(slots):
            yield f"{pool}: a worker has {cores:g} cores for CONCURRENCY={slots}"
        if not any(volume.get("emptyDir") is not None for volume in objects.template(pool)["spec"]["volumes"]):
            yield f"{pool}: a worker has no folder to lay its model out in"
    stored = quantity(re.search(r"max_file_store: (\w+)", objects.nats_config()).group(1))
    (claim,) = objects.named("StatefulSet", "nats")["spec"]["volumeClaimTemplates"]
    if quantity(claim["spec"]["resources"]["requests"]["storage"]) <= stored:
        yield "NATS may store more than its volume holds"
    payload = quantity(re.search(r"max_payload: (\w+)", objects.nats_config()).group(1))
    if payload <= int(api["INLINE_LIMIT_BYTES"]):
        yield f"pictures of INLINE_LIMIT_BYTES do not fit into a message of NATS, {payload:.0f} bytes"
    for name, taken in (("nats", objects.settings("nats")["GOMEMLIMIT"]), ("redis", option(objects, "--maxmemory"))):
        if quantity(taken) >= quantity(objects.container(name)["resources"]["limits"]["memory"]):
            yield f"{name} may take {taken} of memory, and is killed for it"
    # Jobs, pictures beside them, two streams of dead letters, drawings, and events.
    drawings = int(api.get("DRAWINGS_MAX_BYTES", 256 << 20))
    events = int(api.get("CLOUD_EVENTS_MAX_BYTES", 256 << 20)) if api.get("CLOUD_EVENTS") == "on" else 0
    if stored < 2 * int(api["QUEUE_MAX_BYTES"]) + 2 * (256 << 20) + drawings + events:
        yield "what the streams may hold is more than NATS may store"


def option(objects: Objects, name: str) -> str:
    """The value of one of Redis' arguments."""
    arguments = objects.container("redis")["args"]
    return arguments[arguments.index(name) + 1]


def nats_is_what_the_others_expect(objects: Objects) -> Iterator[str]:
    stateful_set = objects.named("StatefulSet", "nats")
    replicas = stateful_set["spec"]["replicas"]
    for name in objects.ours():
        if int(objects.settings(name)["NATS_REPLICAS"]) != replicas:
            wanted = objects.settings(name)["NATS_REPLICAS"]
            yield f"{name} wants each stream on {wanted} servers, and there are {replicas}"
    headless = objects.named("Service", stateful_set["spec"]["serviceName"])
    spec = headless["spec"] if headless else {}
    if spec.get("clusterIP") != "None" or not spec.get("publishNotReadyAddresses"):
        yield "the NATS servers have no headless service that names them before they are ready"
    variables = {entry["name"]: entry for entry in objects.container("nats")["env"]}
    if variables["NATS_NAME"].get("valueFrom") != {"fieldRef": {"fieldPath": "metadata.name"}}:
        yield "a NATS server's name is not its pod's: KEDA could not find it"
    started_with = objects.container("nats")["args"][-1].rpartition("/")[2]
    if (started_with == "cluster.conf") != (replicas > 1):
        yield f"{replicas} NATS servers are started with {started_with}"
    config = objects.nats_config()
    if "sync_interval: always" not in config:
        yield f"{started_with} confirms messages that are not on the disk"
    if replicas > 1 and "no_advertise: true" not in config:
        yield f"{started_with} tells KEDA addresses and not names"


def production_speaks_tls(objects: Objects) -> Iterator[str]:
    if objects.overlay == "local":
        return
    for name in objects.ours():
        settings = objects.settings(name)
        if not settings["NATS_URL"].startswith("tls://") or "NATS_CA_FILE" not in settings:
            yield f"{name} speaks to NATS without TLS"
    if not objects.settings("api")["REDIS_URL"].startswith("rediss://"):
        yield "the API speaks to Redis without TLS"
    if not objects.named("Ingress", "api")["spec"].get("tls"):
        yield "the Ingress has no TLS"


RULES: list[Rule] = [
    names_are_unique_and_in_one_namespace,
    selectors_find_something,
    references_lead_somewhere,
    what_is_scaled_is_there_and_counts_nowhere_else,
    pods_are_confined,
    containers_say_what_they_need,
    *STARTUP_RULES,
    *PORT_RULES,
    *DOCUMENTATION_RULES,
    *ADMISSION_RULES,
    *INTERNET_RULES,
    the_network_is_closed_but_for_what_is_needed,
    requests_need_keys,
    time_to_stop_is_enough,
    memory_and_disk_are_enough,
    *QUEUE_RULES,
    *POOL_RULES,
    nats_is_what_the_others_expect,
    production_speaks_tls,
]
