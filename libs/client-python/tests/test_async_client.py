"""The asynchronous client does what the other one does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

import spotter
from proxy import Proxy
from system import Api, undecodable

pytestmark = pytest.mark.anyio

# httpx opens no more at a time.
MOST_CONNECTIONS = 100


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def public(of: type) -> dict[str, inspect.Signature]:
    methods = inspect.getmembers(of, inspect.isfunction)
    return {
        name: inspect.signature(method) for name, method in methods if not name.startswith("_") or name == "__init__"
    }


def test_both_clients_have_the_same_methods() -> None:
    one, other = public(spotter.Client), public(spotter.AsyncClient)
    assert len(one) == 21
    assert one.keys() == other.keys()
    for name, signature in one.items():
        ours, theirs = dict(signature.parameters), dict(other[name].parameters)
        if name == "detect_many":
            # The one difference: it also takes an asynchronous iterable.
            del ours["pictures"], theirs["pictures"]
        assert ours == theirs, name


async def test_a_picture_is_detected_and_followed(url: str, zidane: Path) -> None:
    async with spotter.AsyncClient(url) as client:
        task = await client.submit(zidane, cache_control="no-cache", annotated="jpeg")
        kinds = [event.kind async for event in client.events(task)]
        assert kinds[-1] == "succeeded"
        finished = await client.wait(task)
        assert "person" in [found.label for found in finished.objects]
        assert (await client.image(task)).startswith(b"\xff\xd8")
        assert (await client.result(task, "yolo")).count(b"\n") == len(finished.objects)
        assert (await client.task(task.task_id)).task_id == task.task_id
        listed = [one.task_id async for one in client.tasks(limit=100)]
        assert task.task_id in listed
        detected = await client.detect(zidane)
        assert detected.objects == finished.objects


async def test_errors_are_the_same(url: str, zidane: Path) -> None:
    async with spotter.AsyncClient(url) as client:
        with pytest.raises(spotter.ApiError) as caught:
            await client.detect(zidane, iou=7)
        assert (caught.value.status, caught.value.kind) == (400, "invalid-parameter")
        with pytest.raises(spotter.TaskFailedError):
            await client.detect(undecodable(zidane))


async def test_a_batch_is_followed_to_its_end(url: str, bus: Path, zidane: Path) -> None:
    async with spotter.AsyncClient(url) as client:
        batch = await client.submit_batch([bus, zidane, b"no picture"], items={"bus.jpg": {"classes": ["bus"]}})
        kinds = [event.kind async for event in client.batch_events(batch)]
        assert kinds[-1] == "finished"
        assert (await client.wait_batch(batch)).counts.succeeded == 2
        results = [one async for one in client.batch_results(batch)]
        assert [one.index for one in results if one.task] == [0, 1]
        assert {found.label for one in results[:1] if one.task for found in one.task.objects} == {"bus"}
        assert (await client.batch(batch.batch_id)).received == 3
        assert batch.batch_id in [one.batch_id async for one in client.batches(limit=1)]
        with pytest.raises(spotter.ApiError) as caught:
            await client.cancel_batch(batch)
        assert caught.value.kind == "batch-ended"
        (default,) = [model for model in await client.models() if model.default]
        assert "bus" in (await client.model(default.name)).labels


async def test_many_pictures_may_come_asynchronously(url: str, bus: Path, zidane: Path) -> None:
    taken = given = most = 0

    async def pictures() -> AsyncIterator[spotter.PictureSource]:
        nonlocal taken
        for number in range(40):
            taken += 1
            yield b"no picture" if number == 7 else zidane
            await asyncio.sleep(0)

    async with spotter.AsyncClient(url) as client:
        failed = []
        async for outcome in client.detect_many(pictures(), parallel=3):
            most = max(most, taken - given)
            failed += [given] if outcome.error else []
            given += 1
        assert (given, most, failed) == (40, 3, [7])
        assert [one.picture async for one in client.detect_many([bus, zidane])] == [bus, zidane]


async def test_a_cancelled_call_drops_its_request(proxy: Proxy, bus: Path) -> None:
    async with spotter.AsyncClient(proxy.url) as client:
        task = await client.submit(bus)
        # Some of them wait for a connection.
        calls = [asyncio.create_task(client.wait(task)) for _ in range(MOST_CONNECTIONS + 20)]
        await anyio.to_thread.run_sync(proxy.wait_until, lambda: proxy.forwarded >= MOST_CONNECTIONS)
        for call in calls:
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in ended)
        # The task goes on, and all connections are free again.
        found = await asyncio.gather(*[client.task(task) for _ in range(MOST_CONNECTIONS)])
        assert {one.state for one in found} == {spotter.State.QUEUED}
        assert (await client.cancel(task)).state == "REVOKED"


async def test_a_cancelled_loop_over_events_ends(lonely_api: Api, bus: Path) -> None:
    followed = asyncio.Event()

    async def follow() -> None:
        async for _ in client.events(task):
            followed.set()

    async with spotter.AsyncClient(lonely_api.address) as client:
        task = await client.submit(bus)
        following = asyncio.create_task(follow())
        await followed.wait()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
        assert (await client.cancel(task)).state == "REVOKED"


async def test_cancelling_many_cancels_what_is_in_flight(lonely_api: Api, bus: Path) -> None:
    async with spotter.AsyncClient(lonely_api.address) as client:
        before = asyncio.all_tasks()
        outcomes = client.detect_many([bus] * 10, parallel=4)
        first = asyncio.ensure_future(anext(outcomes))
        while not [task async for task in client.tasks()]:
            pass
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await outcomes.aclose()
        assert asyncio.all_tasks() == before


async def test_waiting_ends_in_time(lonely_api: Api, bus: Path) -> None:
    async with spotter.AsyncClient(lonely_api.address, retry_for=0) as client:
        with pytest.raises(spotter.WaitTimeoutError):
            await client.detect(bus, timeout=1)
        with pytest.raises(TimeoutError), anyio.fail_after(0.5):
            await client.detect(bus)
        lonely_api.process.kill()
        with pytest.raises(spotter.NoAnswerError):
            await client.detect(bus)
        lonely_api.start()
