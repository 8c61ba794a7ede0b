"""Rules about the models of the queue: what sets them up, who serves them, and what scales those."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.objects import Objects, constant, constants

# The jobs of a backlog that are one worker's share, for each picture it handles at a time.
JOBS_PER_PICTURE = 10
# Each model has a consumer for each of them.
PRIORITIES = constants("libs/domain/src/priority.rs", r'Self::\w+ => "(\w+)"')


def unlike(found: dict, expected: dict, what: str) -> Iterator[str]:
    """A problem for each key with another value than expected."""
    for key in sorted(expected.keys() | found.keys()):
        if found.get(key) != expected.get(key):
            yield f"{what} {key} is {found.get(key)!r}, and should be {expected.get(key)!r}"


def models(settings: dict[str, str]) -> list[str]:
    """The models whose jobs get consumers, or whose jobs a worker takes."""
    named = [name.strip() for name in settings.get("MODELS", "").split(",") if name.strip()]
    return list(dict.fromkeys(named or [settings["MODEL"]]))


def scaler_of(objects: Objects, pool: str) -> dict | None:
    """The ScaledObject that scales a pool of workers."""
    scaled = objects.of("ScaledObject")
    return next((found for found in scaled if found["spec"]["scaleTargetRef"]["name"] == pool), None)


def every_model_is_set_up_and_served(objects: Objects) -> Iterator[str]:
    set_up, api = objects.settings("set-up"), objects.settings("api")
    created, served = {*models(set_up), set_up["MODEL"]}, set()
    for pool in objects.pools():
        worker = objects.settings(pool)
        if "MODELS" not in worker:
            yield f"{pool} serves all models of its image, and for those that are not in MODELS nothing is set up"
        for model in models(worker):
            if model not in created:
                yield f"{pool} serves {model}, whose consumers the set-up does not create"
        if worker["MODEL"] not in models(worker):
            yield f"{pool} has MODEL={worker['MODEL']}, which is not one of its MODELS: it does not start"
        served |= {*models(worker)}
    for model in models(set_up):
        if model not in served:
            yield f"the set-up creates the consumers of {model}, which no worker serves"
    if api["MODEL"] not in served:
        yield f"api has MODEL={api['MODEL']}, which no worker serves"


def the_scaler_knows_the_queue(objects: Objects) -> Iterator[str]:
    for pool in objects.pools():
        scaler = scaler_of(objects, pool)
        if scaler is None:
            yield f"no ScaledObject scales {pool}"
        else:
            for problem in problems_of_scaler(scaler["spec"], objects.settings(pool)):
                yield f"{pool}: {problem}"


def problems_of_scaler(scaled: dict, worker: dict[str, str]) -> Iterator[str]:
    known = {
        *("scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod"),
        *("fallback", "advanced", "triggers"),
    }
    if scaled.keys() - known:
        yield f"the ScaledObject has fields that no rule knows: {sorted(scaled.keys() - known)}"
    names = "libs/messaging/src/provision/names.rs"
    pictures = int(worker["CONCURRENCY"]) * int(worker.get("MAX_BATCH", 1))
    expected = {
        "natsServerMonitoringEndpoint": "nats-headless.spotter.svc:8222",
        "useHttps": "false",
        "account": constant("deploy/nats/permissions.conf", r"accounts \{\s+(\w+) \{"),
        "stream": constant(names, r'JOBS_STREAM: &str = "(.*)"'),
    }
    lanes = [(priority, model) for model in models(worker) for priority in PRIORITIES]
    consumers = [f"{priority}-{model}" for priority, model in lanes]
    found = [trigger["metadata"].get("consumer") for trigger in scaled["triggers"]]
    if found != consumers:
        yield f"the triggers' consumers are {found}, and should be {consumers}"
    for trigger, (priority, model) in zip(scaled["triggers"], lanes, strict=False):
        yield from unlike(trigger["metadata"], expected | {"consumer": f"{priority}-{model}"}, "the trigger's")
        if trigger["type"] != "nats-jetstream":
            yield f"the trigger is of type {trigger['type']}"
    names = [str(trigger.get("name")) for trigger in scaled["triggers"]]
    if names != [consumer.replace("-", "_") for consumer in consumers]:
        yield f"the triggers' names are {names}, and the formula adds up others"
    composite = {
        # KEDA would subtract what stands behind a hyphen.
        "formula": " + ".join(consumer.replace("-", "_") for consumer in consumers),
        "metricType": "AverageValue",
        "target": str(JOBS_PER_PICTURE * pictures),
        "activationTarget": "0",
    }
    yield from unlike(scaled["advanced"].get("scalingModifiers", {}), composite, "scalingModifiers'")
    if scaled["minReplicaCount"] != 0 or "fallback" not in scaled:
        yield "workers do not go to none, or nothing is said for when the lag cannot be read"
    behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    if not behaviour["scaleDown"].get("stabilizationWindowSeconds"):
        yield "a trickle makes workers come and go: scaleDown has no stabilisation window"


RULES = [every_model_is_set_up_and_served, the_scaler_knows_the_queue]
