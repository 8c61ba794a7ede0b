"""Batches that break off, and how much memory they need."""

from __future__ import annotations

import itertools
import json
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image

import spotter
from proxy import Proxy
from scripted import Answer, scripted
from spotter._batch_body import body_of, named
from spotter._batches import SEND_SILENCE, BatchSubmission
from spotter._events import FollowingTask
from spotter._retries import Backoff
from spotter._settings import Settings
from system import Api, System
from test_waiting import in_background, restart

ROOT = Path(__file__).resolve().parents[3]
SCHEMAS = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]
BATCH, TASK = SCHEMAS["Batch"]["example"], SCHEMAS["Task"]["example"]
# How many pictures, and their sides in pixels: half a megabyte each.
COUNT, SIDE = 300, 420
PATIENCE = 120


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Different pictures, of about a quarter of a megabyte each."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    paths = [folder / f"{number:02}.png" for number in range(40)]
    for path in paths:
        Image.effect_noise((500, 500), 100).save(path)
    return paths


@pytest.fixture
def large_pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "large pictures"
    folder.mkdir()
    picture = tmp_path / "large.png"
    Image.effect_noise((SIDE, SIDE), 100).convert("RGB").save(picture, compress_level=0)
    assert picture.stat().st_size > 500_000
    paths = [folder / f"{number:03}.png" for number in range(COUNT)]
    for path in paths:
        path.symlink_to(picture)
    return paths


