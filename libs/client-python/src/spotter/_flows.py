"""What each call does, as requests, pauses and decisions, without I/O.

A flow is a generator: it yields the next request or pause, and gets the response, or the `NoAnswerError`, in return.
`Client` and `AsyncClient` only carry its steps out, so that both behave alike.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec

from spotter._arguments import checked_seconds
from spotter._errors import ApiError, BusyError, NoAnswerError, TaskFailedError, WaitTimeoutError
from spotter._http import Request, Response
from spotter._models import Model, ModelList, State, Task
from spotter._parameters import ListParameters, SubmitParameters
from spotter._pictures import Picture
from spotter._retries import Backoff

T = TypeVar("T")

# How many seconds one status request is held open. The API's own limit is 30.
LONGEST_HOLD = 20
# How many seconds a request may take in all, besides the time that the API holds its answer back.
REQUEST_TIMEOUT = 120.0

CacheControl: TypeAlias = Literal["no-cache", "no-store"]
"""`no-cache`: run the model also where the result for this picture is known. `no-store`: that, and do not keep it."""

Format: TypeAlias = Literal["coco", "csv", "yolo", "yolo-conf", "voc"]
"""A format of other tools: docs/formats.md describes them."""


@dataclass(frozen=True)
class Pause:
    """A step: let so many seconds pass."""

    seconds: float


Flow: TypeAlias = Generator[Request | Pause, Any, T]


@dataclass(frozen=True)
class Submission:
    """A picture, and how it is to be processed."""

    picture: Picture
    parameters: SubmitParameters
    idempotency_key: str
    cache_control: CacheControl | None

    def request(self, hold: int) -> Request:
        """The request. The API holds its answer back for up to `hold` seconds, until the task has ended."""
        headers = {**self.picture.headers(), "Idempotency-Key": self.idempotency_key}
        if self.cache_control is not None:
            headers["Cache-Control"] = self.cache_control
        if hold > 0:
            headers["Prefer"] = f"wait={hold}"
        query = query_of(self.parameters)
        return Request("POST", "/v1/tasks", REQUEST_TIMEOUT + hold, query, headers, self.picture.body())


class Limit:
    """The time that a call may take."""

    def __init__(self, seconds: float | None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + checked_seconds("timeout", seconds)

    def left(self, at_most: float) -> float:
        """The seconds that are left, up to `at_most`."""
        if self._deadline is None:
            return at_most
        return min(at_most, max(0.0, self._deadline - time.monotonic()))

    def hold(self) -> int:
        """For how long the API may hold an answer back: whole seconds."""
        return math.ceil(self.left(LONGEST_HOLD))

    def is_over(self) -> bool:
        return self.left(1.0) == 0.0


def content_key(picture: Picture, parameters: SubmitParameters, run: str) -> str:
    """An idempotency key for a picture in a run: the same file, name, parameters and run have the same key."""
    parts = [run.encode(), picture.name.encode(), picture.digest(), msgspec.json.encode(query_of(parameters))]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def retried(request: Request, limit: Limit, retry_for: float) -> Flow[Response]:
    """Sends a request until it is answered with success. Raises errors that would come again."""
    backoff = Backoff(limit.left(retry_for))
    while True:
        try:
            response: Response = yield request
            response.raise_for_status()
            return response
        except (BusyError, NoAnswerError) as error:
            delay = backoff.delay(error.retry_after)
            if delay is None:
                raise
        yield Pause(delay)


def submit(submission: Submission, limit: Limit, retry_for: float, hold: int = 0) -> Flow[Task]:
    response = yield from retried(submission.request(hold), limit, retry_for)
    return response.decode(Task)


def detect(submission: Submission, limit: Limit, retry_for: float) -> Flow[Task]:
    task = yield from submit(submission, limit, retry_for, limit.hold())
    if not task.state.is_terminal:
        task = yield from wait(task.task_id, limit, retry_for)
    if task.state != State.SUCCESS:
        raise TaskFailedError(task)
    return task


def task(task_id: str, retry_for: float, hold: int = 0) -> Flow[Task]:
    request = Request("GET", path_of(task_id), REQUEST_TIMEOUT + hold, {"wait": str(hold)})
    response = yield from retried(request, Limit(None), retry_for)
    return response.decode(Task)


def wait(task_id: str, limit: Limit, retry_for: float) -> Flow[Task]:
    while True:
        found = yield from task(task_id, limit.left(retry_for), limit.hold())
        if found.state.is_terminal:
            return found
        if limit.is_over():
            raise WaitTimeoutError(found)


def cancel(task_id: str, retry_for: float) -> Flow[Task]:
    request = Request("DELETE", path_of(task_id), REQUEST_TIMEOUT)
    try:
        response = yield from retried(request, Limit(None), retry_for)
    except ApiError as error:
        # Cancelled before, for example by a request whose answer was lost.
        if error.task is not None and error.task.state == State.REVOKED:
            return error.task
        raise
    return response.decode(Task)


def content(path: str, query: Mapping[str, str], limit: Limit, retry_for: float) -> Flow[bytes]:
    """What belongs to a task with a result: waits for it."""
    while True:
        hold = limit.hold()
        request = Request("GET", path, REQUEST_TIMEOUT + hold, {**query, "wait": str(hold)})
        try:
            response = yield from retried(request, Limit(None), limit.left(retry_for))
            return response.body
        except ApiError as error:
            if error.kind != "task-unfinished" or error.task is None:
                raise
            if limit.is_over():
                raise WaitTimeoutError(error.task) from None


def page(path: str, parameters: Mapping[str, Any] | ListParameters, of: type[T], retry_for: float) -> Flow[T]:
    """A page of the list at `path`: its type is `of`."""
    request = Request("GET", path, REQUEST_TIMEOUT, query_of(parameters))
    response = yield from retried(request, Limit(None), retry_for)
    return response.decode(of)


def models(retry_for: float) -> Flow[list[Model]]:
    response = yield from retried(Request("GET", "/v1/models", REQUEST_TIMEOUT), Limit(None), retry_for)
    return response.decode(ModelList).models


def model(name: str, retry_for: float) -> Flow[Model]:
    request = Request("GET", f"/v1/models/{quote(name, safe='')}", REQUEST_TIMEOUT)
    response = yield from retried(request, Limit(None), retry_for)
    return response.decode(Model)


def path_of(task_id: str, below: str = "") -> str:
    return f"/v1/tasks/{quote(task_id, safe='')}{below}"


def query_of(parameters: Mapping[str, Any] | SubmitParameters | ListParameters) -> dict[str, str | list[str]]:
    """Parameters as the query has them, sorted by name."""
    return {name: text_of(name, value) for name, value in sorted(parameters.items()) if value is not None}


def text_of(name: str, value: Any) -> str | list[str]:
    match value:
        case bool():
            return "true" if value else "false"
        case Mapping():
            return as_json(name, value).decode()
        case str():
            return value
        case Iterator():
            # It could be read only once, and a request may be sent again.
            raise TypeError(f"{name}: expected a list, got {type(value).__name__}")
        case list() | tuple() | set() | frozenset():
            texts = [str(one) for one in value]
            # The one list that is a single parameter; others are given more than once.
            return ",".join(texts) if name == "classes" else texts
        case _:
            return str(value)


def as_json(name: str, value: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(value, order="deterministic")
    except TypeError as error:
        raise TypeError(f"{name}: expected values that JSON has: {error}") from None
