"""Rules about pools of workers: each has objects of its own, and none counts the pods or the jobs of another."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.objects import Objects, matches
from manifests.queue_rules import scaler_of


def selectors_choose_one_pool(objects: Objects) -> Iterator[str]:
    """An autoscaler counts the pods that its Deployment selects; a pod with two budgets cannot be evicted."""
    for pool in objects.pools():
        labels = objects.template(pool)["metadata"]["labels"]
        for kind in ("Deployment", "PodDisruptionBudget"):
            choosing = [
                found["metadata"]["name"]
                for found in objects.of(kind)
                if matches(found["spec"]["selector"]["matchLabels"], labels)
            ]
            if len(choosing) != 1:
                names = ", ".join(choosing) or "none"
                yield f"the pods of {pool} are selected by {len(choosing)} of kind {kind}: {names}"


def no_job_starts_workers_of_two_pools(objects: Objects) -> Iterator[str]:
    counted: dict[str, str] = {}
    for pool in objects.pools():
        scaler = scaler_of(objects, pool)
        for trigger in scaler["spec"]["triggers"] if scaler else []:
            consumer = trigger["metadata"].get("consumer")
            if consumer in counted:
                yield f"the jobs of {consumer} start workers of {counted[consumer]} and again of {pool}"
            counted.setdefault(consumer, pool)


RULES = [selectors_choose_one_pool, no_job_starts_workers_of_two_pools]