@pytest.fixture
def traced() -> Iterator[None]:
    """Counts what Python allocates."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def peak_megabytes() -> float:
    return tracemalloc.get_traced_memory()[1] / 1e6


def test_three_hundred_pictures_are_never_in_memory_together(
    lonely_api: Api, large_pictures: list[Path], traced: None
) -> None:
    with spotter.Client(lonely_api.address) as client:
        batch = client.submit_batch(large_pictures)
        assert (batch.received, batch.counts.pending) == (COUNT, COUNT)
        assert peak_megabytes() < 10
        assert sum(1 for _ in client.batch_results(batch)) == COUNT
        assert peak_megabytes() < 10


@pytest.mark.anyio
async def test_nor_are_they_in_the_asynchronous_client(
    lonely_api: Api, large_pictures: list[Path], traced: None
) -> None:
    async with spotter.AsyncClient(lonely_api.address) as client:
        batch = await client.submit_batch(large_pictures)
        assert (batch.received, batch.counts.pending) == (COUNT, COUNT)
        assert len([one async for one in client.batch_results(batch)]) == COUNT
        assert peak_megabytes() < 10


def assert_each_picture_has_one_task(client: spotter.Client, batch: spotter.Batch, pictures: list[Path]) -> None:
    assert (batch.received, batch.counts.pending, batch.interruption) == (len(pictures), len(pictures), None)
    assert [one.batch_id for one in client.batches()] == [batch.batch_id]
    results = list(client.batch_results(batch))
    assert [one.name for one in results] == [path.name for path in pictures]
    tasks = sorted(one.task.task_id for one in results if one.task)
    assert tasks == sorted(task.task_id for task in client.tasks(limit=100)), "no picture was accepted twice"


def test_a_batch_is_continued_when_its_api_has_died(lonely_api: Api, proxy: Proxy, pictures: list[Path]) -> None:
    sent = sum(path.stat().st_size for path in pictures)
    proxy.bytes_until_cut = sent * 2 // 3
    with spotter.Client(proxy.url) as client:
        submitting = in_background(lambda: client.submit_batch(pictures))
        proxy.wait_until(lambda: proxy.target is None)
        restart(lonely_api, proxy)
        batch = submitting.result(PATIENCE)
        assert_each_picture_has_one_task(client, batch, pictures)


@pytest.mark.anyio
async def test_a_batch_is_continued_when_its_connection_is_lost(
    lonely_api: Api, proxy: Proxy, pictures: list[Path]
) -> None:
    proxy.bytes_until_cut = sum(path.stat().st_size for path in pictures) // 3

    def restore() -> None:
        proxy.wait_until(lambda: proxy.lost >= 1)
        proxy.target = lonely_api.address

    restored = in_background(restore)
    async with spotter.AsyncClient(proxy.url) as client:
        batch = await client.submit_batch(pictures)
    restored.result(PATIENCE)
    with spotter.Client(lonely_api.address) as direct:
        assert_each_picture_has_one_task(direct, batch, pictures)


def test_a_second_call_continues_the_batch_of_a_first_that_gave_up(
    lonely_api: Api, proxy: Proxy, pictures: list[Path]
) -> None:
    proxy.bytes_until_cut = sum(path.stat().st_size for path in pictures) // 3
    with spotter.Client(proxy.url, retry_for=0) as client, pytest.raises(spotter.NoAnswerError):
        client.submit_batch(pictures, idempotency_key="in-two-calls")
    with spotter.Client(lonely_api.address) as client:
        batch = client.submit_batch(pictures, idempotency_key="in-two-calls")
        assert_each_picture_has_one_task(client, batch, pictures)


def test_a_refusal_is_read_though_the_pictures_were_not_all_sent(system: System, large_pictures: list[Path]) -> None:
    with spotter.Client(system.keyed_api) as client, pytest.raises(spotter.AuthenticationError) as caught:
        client.submit_batch(large_pictures)
    assert caught.value.kind == "api-key-missing"


def test_a_file_that_is_deleted_before_it_is_sent_ends_the_call(
    lonely_api: Api, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deleted_once_opened(*arguments: Any) -> object:
        body = body_of(*arguments)
        pictures[2].unlink()
        return body

    monkeypatch.setattr("spotter._client.body_of", deleted_once_opened)
    with spotter.Client(lonely_api.address) as client:
        with pytest.raises(FileNotFoundError, match=r"02\.png"):
            client.submit_batch(pictures)
        assert len(list(client.tasks())) <= 2


def test_waiting_for_a_batch_survives_lost_connections(lonely_api: Api, proxy: Proxy, pictures: list[Path]) -> None:
    with spotter.Client(proxy.url) as client:
        batch = client.submit_batch(pictures[:3])
        waiting = in_background(lambda: client.wait_batch(batch, timeout=PATIENCE))
        following = in_background(lambda: [event.kind for event in client.batch_events(batch)])
        proxy.wait_until(lambda: proxy.forwarded >= 2)
        proxy.cut()
        proxy.wait_until(lambda: proxy.lost >= 2)
        proxy.target = lonely_api.address
        with spotter.Client(lonely_api.address) as direct:
            assert direct.cancel_batch(batch).cancelled
        assert waiting.result(PATIENCE).counts.revoked == 3
        assert following.result(PATIENCE)[-1] == "finished"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("spotter._client.time.sleep", pauses.append)
    return pauses


def refusal(status: int, kind: str, received: int | None = None, **headers: str) -> Answer:
    problem = {"type": f"urn:problem-type:spotter:{kind}", "title": "A title", "status": status, "detail": "A detail"}
    batch = {} if received is None else {"batch": {**BATCH, "received": received}}
    return Answer(status, json.dumps(problem | batch), {name.replace("_", "-"): text for name, text in headers.items()})


ACCEPTED = Answer(202, json.dumps(BATCH))


@pytest.fixture
def slow(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure comes 100 seconds after the one before it."""
    clock = itertools.count(0.0, 100.0)
    monkeypatch.setattr("spotter._batches.Backoff", lambda retry_for: Backoff(retry_for, lambda: next(clock)))


def test_a_batch_is_continued_for_as_long_as_there_is_progress(slept: list[float], slow: None) -> None:
    steps = [refusal(503, "queue-full", received, Retry_After="90") for received in (1, 2, 3, 4)]
    with scripted(*steps, ACCEPTED) as script, spotter.Client(script.url, retry_for=120) as client:
        assert client.submit_batch([b"a", b"b"]).batch_id == BATCH["batch_id"]
    keys = {headers["idempotency-key"] for _, headers in script.requests}
    assert (len(script.requests), len(keys)) == (5, 1)
    assert [90 <= pause <= 112.5 for pause in slept] == [True] * 4


def test_a_batch_without_progress_is_given_up(slow: None) -> None:
    steps = [refusal(429, "quota-exceeded", 7, Retry_After="30")] * 9
    with (
        scripted(*steps) as script,
        spotter.Client(script.url, retry_for=120) as client,
        pytest.raises(spotter.BusyError) as caught,
    ):
        client.submit_batch([b"a", b"b"])
    assert caught.value.batch is not None
    assert caught.value.batch.received == 7
    assert 2 <= len(script.requests) <= 4


