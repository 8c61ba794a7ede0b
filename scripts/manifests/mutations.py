"""Manifests with one mistake each, which scripts/check-manifests must detect."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from manifests.objects import Objects
from manifests.rules import problems_of
from manifests.schemas import KUBERNETES_VERSIONS, kubernetes_problems

Change = Callable[[Objects], None]

UNKNOWN_FIELD = "Additional properties are not allowed"


@dataclass(frozen=True)
class Mutation:
    """One change to the objects of an overlay, and a part of the problem that must be reported."""

    name: str
    expected: str
    change: Change
    overlay: str = "production"


def mutated(mutation: Mutation, objects: list[dict]) -> list[dict]:
    changed = Objects(copy.deepcopy(objects), mutation.overlay)
    mutation.change(changed)
    return changed.all


def problems_after(mutation: Mutation, objects: list[dict]) -> list[str]:
    changed = mutated(mutation, objects)
    if mutation.expected == UNKNOWN_FIELD:
        return kubernetes_problems(changed, KUBERNETES_VERSIONS[-1])
    return problems_of(changed, mutation.overlay)


def pod(objects: Objects, name: str) -> dict:
    return objects.template(name)["spec"]


def policy(objects: Objects, name: str) -> dict:
    return objects.named("NetworkPolicy", name)["spec"]


def scaler(objects: Objects) -> dict:
    return objects.named("ScaledObject", "worker")["spec"]


def trigger(objects: Objects) -> dict:
    return scaler(objects)["triggers"][0]["metadata"]


def without(kind: str, name: str) -> Change:
    return lambda objects: objects.all.remove(objects.named(kind, name))


def setting(workload: str, name: str, value: str) -> Change:
    """The variable in the container itself, which wins over its ConfigMaps."""

    def change(objects: Objects) -> None:
        environment = objects.container(workload)["env"]
        environment[:] = [entry for entry in environment if entry["name"] != name]
        environment.append({"name": name, "value": value})

    return change


def in_pod(name: str, key: str, value: object) -> Change:
    return lambda objects: pod(objects, name).update({key: value})


def in_container(name: str, key: str, value: object) -> Change:
    return lambda objects: objects.container(name).update({key: value})


def in_spec(kind: str, name: str, key: str, value: object) -> Change:
    return lambda objects: objects.named(kind, name)["spec"].update({key: value})


def in_trigger(key: str, value: str) -> Change:
    return lambda objects: trigger(objects).update({key: value})


def in_context(key: str, value: object) -> Change:
    return lambda objects: objects.container("worker")["securityContext"].update({key: value})


def in_nats_config(old: str, new: str) -> Change:
    def change(objects: Objects) -> None:
        (config,) = [found for found in objects.of("ConfigMap") if found["metadata"]["name"].startswith("nats-config")]
        config["data"]["cluster.conf"] = config["data"]["cluster.conf"].replace(old, new)

    return change


def egress_of_worker(peer: dict) -> Change:
    return lambda objects: policy(objects, "worker")["egress"].append({"to": [peer], "ports": [{"port": 80}]})


def entry(objects: Objects, workload: str, name: str) -> dict:
    return next(found for found in objects.container(workload)["env"] if found["name"] == name)


def in_secret_reference(key: str, value: object) -> Change:
    return lambda objects: entry(objects, "worker", "NATS_PASSWORD")["valueFrom"]["secretKeyRef"].update({key: value})


def first(workload: str, name: str) -> Change:
    """The variable before all others, as a patch of it by an overlay has it."""

    def change(objects: Objects) -> None:
        environment = objects.container(workload)["env"]
        environment.insert(0, environment.pop(environment.index(entry(objects, workload, name))))

    return change


def patched(workload: str, name: str, value: str) -> Change:
    """Another value, before all others: what a strategic merge in an overlay makes of it."""
    return lambda objects: (setting(workload, name, value)(objects), first(workload, name)(objects))


def appended(workload: str, name: str, value: str) -> Change:
    return lambda objects: objects.container(workload)["env"].append({"name": name, "value": value})


def in_config_map(prefix: str, key: str, value: str) -> Change:
    def change(objects: Objects) -> None:
        next(found for found in objects.of("ConfigMap") if found["metadata"]["name"].startswith(prefix))["data"][key] = value

    return change


def annotation(key: str, value: str | None) -> Change:
    """An annotation of nginx's on the Ingress; None takes it away."""

    def change(objects: Objects) -> None:
        annotations = objects.named("Ingress", "api")["metadata"]["annotations"]
        annotations.pop(f"nginx.ingress.kubernetes.io/{key}")
        annotations.update({} if value is None else {f"nginx.ingress.kubernetes.io/{key}": value})

    return change


