"""What a client is made of."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from spotter._errors import NoAnswerError, SpotterError, UnexpectedAnswerError
from spotter._http import Request
from spotter._models import Batch, Task
from spotter._version import VERSION

DEFAULT_URL = "http://127.0.0.1:5000"
CONNECT_TIMEOUT = 5.0
# How long a call goes on trying while the API is busy or does not answer.
RETRY_FOR = 120.0
# How long `detect` and `wait` wait for the end of a task.
WAIT_FOR = 300.0


@dataclass(frozen=True)
class Settings:
    """What `Client` and `AsyncClient` have in common. Does not show the API key."""

    url: str
    api_key: str | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    verify: ssl.SSLContext | bool
    retry_for: float

    @classmethod
    def of(
        cls,
        url: str | None,
        api_key: str | None,
        headers: Mapping[str, str] | None,
        verify: ssl.SSLContext | bool,
        retry_for: float,
    ) -> Settings:
        """Settings from arguments and, where these are absent, from the environment."""
        address = checked_url(url or os.environ.get("SPOTTER_API") or DEFAULT_URL)
        key = api_key or os.environ.get("SPOTTER_API_KEY") or None
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise ValueError("the API key has invalid characters; expected one as `spotter key create` prints it")
        return cls(address, key, dict(headers or {}), verify, retry_for)

    def http_headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"spotter-detection/{VERSION}", **self.headers}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers


def checked_url(url: str) -> str:
    """An address without a slash at its end. The error does not show it: it may contain a password."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise ValueError("url: expected an address such as http://127.0.0.1:5000")
    if parsed.userinfo:
        # httpx writes addresses into its log.
        raise ValueError("url: expected an address without a password; an API key is passed as api_key")
    return url.rstrip("/")


def arguments_of(request: Request) -> dict[str, Any]:
    """The arguments of httpx's `stream`."""
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query,
        "headers": request.headers,
        "content": request.body,
        "timeout": httpx.Timeout(request.silence or request.timeout, connect=CONNECT_TIMEOUT),
    }


@contextmanager
def http_errors() -> Iterator[None]:
    """Raises errors of httpx as those of this package."""
    try:
        yield
    except httpx.DecodingError as error:
        raise UnexpectedAnswerError(f"the answer cannot be decoded: {error}") from error
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
        raise SpotterError(f"the request cannot be sent: {error}") from error
    except (httpx.TransportError, TimeoutError) as error:
        raise NoAnswerError(described(error)) from error


def described(error: Exception) -> str:
    """An error in words: those of timeouts have none."""
    return f"no answer: {error or type(error).__name__}"


def is_answer_of(media_type: str, answer: httpx.Response) -> bool:
    """Whether an answer is a success of this media type."""
    found = answer.headers.get("content-type", "").partition(";")[0].strip()
    return answer.status_code == httpx.codes.OK and found == media_type


def id_of(task: Task | str) -> str:
    return task if isinstance(task, str) else task.task_id


def id_of_batch(batch: Batch | str) -> str:
    return batch if isinstance(batch, str) else batch.batch_id
