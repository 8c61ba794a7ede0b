"""Requests and responses as values, without I/O."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

import msgspec

from spotter._errors import (
    TYPE_PREFIX,
    ApiError,
    AuthenticationError,
    BusyError,
    NoAnswerError,
    NotFoundError,
    UnexpectedAnswerError,
)
from spotter._models import Batch, BatchProblem, Problem, Task, TaskProblem

T = TypeVar("T")

# The longest answer in bytes: a drawing as PNG.
LONGEST_ANSWER = 256 << 20


@dataclass(frozen=True)
class Request:
    """A request, and how many seconds it may take in all."""

    method: str
    path: str
    timeout: float
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] | None = field(default=None, repr=False)
    """The body, or its pieces, which are read while they are sent."""
    silence: float | None = None
    """How many seconds may pass without anything sent or received. Default: `timeout`."""


@dataclass(frozen=True)
class Response:
    """A whole response. The names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def decode(self, as_type: type[T]) -> T:
        """The JSON of the body. Members that only a newer API knows are passed over."""
        try:
            return msgspec.json.decode(self.body, type=as_type)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(f"{error}; check that this is the address of a spotter API") from None

    def raise_for_status(self) -> None:
        """Raise what the status means, unless it is a success."""
        if 200 <= self.status < 300:
            return
        if 300 <= self.status < 400:
            raise UnexpectedAnswerError(f"a redirect ({self.status}); check the address, for example http or https")
        if self.status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT):
            # Of a proxy in front, while the API restarts: the request may have been carried out.
            raise NoAnswerError(f"no answer: a proxy in front of the API says {self.status}; check that the API runs")
        raise self._error()

    def _error(self) -> ApiError:
        problem, task, batch = self._problem(), self._task(), self._batch()
        retry_after = seconds_of(self.headers.get("retry-after"))
        if self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
            return BusyError(problem, retry_after, task, batch)
        if self.status == HTTPStatus.UNAUTHORIZED or problem.type == f"{TYPE_PREFIX}scope-missing":
            return AuthenticationError(problem, retry_after, task, batch)
        if self.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return NotFoundError(problem, retry_after, task, batch)
        return ApiError(problem, retry_after, task, batch)

    def _task(self) -> Task | None:
        try:
            return msgspec.json.decode(self.body, type=TaskProblem).task
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _batch(self) -> Batch | None:
        try:
            return msgspec.json.decode(self.body, type=BatchProblem).batch
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def _problem(self) -> Problem:
        try:
            return msgspec.json.decode(self.body, type=Problem)
        except (msgspec.DecodeError, UnicodeDecodeError):
            words = self._plain_error() or f"the API answered {self.status} without an explanation"
            return Problem(type="about:blank", title=f"HTTP status {self.status}", status=self.status, detail=words)

    def _plain_error(self) -> str | None:
        """The error of an API with too many connections, which has not read the request. A proxy has another form."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, str]).get("error")
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None


class Body:
    """The body of a response while it arrives, within limits of size and time."""

    def __init__(self, timeout: float) -> None:
        self._chunks = bytearray()
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout

    def add(self, chunk: bytes) -> None:
        """Add the next piece."""
        if len(self._chunks) + len(chunk) > LONGEST_ANSWER:
            raise UnexpectedAnswerError(f"an answer longer than {LONGEST_ANSWER} bytes")
        # A timeout for each read would let an answer trickle in for ever.
        if time.monotonic() > self._deadline:
            raise NoAnswerError(f"no complete answer within {self._timeout:.0f} s")
        self._chunks += chunk

    def all(self) -> bytes:
        """The whole body, once it has arrived."""
        return bytes(self._chunks)


def seconds_of(retry_after: str | None) -> float | None:
    """The header `Retry-After`, which is a number of seconds or, from a proxy, a time."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(int(retry_after)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
