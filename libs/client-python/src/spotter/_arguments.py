"""Checks of what callers pass. The errors say what was expected, and show no URL, header or key: they may be secret."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Mapping

import httpx

from spotter._models import Batch, Task

HIGHEST_PORT = 65535
# Of a host name, between its points.
LONGEST_LABEL = 63


def checked_url(url: object) -> str:
    """An address without a slash at its end."""
    expected = "url: expected an address such as http://127.0.0.1:5000"
    if not isinstance(url, str):
        raise TypeError(f"{expected}, got {type(url).__name__}")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{expected}, got one without http:// or https:// in front")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError(f"{expected}, got one with an invalid host or port") from None
    if parsed.userinfo:
        # httpx writes addresses into its log.
        raise ValueError("url: expected an address without a password; an API key is passed as api_key")
    labels = parsed.host.removesuffix(".").split(".")
    if not all(1 <= len(label) <= LONGEST_LABEL for label in labels) or (parsed.port or 0) > HIGHEST_PORT:
        raise ValueError(f"{expected}, got one with an invalid host or port")
    if parsed.query or parsed.fragment:
        raise ValueError(f"{expected}, got one with a query or fragment")
    return url.rstrip("/")


def checked_api_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"api_key: expected a key as `spotter key create` prints it, got {type(key).__name__}")
    if not is_token(key):
        raise ValueError("the API key has invalid characters; expected one as `spotter key create` prints it")
    return key


def checked_headers(headers: object) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        expected = "expected texts by the names of headers, such as {'X-Tenant': 'a'}"
        raise TypeError(f"headers: {expected}, got {type(headers).__name__}")
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"headers: expected texts, got {type(name).__name__}: {type(value).__name__}")
        if not is_token(name) or not (value.isascii() and value.isprintable()):
            raise ValueError(f"headers: {name!r} or its value has characters other than printable ASCII")
    return dict(headers)


def checked_verify(verify: object) -> ssl.SSLContext | bool:
    if isinstance(verify, bool | ssl.SSLContext):
        return verify
    raise TypeError(
        f"verify: expected a bool or an SSLContext, got {type(verify).__name__}; "
        "for certificates in a file, pass ssl.create_default_context(cafile=...)"
    )


def checked_seconds(name: str, seconds: object) -> float:
    if isinstance(seconds, int | float):
        return float(seconds)
    raise TypeError(f"{name}: expected a number of seconds, got {type(seconds).__name__}")


def checked_idempotency_key(key: object) -> str:
    """The caller's key, or a new one for one call: its retries are the same task or batch."""
    if key is None:
        return uuid.uuid4().hex
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key: expected a text, got {type(key).__name__}")
    if not is_token(key) or len(key) > 255:
        raise ValueError("idempotency_key: expected 1 to 255 visible ASCII characters, without spaces")
    return key


def id_of(task: Task | str) -> str:
    return checked_id("Task", task.task_id if isinstance(task, Task) else task)


def id_of_batch(batch: Batch | str) -> str:
    return checked_id("Batch", batch.batch_id if isinstance(batch, Batch) else batch)


def checked_id(kind: str, given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"expected a {kind} or its id, got {type(given).__name__}")
    if not given:
        raise ValueError(f"expected the id of a {kind}, got an empty text")
    return given


def is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text
