"""A load generator: keeps a number of pictures in a server, over connections that stay open.

It speaks just enough HTTP for that, and costs a fraction of a millisecond of CPU time for each picture.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from comparison.servers import Server

# In seconds; a longer answer is a failure, not a measurement.
PATIENCE = 60
# In seconds; the API answers with an unfinished task after that.
LONGEST_WAIT = 30
BOUNDARY = "----picture"


class UnexpectedAnswer(Exception):
    """A server answered what a client does not expect."""


@dataclass
class Rate:
    """The result of one measurement."""

    per_second: float
    # CPU milliseconds for each picture, of the server and of this program.
    server_cpu_ms: float
    client_cpu_ms: float


class Connection:
    """One connection to a server on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Connection:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def request(self, head: bytes, body: bytes = b"") -> dict:
        """Send a request and return the JSON of its answer."""
        self.writer.writelines([head, body])
        status, *headers = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lengths = [line.split(":")[1] for line in headers if line.lower().startswith("content-length:")]
        answer = await self.reader.readexactly(int(lengths[0])) if lengths else b""
        if status.split()[1] not in ("200", "202"):
            raise UnexpectedAnswer(f"{status}: {answer.decode(errors='replace')}")
        return json.loads(answer)


# Sends one picture over a connection, and returns the answer with its objects.
Send = Callable[[Connection], Awaitable[dict]]


def form(picture: bytes) -> bytes:
    """The body of a multipart form with the picture as its field `file`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="picture.jpg"\r\n'
    return b"".join([head.encode(), b"Content-Type: image/jpeg\r\n\r\n", picture, f"\r\n--{BOUNDARY}--\r\n".encode()])


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The head of a request with a form."""
    own = [f"Content-Type: multipart/form-data; boundary={BOUNDARY}", f"Content-Length: {len(body)}"]
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *own, *headers, "\r\n"]).encode()


def send_to_litserve(picture: bytes) -> Send:
    body = form(picture)
    head = post("/predict", body)

    async def send(connection: Connection) -> dict:
        return await connection.request(head, body)

    return send


def send_to_spotter(picture: bytes) -> Send:
    body = form(picture)
    # One request for each picture, as to LitServe. The same picture again would be answered from the cache.
    head = post("/v1/tasks", body, f"Prefer: wait={LONGEST_WAIT}", "Cache-Control: no-cache")

    async def send(connection: Connection) -> dict:
        task = await connection.request(head, body)
        question = f"GET /v1/tasks/{task['task_id']}?wait={LONGEST_WAIT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        while task["state"] in ("QUEUED", "STARTED"):
            task = await connection.request(question)
        if task["state"] != "SUCCESS":
            raise UnexpectedAnswer(f"the task ended as {task['state']}")
        return task

    return send


def send_once(port: int, send: Send) -> dict:
    async def once() -> dict:
        async with Connection(port) as connection:
            return await asyncio.wait_for(send(connection), PATIENCE)

    return asyncio.run(once())


def measure(server: Server, send: Send, connections: int, warm_up: float, seconds: float) -> Rate:
    """Send pictures over all connections; those that finish in the `seconds` after the first `warm_up` count."""

    async def load() -> Rate:
        loop = asyncio.get_running_loop()
        begin = loop.time() + warm_up
        end = begin + seconds
        finished = 0

        async def keep_sending() -> None:
            nonlocal finished
            async with Connection(server.port) as connection:
                while loop.time() < end:
                    await asyncio.wait_for(send(connection), PATIENCE)
                    finished += begin <= loop.time() < end

        sending = asyncio.gather(*(keep_sending() for _ in range(connections)))
        await asyncio.sleep(warm_up)
        before = server.cpu_seconds(), time.process_time()
        await asyncio.sleep(end - loop.time())
        after = server.cpu_seconds(), time.process_time()
        await sending
        cpu_ms = [(late - early) * 1e3 / max(finished, 1) for early, late in zip(before, after)]
        return Rate(finished / seconds, *cpu_ms)

    return asyncio.run(load())
