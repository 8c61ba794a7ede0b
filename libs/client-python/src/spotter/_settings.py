"""What a client is made of."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from spotter._arguments import checked_api_key, checked_headers, checked_seconds, checked_url, checked_verify
from spotter._errors import NoAnswerError, SpotterError, UnexpectedAnswerError
from spotter._http import Request
from spotter._version import VERSION

DEFAULT_URL = "http://127.0.0.1:5000"
CONNECT_TIMEOUT = 5.0
# How long a call goes on trying while the API is busy or does not answer.
RETRY_FOR = 120.0
# How long `detect` and `wait` wait for the end of a task.
WAIT_FOR = 300.0

CLOSED = "the client is closed: make calls before `close`, or within its `with` block, or create another client"
PROXY_VARIABLES = "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"


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
        key = api_key or os.environ.get("SPOTTER_API_KEY")
        return cls(
            address,
            checked_api_key(key) if key else None,
            checked_headers(headers or {}),
            checked_verify(verify),
            checked_seconds("retry_for", retry_for),
        )

    def http_headers(self) -> dict[str, str]:
        headers = {"User-Agent": f"spotter-detection/{VERSION}", **self.headers}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    @contextmanager
    def http_arguments(self) -> Iterator[dict[str, Any]]:
        """The arguments of httpx's clients. Its errors about the environment are raised as `ValueError`."""
        arguments = {"base_url": self.url, "headers": self.http_headers(), "verify": self.verify}
        try:
            if is_loopback(httpx.URL(self.url).host):
                # No proxy reaches the loopback addresses of this machine. Of the environment, only certificates count.
                arguments |= {"trust_env": False, "verify": httpx.create_ssl_context(self.verify)}
            yield arguments
        except OSError as error:
            raise ValueError(f"SSL_CERT_FILE or SSL_CERT_DIR names certificates that cannot be read: {error}") from None
        except ImportError:
            raise ValueError(f"{PROXY_VARIABLES} is a SOCKS proxy, which needs: pip install 'httpx[socks]'") from None
        except (httpx.InvalidURL, ValueError):
            # Without the cause, which may contain the password of the proxy.
            expected = "expected one such as http://proxy.example.com:8080, or none"
            raise ValueError(f"{PROXY_VARIABLES} is no proxy that can be used; {expected}") from None

    @contextmanager
    def http_errors(self) -> Iterator[None]:
        """Raises errors of httpx as those of this package."""
        try:
            yield
        except httpx.DecodingError as error:
            raise UnexpectedAnswerError(f"the answer cannot be decoded: {error}") from error
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise SpotterError(f"the request cannot be sent: {error}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if is_untrusted(error):
                advice = "pass verify=ssl.create_default_context(cafile=...) with the certificate of its authority"
                raise UnexpectedAnswerError(f"the API's certificate is not trusted: {error}; {advice}") from error
            raise NoAnswerError(f"{described(error)}; {self._what_to_check()}") from error
        except (httpx.TransportError, TimeoutError) as error:
            no_answer = NoAnswerError(described(error))
            no_answer.is_silence = is_late(error)
            raise no_answer from error

    def _what_to_check(self) -> str:
        url = httpx.URL(self.url)
        check = "check that a spotter API runs at the client's address (url or SPOTTER_API), and whether it is https"
        is_proxied = not is_loopback(url.host) and not proxy_bypass(url.host)
        if is_proxied and {url.scheme, "all"} & getproxies().keys():
            return f"{check}; and the proxy of the environment ({PROXY_VARIABLES}; not for hosts in NO_PROXY)"
        return check


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_untrusted(error: BaseException) -> bool:
    """Whether the reason of an error is a certificate: that is no better at the next try."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


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


def described(error: Exception) -> str:
    """An error in words: those of timeouts have few or none."""
    return "no answer in time" if is_late(error) else f"no answer: {error}"


def is_late(error: Exception) -> bool:
    return isinstance(error, TimeoutError | httpx.TimeoutException)


def is_answer_of(media_type: str, answer: httpx.Response) -> bool:
    """Whether an answer is a success of this media type."""
    found = answer.headers.get("content-type", "").partition(";")[0].strip()
    return answer.status_code == httpx.codes.OK and found == media_type
