"""A server that gives the answers of a script, for what a real one does not do on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """A whole answer, after which the connection is closed."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Script:
    """The answers to come, and the requests so far. Without an answer, the connection is closed."""

    answers: list[Answer]
    url: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """What was sent with each request."""


class ServerOfIpv6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


def body_of(request: BaseHTTPRequestHandler) -> bytes:
    """All that the client sends with a request: an answer before its end leaves open how much has been sent."""
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length", 0)))
    body = b""
    # An empty line: the connection was lost.
    while length := int(request.rfile.readline() or b"0", 16):
        body += request.rfile.read(length)
        request.rfile.readline()
    request.rfile.readline()
    return body


@contextmanager
def scripted(*answers: Answer, server_type: type[ThreadingHTTPServer] = ThreadingHTTPServer) -> Iterator[Script]:
    script = Script(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            script.bodies.append(body_of(self))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.requests.append((f"{self.command} {self.path}", headers))
            if not script.answers:
                return
            answer = script.answers.pop(0)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body.encode())

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    host = "::1" if server_type.address_family == socket.AF_INET6 else "127.0.0.1"
    server = server_type((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    script.url = f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"
    try:
        yield script
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
