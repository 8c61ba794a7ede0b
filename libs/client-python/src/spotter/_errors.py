"""Why a call failed. No text contains the API's address or the API key."""

from __future__ import annotations

from http import HTTPStatus

from spotter._models import Batch, Problem, Task
from spotter._problems import ADVICE

# Kinds of an answer by which a path is unknown: the client's own routes exist, so its address is wrong.
NO_ROUTE = ("no-route", "about:blank")
TYPE_PREFIX = "urn:problem-type:spotter:"


class SpotterError(Exception):
    """Any error of this package."""


class ApiError(SpotterError):
    """The API refused the request, and says why (RFC 9457)."""

    def __init__(
        self,
        problem: Problem,
        retry_after: float | None = None,
        task: Task | None = None,
        batch: Batch | None = None,
    ) -> None:
        super().__init__(problem, retry_after, task, batch)
        self.problem = problem
        self.retry_after = retry_after
        """Seconds after which the API asks its clients to try again, if it says so."""
        self.task = task
        """The task that the error is about, where the API sent it."""
        self.batch = batch
        """The batch that the error is about, as far as it was received, where the API sent it."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def type(self) -> str:
        """The kind of problem, as a URI."""
        return self.problem.type

    @property
    def kind(self) -> str:
        """The last part of `type`, such as `too-large`."""
        return self.problem.type.removeprefix(TYPE_PREFIX)

    @property
    def title(self) -> str:
        """The kind in words."""
        return self.problem.title

    @property
    def detail(self) -> str:
        """What was found and what was expected."""
        return self.problem.detail

    @property
    def advice(self) -> str | None:
        """What to do, as docs/errors.md says."""
        if self.status == HTTPStatus.NOT_FOUND and self.kind in NO_ROUTE:
            return "check that the client's address is that of the API, without a route such as /v1 or /docs"
        return ADVICE.get(self.kind)

    def __str__(self) -> str:
        text = f"{self.detail} ({self.status}, {self.kind})"
        return f"{text}; {self.advice}" if self.advice else text


class AuthenticationError(ApiError):
    """The API key is missing, invalid, or lacks a scope."""


class NotFoundError(ApiError):
    """There is no such task or batch, or it is older than results are kept."""


class BusyError(ApiError):
    """The API cannot do it now (503), or the API key has used up its rate or quota (429)."""


class NoAnswerError(SpotterError):
    """There was no answer, or only a part of one. The request may have been carried out."""

    retry_after: float | None = None
    is_silence = False
    """Whether nothing came for as long as the request allows."""


class UnexpectedAnswerError(SpotterError):
    """The answer is not one of a spotter API."""


class TaskError(SpotterError):
    """An error about a task."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.task = task


class TaskFailedError(TaskError):
    """The task has ended without a result: it failed, expired or was cancelled."""

    def __str__(self) -> str:
        task = self.task
        reason = f": {task.failure.message} ({task.failure.reason})" if task.failure else ""
        return f"task {task.task_id} of {task.picture_name} ended as {task.state}{reason}"


class WaitTimeoutError(TaskError, TimeoutError):
    """The task has not ended in time. It goes on: `wait` can be called again."""

    def __str__(self) -> str:
        return f"task {self.task.task_id} of {self.task.picture_name} is still {self.task.state}"


class BatchTimeoutError(SpotterError, TimeoutError):
    """The batch has not ended in time. It goes on: `wait_batch` can be called again."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.batch = batch

    def __str__(self) -> str:
        pending, received = self.batch.counts.pending, self.batch.received
        return f"batch {self.batch.batch_id} is still {self.batch.state}: {pending} of {received} pictures are pending"
