"""Following a task or a batch by its events, without I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Generic, TypeVar

import msgspec
from httpx_sse import ServerSentEvent

from spotter import _batches as batches
from spotter import _flows as flows
from spotter._errors import BusyError, NoAnswerError, UnexpectedAnswerError
from spotter._http import Request, Response
from spotter._models import Batch, Task
from spotter._retries import Backoff

T = TypeVar("T")

# How often the API sends a comment, in seconds.
COMMENT_EVERY = 15.0
# A stream that is silent for longer is lost.
LONGEST_SILENCE = 3 * COMMENT_EVERY


@dataclass(frozen=True)
class Event:
    """Something that has happened to a task, and the task as it is since then."""

    kind: str
    """`queued`, `started`, `retried`, and at the end one of `succeeded`, `failed`, `revoked` and `expired`."""
    task: Task


@dataclass(frozen=True)
class BatchEvent:
    """The batch as it is since some of its pictures were received or ended. It is without `refused`."""

    kind: str
    """`progress`, and at the end `finished`."""
    batch: Batch


class Following(ABC, Generic[T]):
    """Events, over as many connections as it takes."""

    def __init__(self, path: str, retry_for: float) -> None:
        self._path = path
        self._backoff = Backoff(retry_for)
        self._last_id = ""
        self._come_back_after: float | None = None
        self._opened_at: float | None = None
        self.has_ended = False
        """Whether the last event has come."""

    def request(self) -> Request:
        """Asks for the events after the last one that came."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        return Request("GET", self._path, LONGEST_SILENCE, headers=headers)

    def opened(self) -> None:
        """A stream begins."""
        self._opened_at = monotonic()

    def refused(self, response: Response) -> float:
        """Seconds until the next try after an answer that is no stream. Raises an error that would come again."""
        try:
            response.raise_for_status()
        except BusyError as error:
            return self.lost(error)
        if response.status != HTTPStatus.NO_CONTENT:
            raise UnexpectedAnswerError("no stream of events; check that this is the address of a spotter API")
        self.has_ended = True
        return 0.0

    @abstractmethod
    def _read(self, kind: str, data: str) -> T:
        """The event with this data. Notes whether it is the last one."""

    def event(self, sent: ServerSentEvent) -> T | None:
        """The next event; None for one without data."""
        self._backoff.succeeded()
        # What has only a time to come back after has no id.
        self._last_id = sent.id or self._last_id
        if sent.retry is not None:
            self._come_back_after = sent.retry / 1000
        if not sent.data:
            return None
        try:
            return self._read(sent.event, sent.data)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswerError(f"an event without a task or batch: {error}") from None

    def interrupted(self) -> float:
        """Seconds until the next try after the end of a stream: 0. Raises an error before the last event."""
        if not self.has_ended:
            raise NoAnswerError("the stream of events broke off")
        return 0.0

    def lost(self, error: BusyError | NoAnswerError) -> float:
        """Seconds until the next try after a lost connection. Raises `error` when it is time to give up."""
        if self._opened_at is not None:
            # For as long as comments came, though there was no event, the API was there.
            alive_for = monotonic() - self._opened_at - (LONGEST_SILENCE if is_silence(error) else 0.0)
            self._opened_at = None
            if alive_for >= COMMENT_EVERY:
                self._backoff.succeeded()
        named = error.retry_after if error.retry_after is not None else self._come_back_after
        delay = self._backoff.delay(named)
        if delay is None:
            raise error
        return delay


def is_silence(error: BusyError | NoAnswerError) -> bool:
    return isinstance(error, NoAnswerError) and error.is_silence


class FollowingTask(Following[Event]):
    """The events of a task."""

    def __init__(self, task_id: str, retry_for: float) -> None:
        super().__init__(flows.path_of(task_id, "/events"), retry_for)

    def _read(self, kind: str, data: str) -> Event:
        task = msgspec.json.decode(data, type=Task)
        self.has_ended = task.state.is_terminal
        return Event(kind, task)


class FollowingBatch(Following[BatchEvent]):
    """The events of a batch."""

    def __init__(self, batch_id: str, retry_for: float) -> None:
        super().__init__(batches.path_of(batch_id, "/events"), retry_for)

    def _read(self, kind: str, data: str) -> BatchEvent:
        batch = msgspec.json.decode(data, type=Batch)
        self.has_ended = batch.state.is_terminal
        return BatchEvent(kind, batch)
