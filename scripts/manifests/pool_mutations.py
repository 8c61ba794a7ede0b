"""Manifests with a mistake in the second pool of workers, or in what both pools share.

Each rule about workers is tried here once more, on the pool that is not called `worker`.
"""

from __future__ import annotations

from manifests.mutations import (
    Change,
    Mutation,
    in_container,
    in_pod,
    in_spec,
    policy,
    setting,
    without,
)
from manifests.objects import POOL_LABEL, Objects

POOL = "worker-large"
WITH_POOL = f"production with {POOL}"
OF_ALL_POOLS = {"matchLabels": dict([POOL_LABEL])}
OF_THE_FIRST = {"matchLabels": {"app.kubernetes.io/name": "worker"}}


def scaler(objects: Objects) -> dict:
    return objects.named("ScaledObject", POOL)["spec"]


def without_label(objects: Objects) -> None:
    objects.template(POOL)["metadata"]["labels"].pop(POOL_LABEL[0])


def without_variable(name: str) -> Change:
    def change(objects: Objects) -> None:
        environment = objects.container(POOL)["env"]
        environment[:] = [entry for entry in environment if entry["name"] != name]

    return change


def counting_the_first_pool(objects: Objects) -> None:
    scaler(objects)["triggers"] += objects.named("ScaledObject", "worker")["spec"]["triggers"]


def hears_the_first_pool_only(objects: Objects) -> None:
    for peer in policy(objects, "nats")["ingress"][0]["from"]:
        if peer["podSelector"] == OF_ALL_POOLS:
            peer["podSelector"] = OF_THE_FIRST


def pool_mutation(name: str, expected: str, change: Change) -> Mutation:
    return Mutation(f"{POOL}: {name}", expected, change, WITH_POOL)


POOL_MUTATIONS = [
    # Pools and their models.
    pool_mutation("no scaler", f"no ScaledObject scales {POOL}", without("ScaledObject", POOL)),
    pool_mutation("a scaler that counts the first pool's jobs", f"the jobs of high-yolov8n start workers of worker and again of {POOL}", counting_the_first_pool),
    pool_mutation("a model of the first pool", f"{POOL}: the triggers' consumers are", setting(POOL, "MODELS", "yolov8n,yolo11n")),
    pool_mutation("a priority that is not counted", f"{POOL}: the triggers' consumers are", lambda o: scaler(o)["triggers"].pop()),
    pool_mutation("the first pool's formula", f"{POOL}: scalingModifiers' formula", lambda o: scaler(o)["advanced"]["scalingModifiers"].update(formula="high_yolov8n")),
    pool_mutation("more slots by the first pool's target", f"{POOL}: scalingModifiers' target", setting(POOL, "MAX_BATCH", "8")),
    pool_mutation("a model that is not set up", f"{POOL} serves dfine-n, whose consumers the set-up does not create", setting(POOL, "MODELS", "dfine-n")),
    pool_mutation("the first pool's model at the start", f"{POOL} has MODEL=yolov8n, which is not one of its MODELS", setting(POOL, "MODEL", "yolov8n")),
    pool_mutation("all models of the image", f"{POOL} serves all models of its image", lambda o: [found["data"].pop("MODELS", None) for found in o.of("ConfigMap")]),
    pool_mutation("a model without workers", "the set-up creates the consumers of dfine-n, which no worker serves", setting("set-up", "MODELS", "yolov8n,yolo11n,dfine-n")),
    # Pods of their own.
    pool_mutation("no label of workers", f"{POOL} is given the password of worker", without_label),
    pool_mutation("no budget", f"the pods of {POOL} are selected by 0 of kind PodDisruptionBudget", without("PodDisruptionBudget", POOL)),
    pool_mutation("a budget of both pools", f"the pods of {POOL} are selected by 2 of kind PodDisruptionBudget", in_spec("PodDisruptionBudget", "worker", "selector", OF_ALL_POOLS)),
    pool_mutation("a Deployment of both pools", f"the pods of {POOL} are selected by 2 of kind Deployment", in_spec("Deployment", "worker", "selector", OF_ALL_POOLS)),
    pool_mutation("no account", f"{POOL} has no ServiceAccount", without("ServiceAccount", POOL)),
    # What the first pool's rules say of this one.
    pool_mutation("NATS without TLS", f"{POOL} speaks to NATS without TLS", setting(POOL, "NATS_URL", "nats://worker:$(NATS_PASSWORD)@nats:4222")),
    pool_mutation("another's password", f"{POOL} is given the password of api", lambda o: next(e for e in o.container(POOL)["env"] if e["name"] == "NATS_PASSWORD")["valueFrom"]["secretKeyRef"].update(key="api")),
    pool_mutation("no authority", f"{POOL} needs /etc/spotter-ca/ca.crt, and nothing is mounted there", in_container(POOL, "volumeMounts", [{"name": "tmp", "mountPath": "/tmp"}])),
    pool_mutation("an address of nobody", f"{POOL}: NATS_URL leads to queue", setting(POOL, "NATS_URL", "tls://worker:$(NATS_PASSWORD)@queue:4222")),
    pool_mutation("a setting that is not there", f"{POOL} is given CONCURENCY, which", setting(POOL, "CONCURENCY", "2")),
    pool_mutation("pictures that the API accepts", "MAX_PICTURE_BYTES is not the same for all", setting(POOL, "MAX_PICTURE_BYTES", "1048576")),
    pool_mutation("a queue of another size", "QUEUE_MAX_BYTES is not the same for all", setting(POOL, "QUEUE_MAX_BYTES", "2048")),
    pool_mutation("streams on one server", f"{POOL} wants each stream on 1 servers", setting(POOL, "NATS_REPLICAS", "1")),
    pool_mutation("an image that no release makes", f"{POOL} runs the image registry.example.com/spotter-worker:0.0.1", in_container(POOL, "image", "registry.example.com/spotter-worker:0.0.1")),
    pool_mutation("probes elsewhere", f"{POOL} listens on 9091", setting(POOL, "PROBES_ADDRESS", "0.0.0.0:9091")),
    pool_mutation("a probe of no path", f"{POOL}: its readiness probe asks for /healthz", lambda o: o.container(POOL)["readinessProbe"]["httpGet"].update(path="/healthz")),
    pool_mutation("killed in mid-job", f"{POOL}: a worker is killed after 60 s", in_pod(POOL, "terminationGracePeriodSeconds", 60)),
    pool_mutation("slots without cores", f"{POOL}: a worker has 2 cores for CONCURRENCY=4", setting(POOL, "CONCURRENCY", "4")),
    pool_mutation("nowhere to lay the model out", f"{POOL}: a worker has no folder to lay", in_pod(POOL, "volumes", [])),
    # The network.
    pool_mutation("policies of the first pool only", f"{POOL} may not speak to nats on port client", lambda o: policy(o, "worker").update(podSelector=OF_THE_FIRST)),
    pool_mutation("a NATS that hears the first pool only", f"nats does not listen to {POOL} on port client", hears_the_first_pool_only),
    pool_mutation("a way to Redis", f"{POOL}: a worker may speak to redis", lambda o: policy(o, "worker")["egress"].append({"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "redis"}}}], "ports": [{"port": "redis"}]})),
]

# Seen only when NATS runs.
POOL_LOGIN_MUTATIONS = {
    "NATS": [
        pool_mutation("an authority that is not named", f"{POOL} cannot log in to NATS", without_variable("NATS_CA_FILE")),
    ],
    "Redis": [],
}
