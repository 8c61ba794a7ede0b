"""Which requests are sent again, and when."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import spotter
from scripted import Answer, scripted
from spotter._http import seconds_of
from spotter._retries import Backoff

ROOT = Path(__file__).resolve().parents[3]
TASK = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]["Task"]["example"]
DONE = Answer(200, json.dumps(TASK), {"Content-Type": "application/json"})


def problem(status: int, kind: str, **headers: str) -> Answer:
    body = {"type": f"urn:problem-type:spotter:{kind}", "title": "A title", "status": status, "detail": "A detail"}
    return Answer(status, json.dumps(body), {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("spotter._client.time.sleep", pauses.append)
    return pauses


def test_a_busy_api_is_asked_again_with_the_same_key(slept: list[float]) -> None:
    busy = problem(503, "queue-full", Retry_After="3"), problem(429, "rate-limited", Retry_After="7")
    with scripted(*busy, DONE) as script, spotter.Client(script.url) as client:
        assert client.detect(b"a picture").state == spotter.State.SUCCESS
    assert len(slept) == 2
    assert 3 <= slept[0] <= 3.75
    assert 7 <= slept[1] <= 8.75
    keys = {headers["idempotency-key"] for _, headers in script.requests}
    assert (len(script.requests), len(keys)) == (3, 1)


def test_a_lost_connection_is_tried_again(slept: list[float]) -> None:
    with (
        scripted() as script,
        spotter.Client(script.url, retry_for=4) as client,
        pytest.raises(spotter.NoAnswerError) as caught,
    ):
        client.detect(b"a picture")
        assert "127.0.0.1" not in str(caught.value)
    # The pauses take no time here, so the time that retries may take never passes: each is short enough by itself.
    assert 4 <= len(script.requests) <= 6


def test_without_retries_the_first_error_is_raised(slept: list[float]) -> None:
    with (
        scripted(problem(503, "unavailable", Retry_After="2")) as script,
        spotter.Client(script.url, retry_for=0) as client,
        pytest.raises(spotter.BusyError) as caught,
    ):
        client.submit(b"a picture")
    assert (caught.value.retry_after, caught.value.title, caught.value.detail) == (2, "A title", "A detail")
    assert slept == []


def test_a_delay_that_is_too_long_is_not_waited_for(slept: list[float]) -> None:
    with (
        scripted(problem(429, "rate-limited", Retry_After="3600")) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.BusyError),
    ):
        client.submit(b"a picture")
    assert slept == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 500, 501])
def test_other_errors_are_raised_at_once(slept: list[float], status: int) -> None:
    with (
        scripted(problem(status, "of-a-newer-api")) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.ApiError) as caught,
    ):
        client.submit(b"a picture")
    assert (caught.value.status, caught.value.kind, caught.value.advice) == (status, "of-a-newer-api", None)
    assert (len(script.requests), slept) == (1, [])


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, "<html>"),
        Answer(200, json.dumps({"task_id": "x"})),
        Answer(200, "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1")),
        Answer(204),
        Answer(301, "", {"Location": "https://elsewhere.example.com/"}),
    ],
)
def test_another_server_is_recognised(answer: Answer) -> None:
    with (
        scripted(answer) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.UnexpectedAnswerError, match="check"),
    ):
        client.task("x")


def test_an_error_without_an_explanation_has_its_status() -> None:
    with (
        scripted(Answer(500, "<html>Internal error")) as script,
        spotter.Client(script.url) as client,
        pytest.raises(spotter.ApiError, match="the API answered 500") as caught,
    ):
        client.task("x")
    assert caught.value.status == 500


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_without_an_api_is_no_answer(slept: list[float], status: int) -> None:
    with scripted(Answer(status, "<html>"), DONE) as script, spotter.Client(script.url) as client:
        assert client.task("x").state == "SUCCESS"
    assert len(slept) == 1
    with (
        scripted(Answer(status, "<html>")) as script,
        spotter.Client(script.url, retry_for=0) as client,
        pytest.raises(spotter.NoAnswerError, match=f"a proxy in front of the API says {status}"),
    ):
        client.task("x")


def test_an_api_with_too_many_connections_is_busy(slept: list[float]) -> None:
    with (
        scripted(Answer(503, '{"error": "too many connections"}'), DONE) as script,
        spotter.Client(script.url) as client,
    ):
        assert client.task("x").state == "SUCCESS"
    assert len(slept) == 1


def test_the_words_of_an_api_with_too_many_connections_are_kept() -> None:
    with (
        scripted(Answer(503, '{"error": "too many connections"}')) as script,
        spotter.Client(script.url, retry_for=0) as client,
        pytest.raises(spotter.BusyError, match="too many connections"),
    ):
        client.task("x")


def test_a_newer_api_may_add_fields_and_states() -> None:
    task = {**TASK, "state": "PAUSED", "added": {"by": "a newer API"}}
    with scripted(Answer(200, json.dumps(task))) as script, spotter.Client(script.url) as client:
        found = client.wait("x")
    assert found.state == "PAUSED"
    assert found.state.is_terminal
    assert str(found.state) == "PAUSED"


def test_a_task_that_was_cancelled_before_is_no_error() -> None:
    ended = json.loads(problem(409, "task-ended").body)
    revoked = Answer(409, json.dumps({**ended, "task": {**TASK, "state": "REVOKED"}}))
    succeeded = Answer(409, json.dumps({**ended, "task": TASK}))
    with scripted(revoked, succeeded) as script, spotter.Client(script.url) as client:
        assert client.cancel("x").state == "REVOKED"
        with pytest.raises(spotter.ApiError) as caught:
            client.cancel("x")
    assert caught.value.task is not None
    assert caught.value.task.state == "SUCCESS"


def test_delays_double_up_to_a_limit_and_vary() -> None:
    now = 0.0
    least = Backoff(120, lambda: now, lambda low, _: low)
    most = Backoff(120, lambda: now, lambda _, high: high)
    assert [least.delay(None) for _ in range(7)] == [0.25, 0.5, 1, 2, 4, 7.5, 7.5]
    assert [most.delay(None) for _ in range(7)] == [0.5, 1, 2, 4, 8, 15, 15]
    assert [most.delay(0), most.delay(10)] == [0.125, 12.5]
    now = 119.0
    assert most.delay(None) is None
    assert most.delay(0) == 0.125
    most.succeeded()
    assert most.delay(None) == 0.5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("7", 7), ("-7", 0), ("soon", None), ("", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)],
)
def test_retry_after_is_read(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


def events(*sent: str) -> Answer:
    return Answer(200, "".join(sent), {"Content-Type": "text/event-stream"})


def event(name: str, identifier: str, state: str) -> str:
    return f"retry: 1500\nid: {identifier}\nevent: {name}\ndata: {json.dumps({**TASK, 'state': state})}\n\n"


def test_a_stream_of_events_is_continued_where_it_broke_off(slept: list[float]) -> None:
    answers = [
        problem(503, "too-many-streams", Retry_After="2"),
        events(":\n\n", event("queued", "0-q0", "QUEUED"), "id: 0-s1\nevent: started\nda"),
        events("retry: 1500\n\n"),
        events(event("started", "0-s1", "STARTED")),
        events(event("succeeded", "0-s2", "SUCCESS")),
    ]
    with scripted(*answers) as script, spotter.Client(script.url) as client:
        followed = [(one.kind, str(one.task.state)) for one in client.events("x")]
    assert followed == [("queued", "QUEUED"), ("started", "STARTED"), ("succeeded", "SUCCESS")]
    assert [headers.get("last-event-id") for _, headers in script.requests] == [None, None, "0-q0", "0-q0", "0-s1"]
    assert len(slept) == 5
    assert 1.5 <= slept[1] <= 1.875


def test_an_event_may_have_any_characters() -> None:
    name = "a\u2028b\u0085c.jpg"
    data = json.dumps({**TASK, "picture_name": name}, ensure_ascii=False)
    with (
        scripted(events(f"event: succeeded\ndata: {data}\n\n")) as script,
        spotter.Client(script.url) as client,
    ):
        assert [one.task.picture_name for one in client.events("x")] == [name]


def test_a_stream_without_further_events_ends() -> None:
    with scripted(Answer(204)) as script, spotter.Client(script.url) as client:
        assert list(client.events("x")) == []


def test_a_stream_that_never_comes_is_given_up(slept: list[float]) -> None:
    with (
        scripted(*[events()] * 50) as script,
        spotter.Client(script.url, retry_for=4) as client,
        pytest.raises(spotter.NoAnswerError),
    ):
        list(client.events("x"))
    assert len(script.requests) < 10
