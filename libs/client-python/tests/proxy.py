"""A proxy between a client and an API, which can lose connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal
from typing_extensions import Self

PATIENCE = 60


async def ignored(data: bytes) -> None:
    """What is done with data that counts for nothing."""


class Proxy:
    """Forwards connections. While `target` is None, it closes each at once."""

    def __init__(self, target: str | None) -> None:
        self.target = target
        self.lost = self.forwarded = 0
        self.bytes_until_cut: int | None = None
        """After so many bytes from clients, all connections are lost, as by `cut`."""
        self._changed = threading.Condition()
        self._open: set[asyncio.StreamWriter] = set()
        self._portal_context = start_blocking_portal()

    def __enter__(self) -> Self:
        self._portal = self._portal_context.__enter__()
        self._server = self._portal.call(asyncio.start_server, self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._portal.call(self._close)
        self._portal_context.__exit__(kind, error, trace)

    def cut(self) -> None:
        """Lose all connections, and those that come, until there is a target again."""
        self.target = None
        self._portal.call(self._lose)

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait until a number of connections is reached, of those that were lost or forwarded."""
        with self._changed:
            assert self._changed.wait_for(reached, PATIENCE), f"{self.lost} lost, {self.forwarded} forwarded"

    async def _lose(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _close(self) -> None:
        await self._lose()
        self._server.close()

    async def _serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        if self.target is None:
            answer.transport.abort()
            self._count(lost=1)
            return
        self._count(forwarded=1)
        to = urlsplit(self.target)
        server, request = await asyncio.open_connection(to.hostname, to.port)
        self._open |= {answer, request}
        try:
            await asyncio.gather(self._copy(client, request, self._cut_after), self._copy(server, answer))
        finally:
            self._open -= {answer, request}

    def _count(self, lost: int = 0, forwarded: int = 0) -> None:
        with self._changed:
            self.lost += lost
            self.forwarded += forwarded
            self._changed.notify_all()

    async def _cut_after(self, data: bytes) -> None:
        if self.bytes_until_cut is None:
            return
        self.bytes_until_cut -= len(data)
        if self.bytes_until_cut <= 0:
            self.bytes_until_cut = None
            self.target = None
            await self._lose()
            self._count()

    async def _copy(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        copied: Callable[[bytes], Awaitable[None]] = ignored,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 16):
                await copied(data)
                target.write(data)
                await target.drain()
        target.close()