def volume(objects: Objects, workload: str, name: str) -> dict:
    return next(found for found in pod(objects, workload)["volumes"] if found["name"] == name)


MUTATIONS = [
    Mutation("a field that Kubernetes does not know", UNKNOWN_FIELD, in_pod("worker", "terminationGraceSeconds", 9)),
    # What there is.
    Mutation("an object that is there twice", "is there twice", lambda o: o.all.append(o.named("Service", "api"))),
    Mutation("an object elsewhere", "is not in the namespace", lambda o: o.named("Service", "api")["metadata"].update(namespace="default")),
    Mutation("Pod Security off", "does not enforce", lambda o: o.named("Namespace", "spotter")["metadata"].update(labels={})),
    Mutation("a Deployment of others' pods", "selects other pods", lambda o: o.named("Deployment", "api")["spec"]["selector"].update(matchLabels={"a": "b"})),
    Mutation("a Service of nobody", "selects no pod", in_spec("Service", "redis", "selector", {"a": "b"})),
    Mutation("a budget of nobody", "PodDisruptionBudget/nats selects no pod", in_spec("PodDisruptionBudget", "nats", "selector", {"matchLabels": {"a": "b"}})),
    Mutation("a Service to no port", "which no container has", lambda o: o.named("Service", "api")["spec"]["ports"][0].update(targetPort="https")),
    Mutation("spread by the wrong label", "by the labels of others", lambda o: pod(o, "api")["topologySpreadConstraints"][0].update(labelSelector={"matchLabels": {"a": "b"}})),
    Mutation("an Ingress to nothing", "to a service that is not there", lambda o: o.named("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(name="web")),
    Mutation("no such priority", "has no PriorityClass", without("PriorityClass", "spotter-worker")),
    Mutation("no such account", "has no ServiceAccount", without("ServiceAccount", "worker")),
    Mutation("a mount without a volume", "mounts the volume", in_pod("api", "volumes", [])),
    Mutation("settings that are not there", "worker refers to the ConfigMap none, which no documented command creates", in_container("worker", "envFrom", [{"configMapRef": {"name": "none"}}])),
    Mutation("files that are not there", "nats refers to the ConfigMap none, which no documented command creates", lambda o: pod(o, "nats")["volumes"].append({"name": "more", "configMap": {"name": "none"}})),
    Mutation("a claim that is not there", "mounts the claim", lambda o: pod(o, "worker")["volumes"].append({"name": "more", "persistentVolumeClaim": {"claimName": "none"}})),
    Mutation("a scaler of nothing", "scales the Deployment", in_spec("ScaledObject", "worker", "scaleTargetRef", {"name": "workers"})),
    Mutation("a number of replicas", "has a number of replicas", in_spec("Deployment", "worker", "replicas", 3)),
    # What a pod may.
    Mutation("a token", "is given a token", in_pod("api", "automountServiceAccountToken", True)),
    Mutation("root", "may run as root", in_pod("api", "securityContext", {"runAsNonRoot": False})),
    Mutation("no seccomp profile", "has no seccomp profile", lambda o: pod(o, "api")["securityContext"].pop("seccompProfile")),
    Mutation("the host's network", "has hostNetwork", in_pod("api", "hostNetwork", True)),
    Mutation("the host's files", "of a kind that is not allowed", lambda o: pod(o, "worker")["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    Mutation("a root that can be written to", "may write to its root", in_context("readOnlyRootFilesystem", False)),
    Mutation("more rights", "may write to its root or gain rights", in_context("allowPrivilegeEscalation", True)),
    Mutation("capabilities", "keeps capabilities", in_context("capabilities", {"drop": ["NET_RAW"]})),
    Mutation("the latest image", "has no tag", in_container("worker", "image", "spotter-worker:latest")),
    Mutation("an image without a tag", "has no tag", in_container("worker", "image", "registry:5000/spotter-worker")),
    Mutation("no limits", "no limits of", in_container("redis", "resources", {"requests": {"cpu": 1, "memory": 1}})),
    Mutation("no probe", "has no livenessProbe", lambda o: o.container("worker").pop("livenessProbe")),
    Mutation("a Secret in the manifests", "there is a Secret", lambda o: o.all.append({"kind": "Secret", "metadata": {"name": "x", "namespace": "spotter"}})),
    Mutation("a secret nobody makes", "which no documented command creates", in_secret_reference("name", "other")),
    Mutation("another's password", "is given the password of setup", in_secret_reference("key", "setup")),
    Mutation("a password in the open", "has a password in it", setting("api", "NATS_URL", "tls://api:secret@nats:4222")),
    Mutation("a secret mounted that nobody makes", "nats refers to the Secret none, which no documented command creates", lambda o: pod(o, "nats")["volumes"].append({"name": "more", "secret": {"secretName": "none"}})),
    # Who is served.
    Mutation("requests without a key", "api serves requests without a key", setting("api", "AUTH", "off")),
    Mutation("lists without keys", "api lists tasks without keys", setting("api", "MAX_LISTED_TASKS", "20"), "local"),
    Mutation("no decision about keys", "api has AUTH=key", setting("api", "AUTH", "key")),
    # What a program starts with.
    Mutation("an address before its password", "api: NATS_URL refers to $(NATS_PASSWORD), which is no variable that stands before it", first("api", "NATS_URL")),
    Mutation("the same on GPUs", "worker: NATS_URL refers to $(NATS_SCHEME)", first("worker", "NATS_URL"), "gpu"),
    Mutation("a slip of the hand in a reference", "set-up: NATS_URL refers to $(NATS_PASWORD)", setting("set-up", "NATS_URL", "tls://setup:$(NATS_PASWORD)@nats:4222")),
    Mutation("a reference to itself", "worker: TMPDIR refers to $(TMPDIR)", setting("worker", "TMPDIR", "$(TMPDIR)/more")),
    Mutation("an argument that refers to nothing", "redis: args refers to $(REDIS_PASSWORD), which is none of its variables", in_container("redis", "env", [])),
    Mutation("a reference in an init container", "api: PLACE refers to $(NOWHERE)", in_pod("api", "initContainers", [{"name": "first", "env": [{"name": "PLACE", "value": "$(NOWHERE)"}]}])),
    Mutation("a reference in a CronJob", "nightly: args refers to $(WHEN)", lambda o: o.all.append({"kind": "CronJob", "metadata": {"name": "nightly"}, "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"args": ["$(WHEN)"]}]}}}}}})),
    Mutation("a reference in a probe", "a probe or a hook has a reference", in_container("redis", "livenessProbe", {"exec": {"command": ["redis-cli", "-a", "$(REDIS_PASSWORD)", "ping"]}})),
    Mutation("a reference in a ConfigMap", "worker: MODELS_DIR comes from a ConfigMap with a reference", in_config_map("worker-settings", "MODELS_DIR", "/models/$(MODEL)")),
    Mutation("a variable given twice", "api is given NATS_CA_FILE twice", appended("api", "NATS_CA_FILE", "/etc/spotter-ca/ca.crt")),
    Mutation("a slip of the hand in a setting", "worker is given CONCURENCY, which", setting("worker", "CONCURENCY", "2")),
    Mutation("a queue with two sizes", "QUEUE_MAX_BYTES is not the same for all: api 1073741824, worker 1073741824, notifier 1073741824, set-up 2048", setting("set-up", "QUEUE_MAX_BYTES", "2048")),
    Mutation("pictures that no worker takes", "MAX_PICTURE_BYTES is not the same for all", setting("worker", "MAX_PICTURE_BYTES", "1048576")),
    Mutation("a key that nobody makes", "worker refers to workers of the Secret nats-passwords, which does not hold it", in_secret_reference("key", "workers")),
    Mutation("a key of a ConfigMap that is not there", "api refers to SIZE of the ConfigMap", lambda o: o.container("api")["env"].append({"name": "PORT", "valueFrom": {"configMapKeyRef": {"name": o.container("api")["envFrom"][0]["configMapRef"]["name"], "key": "SIZE"}}})),
    Mutation("a password that may be missing", "worker starts without the Secret nats-passwords", in_secret_reference("optional", True)),
    Mutation("certificates that may be missing", "nats starts without the Secret nats-tls", lambda o: volume(o, "nats", "tls")["secret"].update(optional=True)),
    Mutation("an authority that is mounted elsewhere", "worker needs /etc/spotter-ca/ca.crt, and nothing is mounted there", lambda o: next(m for m in o.container("worker")["volumeMounts"] if m["name"] == "ca").update(mountPath="/etc/ca")),
    Mutation("an authority of another name", "api needs /etc/spotter-ca/ca.pem, which the volume ca does not hold", setting("api", "NATS_CA_FILE", "/etc/spotter-ca/ca.pem")),
    Mutation("a certificate of another name", "redis needs /etc/redis-tls/redis.crt, which", lambda o: o.container("redis")["args"].__setitem__(o.container("redis")["args"].index("/etc/redis-tls/tls.crt"), "/etc/redis-tls/redis.crt")),
    Mutation("a certificate that NATS cannot find", "nats needs /etc/nats-tls/nats.key, which", lambda o: in_config_map("nats-config", "tls.conf", o.nats_files()["tls.conf"].replace("tls.key", "nats.key"))(o)),
    Mutation("NATS without its users", "cluster.conf includes permissions.conf, which is not beside it", lambda o: o.nats_files().pop("permissions.conf")),
    Mutation("a configuration that is not mounted", "nats needs /etc/nats/cluster.conf, and nothing is mounted there", in_container("nats", "volumeMounts", [{"name": "data", "mountPath": "/data"}])),
    Mutation("a key that only root may read", "nats may not read the volume tls, of mode 0400", lambda o: volume(o, "nats", "tls")["secret"].update(defaultMode=0o400)),
    Mutation("a key for a group that is not given", "redis may not read the volume tls, of mode 0440 and no group", lambda o: pod(o, "redis")["securityContext"].pop("fsGroup")),
    Mutation("a queue on a root that is read-only", "nats writes to /data, and cannot", lambda o: o.container("nats")["volumeMounts"].remove(next(m for m in o.container("nats")["volumeMounts"] if m["name"] == "data"))),
    Mutation("a disk of root's", "nats writes to /data, whose volume has no group", lambda o: pod(o, "nats")["securityContext"].pop("fsGroup")),
    Mutation("a model laid out on the root", "worker writes to /var/tmp, and cannot", setting("worker", "TMPDIR", "/var/tmp")),
    Mutation("models that nobody can bring", "must be ReadWriteMany", in_spec("PersistentVolumeClaim", "models", "accessModes", ["ReadOnlyMany"]), "production with models-volume"),
    # Who listens where.
    Mutation("a port that nobody listens on", "api listens on 8000, and its port http is 5000", setting("api", "PORT", "8000")),
    Mutation("probes elsewhere", "worker listens on 9091, and its port probes is 9090", setting("worker", "PROBES_ADDRESS", "0.0.0.0:9091")),
    Mutation("an API for itself", "api listens to its own pod only", setting("api", "HOST", "127.0.0.1")),
    Mutation("probes for itself", "worker listens to its own pod only", setting("worker", "PROBES_ADDRESS", "127.0.0.1:9090")),
    Mutation("metrics that nobody finds", "worker is scraped at /metrics on port 8080", lambda o: o.template("worker")["metadata"]["annotations"].update({"prometheus.io/port": "8080"})),
    Mutation("NATS on another port", "nats listens on 4223, and its port client is 4222", in_nats_config("port: 4222", "port: 4223")),
    Mutation("Redis on another port", "redis listens on 6380, and its port redis is 6379", lambda o: o.container("redis")["args"].__setitem__(o.container("redis")["args"].index("6379"), "6380")),
    Mutation("a probe of no port", "api: its liveness probe asks port health", lambda o: o.container("api")["livenessProbe"]["httpGet"].update(port="health")),
    Mutation("a probe of no path", "api: its readiness probe asks for /healthz", lambda o: o.container("api")["readinessProbe"]["httpGet"].update(path="/healthz")),
    Mutation("an address of nobody", "worker: NATS_URL leads to queue", setting("worker", "NATS_URL", "tls://worker:$(NATS_PASSWORD)@queue:4222")),
    Mutation("an address of somebody else", "api: REDIS_URL leads to nats", setting("api", "REDIS_URL", "rediss://:$(REDIS_PASSWORD)@nats:6379")),
    Mutation("the port of something else", "set-up: NATS_URL leads to port 8222", setting("set-up", "NATS_URL", "tls://setup:$(NATS_PASSWORD)@nats-headless:8222")),
    Mutation("more servers than routes", "NATS_ROUTES lacks nats://nats-3.nats-headless:6222", in_spec("StatefulSet", "nats", "replicas", 5)),
    Mutation("routes by another name", "NATS_ROUTES names nats://nats-0.nats:6222", setting("nats", "NATS_ROUTES", '["nats://nats-0.nats:6222"]')),
    # What is documented.
    Mutation("a Job by another name", "has people type job/set-up, which is not there", lambda o: o.named("Job", "set-up")["metadata"].update(name="setup")),
    Mutation("a port that is forwarded to nothing", "forwards port 80 of the Service api", lambda o: o.named("Service", "api")["spec"]["ports"][0].update(port=8080)),
    Mutation("a scaler from the beginning", "ScaledObject/worker is in the first apply", lambda o: o.named("ScaledObject", "worker")["metadata"].update(labels={})),
    Mutation("no NATS at first", "StatefulSet/nats is left out of the first apply", lambda o: o.named("StatefulSet", "nats")["metadata"]["labels"].update({"app.kubernetes.io/component": "autoscaler"})),
    Mutation("servers that no certificate is for", "addressed as nats-0.queue, which docs/kubernetes.md puts in no certificate", setting("nats", "NATS_ROUTES", '["nats://nats-0.queue:6222"]')),
    Mutation("an image that no release makes", "and a release names it v", in_container("worker", "image", "registry.example.com/spotter-worker:0.0.1")),
    Mutation("a set-up of another version", "set-up runs registry.example.com/spotter-api:v0, and sets up for", in_container("set-up", "image", "registry.example.com/spotter-api:v0")),
    Mutation("nodes that cannot be drained", "PodDisruptionBudget/nats may let no pod of nats go", in_spec("PodDisruptionBudget", "nats", "maxUnavailable", 0)),
    Mutation("servers that must all stay", "PodDisruptionBudget/nats may let no pod of nats go", in_spec("PodDisruptionBudget", "nats", "minAvailable", 3)),
    # The Ingress.
    Mutation("a route that nobody reaches", "do not reach /v1/tasks", lambda o: o.named("Ingress", "api")["spec"]["rules"][0]["http"]["paths"].pop(3)),
    Mutation("metrics for everybody", "reach /metrics", lambda o: o.named("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0].update(pathType="Prefix")),
    Mutation("an Ingress to no port", "to a port that the Service api has not", lambda o: o.named("Ingress", "api")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(port={"number": 5000})),
    Mutation("another host without a certificate", "has rules for pictures.example.com, and no certificate", lambda o: o.named("Ingress", "api")["spec"]["rules"][0].update(host="pictures.example.com")),
    Mutation("nginx's own limit", "answers 413 itself beyond 1m", annotation("proxy-body-size", None)),
    Mutation("a limit that no batch passes", "answers 413 itself beyond 28m", annotation("proxy-body-size", "28m")),
    Mutation("nginx's own patience", "gives a request up after 60 s (proxy-read-timeout)", annotation("proxy-read-timeout", None)),
    Mutation("uploads slower than the Ingress bears", "gives a request up after 90 s (proxy-send-timeout), and the API after 120 s", setting("api", "UPLOAD_TIMEOUT_SECONDS", "120")),
    Mutation("uploads that nobody refuses early", "reads a whole upload", annotation("proxy-request-buffering", "on")),
    Mutation("an API that hangs up on the Ingress", "the API hangs up after 30 s", setting("api", "KEEP_ALIVE_SECONDS", "30")),
    # The network.
    Mutation("nothing denied", "nothing denies by default", without("NetworkPolicy", "deny-by-default")),
    Mutation("a policy for nobody", "pods that are not there", egress_of_worker({"podSelector": {"matchLabels": {"a": "b"}}})),
    Mutation("an unknown neighbour", "does not name", egress_of_worker({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}})),
    Mutation("all ports", "names no port", lambda o: policy(o, "nats")["ingress"][0].pop("ports")),
    Mutation("a worker that speaks to Redis", "a worker may speak to redis", egress_of_worker({"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}})),
    Mutation("a worker that speaks to everybody", "and only API and notifier speak to public servers", egress_of_worker({"ipBlock": {"cidr": "0.0.0.0/0"}})),
    Mutation("an API that speaks to the cloud's metadata", "api may speak to 169.254.169.254", lambda o: policy(o, "pictures-by-url")["egress"][0]["to"][0]["ipBlock"]["except"].remove("169.254.0.0/16")),
    Mutation("a notifier that reaches nobody", "notifier may not speak to the internet on port 443", lambda o: policy(o, "notifier")["egress"].pop(1)),
    Mutation("pictures that cannot be fetched", "api may not speak to the internet on port 443", without("NetworkPolicy", "pictures-by-url")),
    Mutation("a deaf NATS", "which does not listen to it", lambda o: policy(o, "nats")["ingress"].pop(0)),
    Mutation("a dumb API", "which may not speak to it", lambda o: policy(o, "api")["egress"].pop(0)),
    Mutation("a port that is not there", "has no such port", lambda o: o.container("redis")["ports"][0].update(name="tls")),
    Mutation("no names", "set-up may not speak to namespace kube-system on port 53", without("NetworkPolicy", "names")),
    Mutation("names over UDP alone", "api may not speak to namespace kube-system on port 53", lambda o: policy(o, "names")["egress"][0]["ports"].pop(1)),
    Mutation("a blind scaler", "nats does not listen to namespace keda on port monitor", lambda o: policy(o, "nats")["ingress"].pop(2)),
    Mutation("an API that no client reaches", "api does not listen to namespace ingress-nginx on port http", lambda o: policy(o, "api")["ingress"].pop(0)),
    Mutation("workers that nobody scrapes", "worker does not listen to namespace monitoring on port probes", lambda o: policy(o, "worker").update(ingress=[])),
    Mutation("both sides of a way closed", "api may not speak to redis on port redis, and needs to", lambda o: (policy(o, "api")["egress"].pop(1), policy(o, "redis").update(ingress=[]))),
    Mutation("traces that go nowhere", "worker may not speak to namespace observability on port 4318", lambda o: policy(o, "worker")["egress"].pop(1)),
    Mutation("a policy for a port that is not there", "api is reached at port web by a policy, and has no such port", lambda o: policy(o, "api")["ingress"][0]["ports"][0].update(port="web")),
    # What is not admitted.
    Mutation("more than the limit", "redis requests 2 of cpu, more than its limit of 1", lambda o: o.container("redis")["resources"]["requests"].update(cpu="2")),
    Mutation("a mount on a mount", "nats has the mount /data twice", lambda o: o.container("nats")["volumeMounts"].append({"name": "config", "mountPath": "/data"})),
    Mutation("a set-up without end", "Job/set-up is to be restarted for ever", in_pod("set-up", "restartPolicy", "Always")),
    Mutation("more at least than at most", "HorizontalPodAutoscaler/api wants 20 pods at least and 10 at most", in_spec("HorizontalPodAutoscaler", "api", "minReplicas", 20)),
    Mutation("a fallback above the most", "ScaledObject/worker falls back to 2 pods, more than 1", in_spec("ScaledObject", "worker", "maxReplicaCount", 1)),
    Mutation("workers that cannot be replaced", "Deployment/worker may neither add nor remove a pod", in_spec("Deployment", "worker", "strategy", {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}})),
    # Numbers and names.
    Mutation("a worker killed in mid-job", "a worker is killed after 60 s", in_pod("worker", "terminationGracePeriodSeconds", 60)),
    Mutation("a longer deadline", "a worker is killed after 100 s", setting("worker", "JOB_DEADLINE_SECONDS", "90")),
    Mutation("an API killed in mid-request", "an API is killed after 30 s", in_pod("api", "terminationGracePeriodSeconds", 30)),
    Mutation("an API that stops at once", "does not wait until", lambda o: o.container("api").pop("lifecycle")),
    Mutation("NATS killed in lame duck mode", "NATS is killed after 30 s", in_pod("nats", "terminationGracePeriodSeconds", 30)),
    Mutation("NATS that is not told", "NATS has no preStop hook", lambda o: o.container("nats").pop("lifecycle")),
    Mutation("uploads beyond the memory", "of an API's memory", setting("api", "MAX_CONCURRENT_UPLOADS", "64")),
    Mutation("slots without cores", "cores for CONCURRENCY=4", setting("worker", "CONCURRENCY", "4")),
    Mutation("nowhere to lay the model out", "no folder to lay", lambda o: pod(o, "worker")["volumes"].pop(next(i for i, v in enumerate(pod(o, "worker")["volumes"]) if "emptyDir" in v))),
    Mutation("a volume that is too small", "more than its volume holds", lambda o: o.named("StatefulSet", "nats")["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"].update(storage="10Gi")),
    Mutation("a queue that is too large", "more than NATS may store", setting("api", "QUEUE_MAX_BYTES", str(9 << 30))),
    Mutation("pictures larger than a message", "do not fit into a message of NATS", setting("api", "INLINE_LIMIT_BYTES", "8388608")),
    Mutation("a cache beyond its memory", "redis may take 256mb of memory", lambda o: o.container("redis")["resources"]["limits"].update(memory="256Mi")),
    Mutation("a queue beyond its memory", "nats may take 1750MiB of memory", lambda o: o.container("nats")["resources"]["limits"].update(memory="1Gi")),
    Mutation("an unknown field of KEDA's", "fields that no rule knows", in_spec("ScaledObject", "worker", "minReplicas", 0)),
    Mutation("another stream", "the trigger's stream", in_trigger("stream", "WORK")),
    Mutation("another consumer", "the trigger's consumer", in_trigger("consumer", "workers")),
    Mutation("a trigger by another name", "the triggers' names are", lambda o: scaler(o)["triggers"][0].update(name="high-yolov8n")),
    Mutation("a second model without triggers", "the triggers' consumers are", setting("worker", "MODELS", "yolov8n,yolo11n")),
    Mutation("a model that is not set up", "worker serves yolo11n, whose consumers", setting("worker", "MODELS", "yolov8n,yolo11n")),
    Mutation("all models of the image", "worker serves all models of its image", lambda o: [found["data"].pop("MODELS", None) for found in o.of("ConfigMap")]),
    Mutation("a default model without workers", "api has MODEL=yolo11n, which no worker serves", setting("api", "MODEL", "yolo11n")),
    Mutation("a priority without a trigger", "the triggers' consumers are", lambda o: scaler(o)["triggers"].pop()),
    Mutation("the largest lag instead of the sum", "scalingModifiers' formula", lambda o: scaler(o)["advanced"].pop("scalingModifiers")),
    Mutation("another account", "the trigger's account", in_trigger("account", "$G")),
    Mutation("one address for all servers", "the trigger's natsServerMonitoringEndpoint", in_trigger("natsServerMonitoringEndpoint", "nats.spotter.svc:8222")),
    Mutation("a threshold without regard to the slots", "scalingModifiers' target", setting("worker", "CONCURRENCY", "1")),
    Mutation("a worker at least", "do not go to none", in_spec("ScaledObject", "worker", "minReplicaCount", 1)),
    Mutation("no window", "no stabilisation window", lambda o: o.named("ScaledObject", "worker")["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"].update(scaleDown={})),
    Mutation("streams on one server", "wants each stream on 1 servers", setting("worker", "NATS_REPLICAS", "1")),
    Mutation("no names for the servers", "no headless service", in_spec("Service", "nats-headless", "publishNotReadyAddresses", False)),
    Mutation("a server by another name", "is not its pod's", lambda o: next(e for e in o.container("nats")["env"] if e["name"] == "NATS_NAME").update(valueFrom=None)),
    Mutation("one server's configuration for three", "are started with nats.conf", in_container("nats", "args", ["--config", "/etc/nats/nats.conf"])),
    Mutation("messages that are only in memory", "are not on the disk", in_nats_config("sync_interval: always", "sync_interval: 2m")),
    Mutation("addresses for KEDA", "addresses and not names", in_nats_config("no_advertise: true", "no_advertise: false")),
    Mutation("NATS without TLS", "speaks to NATS without TLS", setting("worker", "NATS_URL", "nats://nats:4222")),
    Mutation("Redis without TLS", "speaks to Redis without TLS", setting("api", "REDIS_URL", "redis://redis:6379")),
    Mutation("an Ingress without TLS", "the Ingress has no TLS", lambda o: o.named("Ingress", "api")["spec"].pop("tls")),
]


def in_nats_file(file: str, old: str, new: str) -> Change:
    return lambda objects: objects.nats_files().update({file: objects.nats_files()[file].replace(old, new)})


# Mistakes that only show when NATS or Redis runs and a component logs in.
LOGIN_MUTATIONS = {
    "NATS": [
        Mutation("an address before its password", "worker cannot log in to NATS by tls://worker:$(NATS_PASSWORD)@nats:4222: NATS says -ERR 'Authorization Violation'", patched("worker", "NATS_URL", "tls://worker:$(NATS_PASSWORD)@nats:4222")),
        Mutation("another's user", "set-up cannot log in to NATS by tls://api:", setting("set-up", "NATS_URL", "tls://api:$(NATS_PASSWORD)@nats:4222")),
        Mutation("a user with another's password", "operator cannot log in to NATS", in_nats_file("permissions.conf", "$NATS_OPERATOR_PASSWORD", "$NATS_MONITOR_PASSWORD")),
        Mutation("a password that nobody gives NATS", "nats-server does not start", lambda o: o.container("nats")["env"].remove(entry(o, "nats", "NATS_MONITOR_PASSWORD"))),
        Mutation("a name that no certificate has", "certificate is not valid for 'nats.spotter'", setting("api", "NATS_URL", "tls://api:$(NATS_PASSWORD)@nats.spotter:4222")),
        Mutation("an authority that is not named", "certificate verify failed: unable to get local issuer", lambda o: o.container("worker")["env"].remove(entry(o, "worker", "NATS_CA_FILE"))),
        Mutation("NATS without TLS for clients with it", "speaks no TLS, and the address says tls", lambda o: o.nats_files().update({"tls.conf": ""})),
        Mutation("a configuration that NATS does not understand", "nats-server does not start", in_nats_config("max_payload", "max_payloads")),
        Mutation("a probe of nothing", "the readiness probe of nats asks for /ready, and is told 404", lambda o: o.container("nats")["readinessProbe"]["httpGet"].update(path="/ready"), "local"),
    ],
    "Redis": [
        Mutation("the same with Redis", "api cannot log in to Redis by rediss://:$(REDIS_PASSWORD)@redis:6379: Redis says -WRONGPASS", patched("api", "REDIS_URL", "rediss://:$(REDIS_PASSWORD)@redis:6379")),
        Mutation("an argument that Redis does not understand", "redis-server does not start", lambda o: o.container("redis")["args"].append("--maxmemories")),
    ],
}
