"""Waiting for a task that is not run, at an API that goes away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

import spotter
from proxy import Proxy
from system import Api

T = TypeVar("T")
PATIENCE = 60


def in_background(work: Callable[[], T]) -> Future[T]:
    executor = ThreadPoolExecutor(1)
    future = executor.submit(work)
    executor.shutdown(wait=False)
    return future


def restart(api: Api, proxy: Proxy) -> None:
    """Kill the API, and start another once the client has come back in vain."""
    proxy.cut()
    api.process.kill()
    proxy.wait_until(lambda: proxy.lost >= 2)
    api.start()
    proxy.target = api.address


def test_waiting_survives_the_api(lonely_api: Api, proxy: Proxy, bus: Path) -> None:
    with spotter.Client(proxy.url) as client:
        task = client.submit(bus)
        assert (task.state, task.state.is_terminal) == ("QUEUED", False)
        waiting = in_background(lambda: client.wait(task, timeout=PATIENCE))
        restart(lonely_api, proxy)
        with spotter.Client(lonely_api.address) as direct:
            assert direct.cancel(task).state == "REVOKED"
        assert waiting.result(PATIENCE).state == "REVOKED"


def test_a_submission_survives_the_api(lonely_api: Api, proxy: Proxy, bus: Path) -> None:
    proxy.cut()
    with spotter.Client(proxy.url) as client:
        submitting = in_background(lambda: client.submit(bus))
        restart(lonely_api, proxy)
        assert submitting.result(PATIENCE).state == "QUEUED"
        assert len(list(client.tasks())) == 1


def test_events_survive_the_api(lonely_api: Api, proxy: Proxy, bus: Path) -> None:
    with spotter.Client(proxy.url) as client:
        task = client.submit(bus)
        first, kinds = threading.Event(), []

        def follow() -> None:
            for event in client.events(task):
                kinds.append(event.kind)
                first.set()

        following = in_background(follow)
        assert first.wait(PATIENCE)
        restart(lonely_api, proxy)
        client.cancel(task)
        following.result(PATIENCE)
        assert kinds[0] == "queued"
        assert kinds[-1] == "revoked"


def test_a_cancelled_task_has_no_result(lonely_api: Api, bus: Path) -> None:
    with spotter.Client(lonely_api.address) as client:
        detecting = in_background(lambda: client.detect(bus, idempotency_key="this-one"))
        task = client.submit(bus, idempotency_key="this-one")
        client.cancel(task)
        assert client.cancel(task).state == "REVOKED", "to cancel it again is no error"
        with pytest.raises(spotter.TaskFailedError, match="ended as REVOKED"):
            detecting.result(PATIENCE)
        with pytest.raises(spotter.ApiError) as caught:
            client.result(task, "csv")
        assert caught.value.kind == "task-without-result"


def test_waiting_ends_in_time_and_the_task_goes_on(lonely_api: Api, bus: Path) -> None:
    with spotter.Client(lonely_api.address) as client:
        with pytest.raises(spotter.WaitTimeoutError, match="bus.jpg is still QUEUED") as caught:
            client.detect(bus, timeout=1)
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(spotter.WaitTimeoutError):
            client.wait(caught.value.task, timeout=0)
        with pytest.raises(spotter.WaitTimeoutError):
            client.result(caught.value.task, "voc", timeout=0)
        assert client.task(caught.value.task).state == "QUEUED"


def test_an_api_that_is_gone_is_given_up(lonely_api: Api, bus: Path) -> None:
    with spotter.Client(lonely_api.address, retry_for=0.3) as client:
        lonely_api.process.kill()
        with pytest.raises(spotter.NoAnswerError, match="refused"):
            client.detect(bus)
        lonely_api.start()
