"""The client for programs with an asyncio event loop. Its methods are those of `Client`."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

import anyio
import anyio.to_thread
import httpx
from anyio.lowlevel import current_token
from httpx_sse import EventSource
from typing_extensions import Self, Unpack

from spotter import _batches as batches
from spotter import _flows as flows
from spotter._arguments import checked_idempotency_key, id_of, id_of_batch
from spotter._batch_body import ItemParameters, PictureSources, body_of, named
from spotter._batches import BatchSubmission, ItemResult, ReadingResults, known_results
from spotter._errors import NoAnswerError, SpotterError
from spotter._events import BatchEvent, Event, Following, FollowingBatch, FollowingTask
from spotter._flows import REQUEST_TIMEOUT, CacheControl, Flow, Format, Limit, Pause, Submission
from spotter._http import Body, Request, Response
from spotter._many import Detect, Outcome, Window, checked_many
from spotter._models import Batch, BatchList, Model, Task, TaskList
from spotter._parameters import ListParameters, SubmitParameters
from spotter._pictures import PictureSource, load
from spotter._settings import CLOSED, RETRY_FOR, WAIT_FOR, Settings, arguments_of, is_answer_of

T = TypeVar("T")


class AsyncClient:
    """A client of one API. Use it as an asynchronous context manager, or call `close`. The arguments are `Client`'s."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        verify: ssl.SSLContext | bool = True,
        retry_for: float = RETRY_FOR,
    ) -> None:
        self._open(Settings.of(url, api_key, headers, verify, retry_for))

    @classmethod
    def _with(cls, settings: Settings) -> Self:
        client = cls.__new__(cls)
        client._open(settings)
        return client

    def _open(self, settings: Settings) -> None:
        self._settings = settings
        self._loop: object | None = None
        with settings.http_arguments() as arguments:
            self._http = httpx.AsyncClient(**arguments)

    async def detect(
        self,
        picture: PictureSource,
        *,
        name: str | None = None,
        timeout: float | None = WAIT_FOR,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Task:
        """As `Client.detect`."""
        key = checked_idempotency_key(idempotency_key)
        loaded = await anyio.to_thread.run_sync(load, picture, name)
        submission = Submission(loaded, parameters, key, cache_control)
        return await self._run(flows.detect(submission, Limit(timeout), self._settings.retry_for))

    async def submit(
        self,
        picture: PictureSource,
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Task:
        """As `Client.submit`."""
        key = checked_idempotency_key(idempotency_key)
        loaded = await anyio.to_thread.run_sync(load, picture, name)
        submission = Submission(loaded, parameters, key, cache_control)
        return await self._run(flows.submit(submission, Limit(None), self._settings.retry_for))

    async def detect_many(
        self,
        pictures: Iterable[PictureSource] | AsyncIterable[PictureSource],
        *,
        parallel: int = 8,
        run: str = "",
        timeout: float | None = WAIT_FOR,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> AsyncGenerator[Outcome, None]:
        """As `Client.detect_many`. `pictures` may be an asynchronous iterable."""
        window = Window(parallel, self._detect_in_run(run, timeout, cache_control, parameters))
        try:
            async for picture in each(pictures):
                await window.start(picture)
                if window.is_full:
                    yield await window.first()
            while not window.is_empty:
                yield await window.first()
        finally:
            await window.close()

    async def task(self, task: Task | str) -> Task:
        """As `Client.task`."""
        return await self._run(flows.task(id_of(task), self._settings.retry_for))

    async def wait(self, task: Task | str, *, timeout: float | None = WAIT_FOR) -> Task:
        """As `Client.wait`."""
        return await self._run(flows.wait(id_of(task), Limit(timeout), self._settings.retry_for))

    async def cancel(self, task: Task | str) -> Task:
        """As `Client.cancel`."""
        return await self._run(flows.cancel(id_of(task), self._settings.retry_for))

    async def image(self, task: Task | str, *, timeout: float | None = WAIT_FOR) -> bytes:
        """As `Client.image`."""
        path = flows.path_of(id_of(task), "/image")
        return await self._run(flows.content(path, {}, Limit(timeout), self._settings.retry_for))

    async def result(self, task: Task | str, file_format: Format, *, timeout: float | None = WAIT_FOR) -> bytes:
        """As `Client.result`."""
        path, query = flows.path_of(id_of(task)), {"format": file_format}
        return await self._run(flows.content(path, query, Limit(timeout), self._settings.retry_for))

    async def tasks(self, **parameters: Unpack[ListParameters]) -> AsyncIterator[Task]:
        """As `Client.tasks`."""
        cursor: str | None = None
        while True:
            query = {**parameters, "cursor": cursor}
            page = await self._run(flows.page("/v1/tasks", query, TaskList, self._settings.retry_for))
            for task in page.tasks:
                yield task
            if page.next is None:
                return
            cursor = page.next

    def events(self, task: Task | str) -> AsyncGenerator[Event, None]:
        """As `Client.events`."""
        return self._events(FollowingTask(id_of(task), self._settings.retry_for))

    async def submit_batch(
        self,
        pictures: PictureSources,
        *,
        items: ItemParameters | None = None,
        idempotency_key: str | None = None,
        cache_control: CacheControl | None = None,
        **parameters: Unpack[SubmitParameters],
    ) -> Batch:
        """As `Client.submit_batch`."""
        key = checked_idempotency_key(idempotency_key)
        body = await anyio.to_thread.run_sync(body_of, list(named(pictures)), items)
        submission = BatchSubmission(body, parameters, key, cache_control)
        return await self._run(batches.submit(submission, self._settings.retry_for))

    async def batch(self, batch: Batch | str) -> Batch:
        """As `Client.batch`."""
        return await self._run(batches.batch(id_of_batch(batch), self._settings.retry_for))

    async def batches(self, *, limit: int | None = None) -> AsyncIterator[Batch]:
        """As `Client.batches`."""
        cursor: str | None = None
        while True:
            query = {"limit": limit, "cursor": cursor}
            page = await self._run(flows.page("/v1/batches", query, BatchList, self._settings.retry_for))
            for batch in page.batches:
                yield batch
            if page.next is None:
                return
            cursor = page.next

    async def wait_batch(self, batch: Batch | str, *, timeout: float | None = WAIT_FOR) -> Batch:
        """As `Client.wait_batch`."""
        return await self._run(batches.wait(id_of_batch(batch), Limit(timeout), self._settings.retry_for))

    def batch_events(self, batch: Batch | str) -> AsyncGenerator[BatchEvent, None]:
        """As `Client.batch_events`."""
        return self._events(FollowingBatch(id_of_batch(batch), self._settings.retry_for))

    def batch_results(self, batch: Batch | str) -> AsyncGenerator[ItemResult, None]:
        """As `Client.batch_results`."""
        return self._results(ReadingResults(id_of_batch(batch), known_results(batch), self._settings.retry_for))

    async def _results(self, reading: ReadingResults) -> AsyncGenerator[ItemResult, None]:
        """Results, until the last one."""
        if reading.received is None:
            reading.received = (await self.batch(reading.batch_id)).received
        while not reading.has_ended:
            try:
                with self._settings.http_errors():
                    async with self._stream(reading.request()) as answer:
                        if is_answer_of("application/x-ndjson", answer):
                            async for chunk in answer.aiter_bytes():
                                for result in reading.results(chunk):
                                    yield result
                            delay = reading.ended()
                        else:
                            delay = reading.refused(await whole(answer, REQUEST_TIMEOUT))
            except NoAnswerError as error:
                delay = reading.lost(error)
            await anyio.sleep(delay)

    async def cancel_batch(self, batch: Batch | str) -> Batch:
        """As `Client.cancel_batch`."""
        return await self._run(batches.cancel(id_of_batch(batch), self._settings.retry_for))

    async def models(self) -> list[Model]:
        """As `Client.models`."""
        return await self._run(flows.models(self._settings.retry_for))

    async def model(self, name: str) -> Model:
        """As `Client.model`."""
        return await self._run(flows.model(name, self._settings.retry_for))

    async def close(self) -> None:
        """As `Client.close`."""
        self._check_loop()
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"

    async def _events(self, following: Following[T]) -> AsyncGenerator[T, None]:
        """Events, until the last one."""
        while not following.has_ended:
            try:
                with self._settings.http_errors():
                    async with self._stream(following.request()) as answer:
                        if is_answer_of("text/event-stream", answer):
                            following.opened()
                            async for sent in EventSource(answer).aiter_sse():
                                if event := following.event(sent):
                                    yield event
                            delay = following.interrupted()
                        else:
                            delay = following.refused(await whole(answer, REQUEST_TIMEOUT))
            except NoAnswerError as error:
                delay = following.lost(error)
            await anyio.sleep(delay)

    def _check_loop(self) -> None:
        """Connections belong to the event loop in which they were opened."""
        loop = current_token()
        self._loop = self._loop or loop
        if self._loop != loop:
            raise SpotterError(
                "the client was used in another event loop: create one AsyncClient in each `asyncio.run`"
            )

    def _stream(self, request: Request) -> AbstractAsyncContextManager[httpx.Response]:
        """Sends a request; the answer is read within the context."""
        if self._http.is_closed:
            raise SpotterError(CLOSED)
        self._check_loop()
        return self._http.stream(**arguments_of(request) | {"content": content_of(request)})

    async def _run(self, flow: Flow[T]) -> T:
        """Carry out the steps of a flow."""
        try:
            step = flow.send(None)
            while True:
                try:
                    answer = await self._carry_out(step)
                except NoAnswerError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _carry_out(self, step: Request | Pause) -> Response | None:
        if isinstance(step, Pause):
            await anyio.sleep(step.seconds)
            return None
        with self._settings.http_errors(), anyio.fail_after(step.timeout):
            async with self._stream(step) as answer:
                return await whole(answer, step.timeout)

    def _detect_in_run(
        self, run: str, timeout: float | None, cache_control: CacheControl | None, parameters: SubmitParameters
    ) -> Detect:
        """Detects the objects of one picture of a run."""

        async def detect(picture: PictureSource) -> Task:
            loaded = await anyio.to_thread.run_sync(load, picture, None)
            key = flows.content_key(loaded, parameters, run)
            submission = Submission(loaded, parameters, key, cache_control)
            return await self._run(flows.detect(submission, Limit(timeout), self._settings.retry_for))

        return detect


async def whole(answer: httpx.Response, timeout: float) -> Response:
    """An answer that is read within limits of size and time."""
    body = Body(timeout)
    with anyio.fail_after(timeout):
        async for chunk in answer.aiter_bytes():
            body.add(chunk)
    return Response(answer.status_code, answer.headers, body.all())


def content_of(request: Request) -> bytes | AsyncIterable[bytes] | None:
    """The body of a request; its pieces are read in threads, which may wait for a disk."""
    return request.body if isinstance(request.body, bytes | None) else in_threads(request.body)


async def in_threads(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    left = iter(pieces)
    while (piece := await anyio.to_thread.run_sync(next, left, None)) is not None:
        yield piece


async def each(pictures: Iterable[PictureSource] | AsyncIterable[PictureSource]) -> AsyncIterator[PictureSource]:
    """The elements of either kind of iterable."""
    if isinstance(pictures, AsyncIterable):
        async for picture in pictures:
            yield picture
    else:
        for picture in checked_many(pictures):
            yield picture
