"""Where an API may be, and what is said of one that is not there."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest

import spotter
from scripted import Answer, Script, ServerOfIpv6, scripted
from test_retries import DONE, TASK

SECRET = "s3cret"


def asked(script: Script, url: str) -> str:
    """The path of the request that a client at `url` sends."""
    with spotter.Client(url) as client:
        assert client.task("x").task_id == TASK["task_id"]
    return script.requests[-1][0].partition("?")[0]


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_an_api_may_be_below_a_path(end: str) -> None:
    with scripted(DONE, DONE) as script:
        assert asked(script, f"{script.url}{end}") == "GET /v1/tasks/x"
        assert asked(script, f"{script.url}/spotter{end}") == "GET /spotter/v1/tasks/x"


def test_an_api_may_have_an_address_of_ipv6() -> None:
    with scripted(DONE, server_type=ServerOfIpv6) as script:
        assert script.url.startswith("http://[::1]:")
        assert asked(script, script.url) == "GET /v1/tasks/x"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_loopback_addresses_are_not_asked_by_a_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    with scripted(DONE, DONE) as script:
        asked(script, script.url)
        asked(script, script.url.replace("127.0.0.1", "localhost"))
    with scripted(DONE, server_type=ServerOfIpv6) as script:
        asked(script, script.url)


def test_other_addresses_are_asked_by_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(DONE) as script:
        monkeypatch.setenv("HTTP_PROXY", script.url)
        assert asked(script, "http://spotter.example.com") == "GET http://spotter.example.com/v1/tasks/x"


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{SECRET}@127.0.0.1:9")
    with spotter.Client("http://spotter.example.com", retry_for=0) as client:
        with pytest.raises(spotter.NoAnswerError, match="the proxy of the environment .*NO_PROXY") as caught:
            client.task("x")
        assert SECRET not in repr(caught.value)
    monkeypatch.setenv("NO_PROXY", "localhost")
    with spotter.Client("http://localhost:9", retry_for=0) as client:
        with pytest.raises(spotter.NoAnswerError, match="check that a spotter API runs") as caught:
            client.task("x")
        assert "PROXY" not in str(caught.value)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections, and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_an_api_that_says_nothing_is_late(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spotter._flows.REQUEST_TIMEOUT", 0.2)
    late = pytest.raises(spotter.NoAnswerError, match="^no answer in time$")
    with spotter.Client(silent, retry_for=0) as client, late:
        client.models()

    async def ask() -> None:
        async with spotter.AsyncClient(silent, retry_for=0) as client:
            with late:
                await client.models()

    asyncio.run(ask())


@pytest.mark.parametrize("kind", ["about:blank", "urn:problem-type:spotter:no-route"])
def test_an_address_with_a_route_is_told(kind: str) -> None:
    answer = Answer(404, json.dumps({"type": kind, "title": "t", "status": 404, "detail": "no such route"}))
    with (
        scripted(answer) as script,
        spotter.Client(f"{script.url}/v1") as client,
        pytest.raises(
            spotter.NotFoundError, match="check that the client's address is that of the API, without a route"
        ),
    ):
        client.task("x")


def test_a_certificate_that_is_not_trusted_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def refuse(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLError as error:
            raise httpx.ConnectError(str(error)) from error

    with spotter.Client("https://spotter.example.com") as client:
        client._http = httpx.Client(transport=httpx.MockTransport(refuse), base_url="https://spotter.example.com")
        with pytest.raises(spotter.UnexpectedAnswerError, match=r"self-signed .* pass verify=.*cafile"):
            client.task("x")
    assert tries == 1