def test_a_batch_that_another_request_sends_is_waited_for(slept: list[float]) -> None:
    steps = refusal(409, "batch-in-progress"), ACCEPTED
    with scripted(*steps) as script, spotter.Client(script.url) as client:
        assert client.submit_batch([b"a"]).received == 3
    assert len(slept) == 1
    with (
        scripted(refusal(409, "batch-cancelled", 1)) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.ApiError) as caught,
    ):
        client.submit_batch([b"a"])
    assert caught.value.kind == "batch-cancelled"


def test_a_batch_that_arrives_too_slowly_is_continued_while_there_is_progress(slept: list[float], slow: None) -> None:
    steps = [refusal(408, "too-slow", received) for received in (1, 2, 3, 3)]
    with scripted(*steps[:3], ACCEPTED) as script, spotter.Client(script.url, retry_for=120) as client:
        assert client.submit_batch([b"a", b"b"]).batch_id == BATCH["batch_id"]
    assert len(script.requests) == 4
    with (
        scripted(*steps, ACCEPTED) as script,
        spotter.Client(script.url, retry_for=120) as client,
        pytest.raises(spotter.ApiError) as caught,
    ):
        client.submit_batch([b"a", b"b"])
    assert (caught.value.kind, len(script.requests)) == ("too-slow", 4)


def test_the_api_may_be_silent_for_as_long_as_it_fetches_urls() -> None:
    bodies = body_of(named(["https://a/"]), None), body_of(named([b"a"]), None)
    assert [BatchSubmission(body, {}, "key", None).request().silence for body in bodies] == [None, SEND_SILENCE]


@pytest.mark.anyio
async def test_pictures_are_taken_in_the_thread_of_the_event_loop() -> None:
    threads: set[threading.Thread] = set()

    def pictures() -> Iterator[bytes]:
        for picture in (b"a", b"b"):
            threads.add(threading.current_thread())
            yield picture

    async with spotter.AsyncClient("http://127.0.0.1:1", retry_for=0) as client:
        with pytest.raises(spotter.NoAnswerError):
            await client.submit_batch(pictures())
    assert threads == {threading.current_thread()}


NDJSON = {"Content-Type": "application/x-ndjson"}
EVENTS = {"Content-Type": "text/event-stream"}


@pytest.mark.anyio
async def test_an_answer_that_is_no_stream_is_read_within_the_limits_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spotter._http.LONGEST_ANSWER", 100)
    batch = msgspec.convert(BATCH, spotter.Batch)
    with scripted(*[Answer(500, "x" * 101)] * 4) as script:
        with spotter.Client(script.url) as client:
            for stream in (client.batch_events(batch), client.batch_results(batch)):
                with pytest.raises(spotter.UnexpectedAnswerError, match="longer than 100 bytes"):
                    list(stream)
        async with spotter.AsyncClient(script.url) as other:
            with pytest.raises(spotter.UnexpectedAnswerError, match="longer than 100 bytes"):
                _ = [one async for one in other.batch_events(batch)]
            with pytest.raises(spotter.UnexpectedAnswerError, match="longer than 100 bytes"):
                _ = [one async for one in other.batch_results(batch)]


def test_results_that_end_before_the_last_one_are_continued(slept: list[float]) -> None:
    batch = Answer(200, json.dumps({**BATCH, "received": 3}))
    parts = [Answer(200, "".join(map(line, range(count))), NDJSON) for count in (0, 2, 3)]
    with scripted(batch, *parts) as script, spotter.Client(script.url) as client:
        assert [one.index for one in client.batch_results("x")] == [0, 1, 2]
    assert [request for request, _ in script.requests] == ["GET /v1/batches/x"] + ["GET /v1/batches/x/results"] * 3
    known = msgspec.convert({**BATCH, "received": 2}, spotter.Batch)
    with (
        scripted(parts[0]) as script,
        spotter.Client(script.url, retry_for=0) as client,
        pytest.raises(spotter.NoAnswerError, match="the results ended before the last one"),
    ):
        list(client.batch_results(known))


