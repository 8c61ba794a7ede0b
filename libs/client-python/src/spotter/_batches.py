"""What each call about a batch does, without I/O: see `_flows.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from spotter._batch_body import Form, UrlList
from spotter._errors import TYPE_PREFIX, ApiError, BatchTimeoutError, BusyError, NoAnswerError, UnexpectedAnswerError
from spotter._flows import REQUEST_TIMEOUT, CacheControl, Flow, Limit, Pause, query_of, retried
from spotter._http import Request, Response
from spotter._models import Batch, Task
from spotter._parameters import SubmitParameters
from spotter._retries import Backoff

# How many seconds it may take to send a batch: longer than an API receives one.
SEND_TIMEOUT = 2 * 3600.0
# How many seconds the API may neither read on nor answer: pictures that it has received wait for room in the queue, and
# for the API key's rate. Then another request continues the batch.
SEND_SILENCE = 900.0
# How many seconds pass between two looks at a batch: they double up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
# The longest line of results in bytes: a task with all its objects has far less.
LONGEST_LINE = 16 << 20


@dataclass(frozen=True)
class BatchSubmission:
    """Pictures, and how they are to be processed."""

    pictures: Form | UrlList
    parameters: SubmitParameters
    idempotency_key: str
    cache_control: CacheControl | None

    def request(self) -> Request:
        headers = {"Content-Type": self.pictures.media_type, "Idempotency-Key": self.idempotency_key}
        if self.cache_control is not None:
            headers["Cache-Control"] = self.cache_control
        body = self.pictures.content if isinstance(self.pictures, UrlList) else self.pictures
        query = query_of(self.parameters)
        # Nothing is sent while the API fetches what URLs name, however long that takes.
        silence = None if isinstance(self.pictures, UrlList) else SEND_SILENCE
        return Request("POST", "/v1/batches", SEND_TIMEOUT, query, headers, body, silence)


@dataclass(frozen=True)
class ItemError:
    """Why a picture of a batch has no task."""

    type: str
    """The kind of problem, as a URI."""
    detail: str
    """What was found and what was expected."""

    @property
    def kind(self) -> str:
        """The last part of `type`, such as `invalid-picture`."""
        return self.type.removeprefix(TYPE_PREFIX)


@dataclass(frozen=True)
class ItemResult:
    """What has become of one picture of a batch: a task, which may not have ended, or an error."""

    index: int
    """The place of the picture in the batch, from 0."""
    name: str
    """The picture's name; empty where that is not known."""
    task: Task | None
    error: ItemError | None


def submit(submission: BatchSubmission, retry_for: float) -> Flow[Batch]:
    """Sends a batch, and continues it where it breaks off. Gives up after `retry_for` seconds without progress."""
    backoff = Backoff(retry_for)
    received = sent = 0
    while True:
        try:
            response: Response = yield submission.request()
            response.raise_for_status()
            return response.decode(Batch)
        except (ApiError, NoAnswerError) as error:
            received_before, sent_before = received, sent
            received = max(received, received_of(error))
            sent = submission.pictures.most_sent
            has_progress = received > received_before or sent > sent_before
            if not is_continued(error, has_progress):
                raise
            if has_progress:
                backoff.succeeded()
            delay = backoff.delay(error.retry_after)
            if delay is None:
                raise
        yield Pause(delay)


def is_continued(error: ApiError | NoAnswerError, has_progress: bool) -> bool:
    """Whether another request may continue the batch."""
    if isinstance(error, BusyError | NoAnswerError):
        return True
    # After a lost connection, it may take the API half a minute to notice that. Until then the batch is in progress.
    if error.kind == "batch-in-progress":
        return True
    # The time that a request may take was over.
    return error.kind == "too-slow" and has_progress


def received_of(error: ApiError | NoAnswerError) -> int:
    return error.batch.received if isinstance(error, ApiError) and error.batch else 0


def batch(batch_id: str, retry_for: float) -> Flow[Batch]:
    response = yield from retried(Request("GET", path_of(batch_id), REQUEST_TIMEOUT), Limit(None), retry_for)
    return response.decode(Batch)


def wait(batch_id: str, limit: Limit, retry_for: float) -> Flow[Batch]:
    pause = FIRST_PAUSE
    while True:
        found = yield from batch(batch_id, limit.left(retry_for))
        if found.state.is_terminal:
            return found
        if limit.is_over():
            raise BatchTimeoutError(found)
        yield Pause(limit.left(pause))
        pause = min(2 * pause, LONGEST_PAUSE)


def cancel(batch_id: str, retry_for: float) -> Flow[Batch]:
    request = Request("DELETE", path_of(batch_id), REQUEST_TIMEOUT)
    try:
        response = yield from retried(request, Limit(None), retry_for)
    except ApiError as error:
        # Cancelled before, for example by a request whose answer was lost.
        if error.batch is not None and error.batch.cancelled:
            return error.batch
        raise
    return response.decode(Batch)


class ReadingResults:
    """The results of a batch, over as many connections as it takes."""

    def __init__(self, batch_id: str, received: int | None, retry_for: float) -> None:
        self.batch_id = batch_id
        self.received = received
        """How many results there are at least; None where that is not known yet."""
        self._backoff = Backoff(retry_for)
        self._next = 0
        self._rest = b""
        self.has_ended = False
        """Whether the last result has come."""

    def request(self) -> Request:
        """Asks for all results: those that have come are passed over."""
        self._rest = b""
        return Request("GET", path_of(self.batch_id, "/results"), REQUEST_TIMEOUT)

    def results(self, chunk: bytes) -> Iterator[ItemResult]:
        """The results whose lines end in this piece of the answer."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            raise UnexpectedAnswerError(f"a line longer than {LONGEST_LINE} bytes; expected the result of a picture")
        for result in map(result_of, lines):
            if result.index >= self._next:
                self._next = result.index + 1
                self._backoff.succeeded()
                yield result

    def ended(self) -> float:
        """Seconds until the next try after the end of an answer: 0. Raises an error after a part of one."""
        if self._rest:
            raise NoAnswerError("the results ended within a line")
        # Not every proxy tells its client that the API has broken off.
        if self._next < (self.received or 0):
            raise NoAnswerError("the results ended before the last one")
        self.has_ended = True
        return 0.0

    def refused(self, response: Response) -> float:
        """Seconds until the next try after an answer without results. Raises an error that would come again."""
        try:
            response.raise_for_status()
        except BusyError as error:
            return self.lost(error)
        raise UnexpectedAnswerError("no results; check that this is the address of a spotter API")

    def lost(self, error: BusyError | NoAnswerError) -> float:
        """Seconds until the next try after a lost connection. Raises `error` when it is time to give up."""
        delay = self._backoff.delay(error.retry_after)
        if delay is None:
            raise error
        return delay


def known_results(batch: Batch | str) -> int | None:
    """How many results a batch has at least, where that is known."""
    return batch.received if isinstance(batch, Batch) else None


def result_of(line: bytes) -> ItemResult:
    try:
        members: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
        index, name = msgspec.convert(members["index"], int), str(members.get("name") or "")
        if "error" in members:
            return ItemResult(index, name, None, msgspec.convert(members["error"], ItemError))
        return ItemResult(index, name, msgspec.convert(members, Task), None)
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError) as error:
        raise UnexpectedAnswerError(f"a line that is no result of a picture: {error}") from None


def path_of(batch_id: str, below: str = "") -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}{below}"
