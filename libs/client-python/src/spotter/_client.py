"""The client for programs without an event loop."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TypeVar

import httpx
from httpx_sse import EventSource
from typing_extensions import Self, Unpack

from spotter import _batches as batches
from spotter import _flows as flows
from spotter._arguments import checked_idempotency_key, id_of, id_of_batch
from spotter._async_client import AsyncClient
from spotter._batch_body import ItemParameters, PictureSources, body_of, named
from spotter._batches import BatchSubmission, ItemResult, ReadingResults, known_results
from spotter._errors import NoAnswerError, SpotterError
from spotter._events import BatchEvent, Event, Following, FollowingBatch, FollowingTask
from spotter._flows import REQUEST_TIMEOUT, CacheControl, Flow, Format, Limit, Pause, Submission
from spotter._http import Body, Request, Response
from spotter._many import Detect, checked_many
from spotter._models import Batch, BatchList, Model, Task, TaskList
from spotter._outcomes import Outcomes
from spotter._parameters import ListParameters, SubmitParameters
from spotter._pictures import PictureSource, load
from spotter._settings import CLOSED, RETRY_FOR, WAIT_FOR, Settings, arguments_of, is_answer_of

T = TypeVar("T")


class Client:
    """A client of one API. Threads may share it. Use it as a context manager, or call `close`.

    Args:
        url: The API's address. Default: the variable SPOTTER_API, or `http://127.0.0.1:5000`.
        api_key: The API key. Default: the variable SPOTTER_API_KEY.
        headers: Headers for each request, such as a gateway requires.
        verify: How TLS certificates are checked.
        retry_for: For how many seconds a request is retried while the API is busy or does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        retry_for: float = RETRY_FOR,
    ) -> None:
        self._settings = Settings.of(url, api_key, headers, verify, retry_for)
        with self._settings.http_arguments() as arguments:
            self._http = httpx.Client(**arguments)

    def detect(
        self,
        picture: PictureSource,
        *,
        name: str | None = None,
        timeout: float | None = WAIT_FOR,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Task:
        """Submit a picture and wait for its objects.

        Args:
            picture: A path, an `https` URL, the bytes of a file, an open file, a PIL picture, or an array.
            name: The file name that the task shows. Default: that of the file.
            timeout: How many seconds to wait for the end of the task.
            idempotency_key: The same key with the same picture and parameters is the same task. Default: a new one.
            cache_control: Whether the known result for this picture will do.
            parameters: As in `SubmitParameters`, such as `confidence=0.5`.

        Raises:
            ValueError, TypeError, OSError: The picture or another argument cannot be used; nothing was sent.
            TaskFailedError: The task ended without a result.
            WaitTimeoutError: It has not ended in time.
            ApiError: The API refused the picture or a parameter.
            NoAnswerError: The API cannot be reached.
        """
        key = checked_idempotency_key(idempotency_key)
        submission = Submission(load(picture, name), parameters, key, cache_control)
        return self._run(flows.detect(submission, Limit(timeout), self._settings.retry_for))

    def submit(
        self,
        picture: PictureSource,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Task:
        """Submit a picture, without waiting for its objects. The arguments are those of `detect`."""
        key = checked_idempotency_key(idempotency_key)
        submission = Submission(load(picture, name), parameters, key, cache_control)
        return self._run(flows.submit(submission, Limit(None), self._settings.retry_for))

    def detect_many(
        self,
        pictures: Iterable[PictureSource],
        *,
        parallel: int = 8,
        run: str = "",
        timeout: float | None = WAIT_FOR,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Outcomes:
        """The outcomes of many pictures, in order; `parallel` of them are in flight and in memory.

        A picture that fails does not stop the others: its outcome has the error. An API that cannot be reached, or
        refuses the API key, stops all of them.

        Idempotency keys follow from the pictures, their names and the parameters. So a second call with the same
        `run`, after a crash, gets the tasks of the first one, and runs nothing twice. Another `run` is another run.
        """

        self._check_open()

        def detect_with(client: AsyncClient) -> Detect:
            return client._detect_in_run(run, timeout, cache_control, parameters)

        return Outcomes(self._settings, checked_many(pictures), parallel, detect_with)

    def task(self, task: Task | str) -> Task:
        """A task as it is now."""
        return self._run(flows.task(id_of(task), self._settings.retry_for))

    def wait(self, task: Task | str, *, timeout: float | None = WAIT_FOR) -> Task:
        """Wait until a task has ended, in whatever state. Goes on where the API is away for a while.

        Raises:
            WaitTimeoutError: It has not ended within `timeout` seconds.
        """
        return self._run(flows.wait(id_of(task), Limit(timeout), self._settings.retry_for))

    def cancel(self, task: Task | str) -> Task:
        """Cancel a task. A task that was cancelled before is no error; one that has ended otherwise is."""
        return self._run(flows.cancel(id_of(task), self._settings.retry_for))

    def image(self, task: Task | str, *, timeout: float | None = WAIT_FOR) -> bytes:
        """The picture of a task that was submitted with `annotated`, with its objects drawn in by the worker."""
        path = flows.path_of(id_of(task), "/image")
        return self._run(flows.content(path, {}, Limit(timeout), self._settings.retry_for))

    def result(self, task: Task | str, file_format: Format, *, timeout: float | None = WAIT_FOR) -> bytes:
        """The result of a task as a file of another tool, such as `csv`. Waits for the end of the task."""
        path, query = flows.path_of(id_of(task)), {"format": file_format}
        return self._run(flows.content(path, query, Limit(timeout), self._settings.retry_for))

    def tasks(self, **parameters: Unpack[ListParameters]) -> Iterator[Task]:
        """Tasks, newest first, without their objects. Pages are requested as they are needed."""
        cursor: str | None = None
        while True:
            query = {**parameters, "cursor": cursor}
            page = self._run(flows.page("/v1/tasks", query, TaskList, self._settings.retry_for))
            yield from page.tasks
            if page.next is None:
                return
            cursor = page.next

    def events(self, task: Task | str) -> Iterator[Event]:
        """The events of a task, from its present state to its end. Reconnects where the connection is lost."""
        return self._events(FollowingTask(id_of(task), self._settings.retry_for))

    def submit_batch(
        self,
        pictures: PictureSources,
        *,
        items: ItemParameters | None = None,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Batch:
        """Submit many pictures in one request, without waiting for their objects.

        A batch that breaks off, because the API is busy, restarts or cannot be reached, is continued until there is no
        progress for `retry_for` seconds. Pictures that were accepted are not run again.

        Args:
            pictures: Pictures of all kinds that `detect` takes, or a mapping from names to pictures. A zip archive
                stands for the pictures in it. Files are read while they are sent. URLs are a batch of their own.
            items: Parameters of single pictures, by their names or URLs; they stand in for those of the batch.
            idempotency_key: The same key with the same pictures and parameters is the same batch, which is continued
                where it broke off. Default: a new one.
            cache_control: Whether the known results for these pictures will do.
            parameters: As in `SubmitParameters`. `callback_url` is called once, at the end of the batch.

        Raises:
            ValueError, TypeError: A picture or another argument cannot be used; nothing was sent.
            OSError: A file cannot be read. Where it was deleted meanwhile, the pictures before it may be run.
            ApiError: The API refused the batch, or the rest of it: `error.batch` is what was received.
            NoAnswerError: The API cannot be reached.
        """
        key = checked_idempotency_key(idempotency_key)
        submission = BatchSubmission(body_of(named(pictures), items), parameters, key, cache_control)
        return self._run(batches.submit(submission, self._settings.retry_for))

    def batch(self, batch: Batch | str) -> Batch:
        """A batch as it is now."""
        return self._run(batches.batch(id_of_batch(batch), self._settings.retry_for))

    def batches(self, *, limit: int | None = None) -> Iterator[Batch]:
        """Batches, newest first, without `refused`. Pages of `limit` batches are requested as they are needed."""
        cursor: str | None = None
        while True:
            query = {"limit": limit, "cursor": cursor}
            page = self._run(flows.page("/v1/batches", query, BatchList, self._settings.retry_for))
            yield from page.batches
            if page.next is None:
                return
            cursor = page.next

    def wait_batch(self, batch: Batch | str, *, timeout: float | None = WAIT_FOR) -> Batch:
        """Wait until each task of a batch has ended. Goes on where the API is away for a while.

        Raises:
            BatchTimeoutError: Some have not ended within `timeout` seconds.
        """
        return self._run(batches.wait(id_of_batch(batch), Limit(timeout), self._settings.retry_for))

    def batch_events(self, batch: Batch | str) -> Iterator[BatchEvent]:
        """The progress of a batch, from its present state to its end. Reconnects where the connection is lost."""
        return self._events(FollowingBatch(id_of_batch(batch), self._settings.retry_for))

    def batch_results(self, batch: Batch | str) -> Iterator[ItemResult]:
        """What has become of each picture of a batch, in order. Results are read as they are asked for.

        A task that has not ended is in its present state: `wait_batch` waits for all of them.
        """
        return self._results(ReadingResults(id_of_batch(batch), known_results(batch), self._settings.retry_for))

    def _results(self, reading: ReadingResults) -> Iterator[ItemResult]:
        """Results, until the last one."""
        if reading.received is None:
            reading.received = self.batch(reading.batch_id).received
        while not reading.has_ended:
            try:
                with self._settings.http_errors(), self._stream(reading.request()) as answer:
                    if is_answer_of("application/x-ndjson", answer):
                        for chunk in answer.iter_bytes():
                            yield from reading.results(chunk)
                        delay = reading.ended()
                    else:
                        delay = reading.refused(whole(answer, Body(REQUEST_TIMEOUT)))
            except NoAnswerError as error:
                delay = reading.lost(error)
            time.sleep(delay)

    def cancel_batch(self, batch: Batch | str) -> Batch:
        """Cancel each task of a batch that has not ended. A batch that was cancelled before is no error."""
        return self._run(batches.cancel(id_of_batch(batch), self._settings.retry_for))

    def models(self) -> list[Model]:
        """The models that a request may name, without their `labels`."""
        return self._run(flows.models(self._settings.retry_for))

    def model(self, name: str) -> Model:
        """A model, with its `labels`."""
        return self._run(flows.model(name, self._settings.retry_for))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"

    def _events(self, following: Following[T]) -> Iterator[T]:
        """Events, until the last one."""
        while not following.has_ended:
            try:
                with self._settings.http_errors(), self._stream(following.request()) as answer:
                    if is_answer_of("text/event-stream", answer):
                        following.opened()
                        for sent in EventSource(answer).iter_sse():
                            if event := following.event(sent):
                                yield event
                        delay = following.interrupted()
                    else:
                        delay = following.refused(whole(answer, Body(REQUEST_TIMEOUT)))
            except NoAnswerError as error:
                delay = following.lost(error)
            time.sleep(delay)

    def _check_open(self) -> None:
        if self._http.is_closed:
            raise SpotterError(CLOSED)

    def _stream(self, request: Request) -> AbstractContextManager[httpx.Response]:
        """Sends a request; the answer is read within the context."""
        self._check_open()
        return self._http.stream(**arguments_of(request))

    def _run(self, flow: Flow[T]) -> T:
        """Carry out the steps of a flow."""
        try:
            step = flow.send(None)
            while True:
                try:
                    answer = self._carry_out(step)
                except NoAnswerError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _carry_out(self, step: Request | Pause) -> Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        body = Body(step.timeout)
        with self._settings.http_errors(), self._stream(step) as answer:
            return whole(answer, body)


def whole(answer: httpx.Response, body: Body) -> Response:
    """An answer that is read into `body`, within its limits."""
    for chunk in answer.iter_bytes():
        body.add(chunk)
    return Response(answer.status_code, answer.headers, body.all())