@pytest.mark.parametrize("cut_off", [Answer(200, "{", NDJSON), Answer(200, ": a comment\n\n", EVENTS)])
def test_a_stream_that_breaks_off_is_one_failure(monkeypatch: pytest.MonkeyPatch, cut_off: Answer) -> None:
    failures: list[float | None] = []

    class NoMoreTries(Backoff):
        def delay(self, retry_after: float | None) -> None:
            failures.append(retry_after)

    monkeypatch.setattr("spotter._batches.Backoff", NoMoreTries)
    monkeypatch.setattr("spotter._events.Backoff", NoMoreTries)
    batch = msgspec.convert(BATCH, spotter.Batch)
    with scripted(cut_off) as script, spotter.Client(script.url) as client:
        stream = client.batch_results(batch) if cut_off.body == "{" else client.batch_events(batch)
        with pytest.raises(spotter.NoAnswerError):
            list(stream)
    assert failures == [None]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("spotter._events.monotonic", clock)
    monkeypatch.setattr("spotter._events.Backoff", lambda retry_for: Backoff(retry_for, clock))
    return clock


def silence() -> spotter.NoAnswerError:
    error = spotter.NoAnswerError("no answer in time")
    error.is_silence = True
    return error


def test_streams_with_comments_only_are_followed_for_as_long_as_they_come(clock: Clock) -> None:
    following = FollowingTask("x", 120)
    for _ in range(20):
        following.opened()
        clock.now += 30
        assert following.lost(spotter.NoAnswerError("broke off")) < 1
    for _ in range(20):
        following.opened()
        clock.now += 60
        assert following.lost(silence()) < 1, "comments came for 15 seconds"


@pytest.mark.parametrize("seconds, error", [(5.0, spotter.NoAnswerError("broke off")), (45.0, silence())])
def test_streams_without_a_comment_are_given_up(clock: Clock, seconds: float, error: spotter.NoAnswerError) -> None:
    following = FollowingTask("x", 120)
    with pytest.raises(spotter.NoAnswerError):
        for _ in range(30):
            following.opened()
            clock.now += seconds
            following.lost(error)


@pytest.mark.anyio
async def test_both_clients_tell_when_a_stream_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(0.0, 100.0)
    monkeypatch.setattr("spotter._events.COMMENT_EVERY", 0.0)
    monkeypatch.setattr("spotter._events.Backoff", lambda retry_for: Backoff(retry_for, lambda: next(times)))
    comment = Answer(200, ": a comment\n\n", EVENTS)
    steps = [comment, comment, comment, Answer(204)]
    with scripted(*steps, *steps) as script:
        with spotter.Client(script.url, retry_for=120) as client:
            assert list(client.batch_events("x")) == []
        async with spotter.AsyncClient(script.url, retry_for=120) as other:
            assert [event async for event in other.batch_events("x")] == []
    assert len(script.requests) == 8


@pytest.mark.parametrize("error, is_silence", [(httpx.ReadTimeout(""), True), (httpx.ReadError(""), False)])
def test_an_error_after_a_silence_is_known(error: httpx.TransportError, is_silence: bool) -> None:
    settings = Settings.of(None, None, None, True, 0)
    with pytest.raises(spotter.NoAnswerError) as caught, settings.http_errors():
        raise error
    assert caught.value.is_silence is is_silence


def line(index: int) -> str:
    return json.dumps({**TASK, "index": index, "name": "a\u2028b.jpg"}, ensure_ascii=False) + "\n"


def test_results_are_continued_where_they_broke_off(slept: list[float]) -> None:
    lines = [line(index) for index in range(4)]
    answers = [
        refusal(503, "unavailable", Retry_After="2"),
        Answer(200, lines[0] + lines[1][:-9], NDJSON),
        Answer(200, "".join(lines[:3]), NDJSON | {"Content-Length": "1000000"}),
        Answer(200, "".join(lines), NDJSON),
    ]
    with scripted(*answers) as script, spotter.Client(script.url) as client:
        results = list(client.batch_results(msgspec.convert(BATCH, spotter.Batch)))
    assert [(one.index, one.name) for one in results] == [(index, "a\u2028b.jpg") for index in range(4)]
    assert len(slept) == 4


@pytest.mark.parametrize("text", ["[]\n", "{}\n", '{"index": 0}\n', '{"index": 0, "error": 1}\n', "\xff\n", "null\n"])
def test_a_line_that_is_no_result_is_an_unexpected_answer(text: str) -> None:
    answer = Answer(200, text, NDJSON)
    with (
        scripted(answer) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.UnexpectedAnswerError, match="no result of a picture"),
    ):
        list(client.batch_results(msgspec.convert(BATCH, spotter.Batch)))
