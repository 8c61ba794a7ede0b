"""What callers get when something is wrong."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
from PIL import Image

import spotter
from system import System, undecodable

# With the form of a key, and of nobody.
WRONG_KEY = "spotter_000000000000_" + "0" * 64


def kind_of(caught: pytest.ExceptionInfo[spotter.ApiError]) -> tuple[int, str]:
    return caught.value.status, caught.value.kind


def test_a_key_is_required_and_checked(system: System, zidane: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with spotter.Client(system.keyed_api) as client, pytest.raises(spotter.AuthenticationError) as caught:
        client.detect(zidane)
    assert kind_of(caught) == (401, "api-key-missing")
    monkeypatch.setenv("SPOTTER_API_KEY", WRONG_KEY)
    with spotter.Client(system.keyed_api) as client, pytest.raises(spotter.AuthenticationError) as caught:
        client.detect(zidane)
    assert kind_of(caught) == (401, "api-key-invalid")
    monkeypatch.setenv("SPOTTER_API_KEY", system.api_key)
    monkeypatch.setenv("SPOTTER_API", system.keyed_api)
    with spotter.Client() as client:
        assert client.detect(zidane).state == spotter.State.SUCCESS


def test_a_key_is_never_shown(system: System, zidane: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with spotter.Client(system.keyed_api, api_key=WRONG_KEY) as client:
        with pytest.raises(spotter.AuthenticationError) as caught:
            client.detect(zidane)
        shown = [repr(client), repr(client._settings), repr(client._http.headers)]
    shown += [repr(caught.value), str(caught.value), caplog.text]
    assert "POST" in caplog.text, "httpx has logged the request"
    assert not any(WRONG_KEY in text for text in shown)
    with pytest.raises(ValueError, match="invalid characters") as invalid:
        spotter.Client(system.keyed_api, api_key=f"{WRONG_KEY}\n")
    assert WRONG_KEY not in str(invalid.value)


@pytest.mark.parametrize(
    "url", ["ftp://127.0.0.1", "127.0.0.1:5000", "http://", "http://u:secret@127.0.0.1", "http://127.0.0.1:x"]
)
def test_an_address_is_checked_and_not_shown(url: str) -> None:
    with pytest.raises(ValueError, match="^url: expected an address") as caught:
        spotter.Client(url)
    assert "secret" not in str(caught.value)


def test_a_picture_may_be_too_large(system: System, tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((1000, 1000), 100).save(path)
    assert path.stat().st_size > 256 << 10
    with spotter.Client(system.keyed_api, api_key=system.api_key) as client, pytest.raises(spotter.ApiError) as caught:
        client.detect(path)
    assert kind_of(caught) == (413, "too-large")
    assert str(caught.value).endswith("; send a smaller picture")


def test_a_gateway_that_compresses_is_told(url: str, zidane: Path) -> None:
    with (
        spotter.Client(url, headers={"Content-Encoding": "gzip"}) as client,
        pytest.raises(spotter.ApiError) as caught,
    ):
        client.detect(zidane)
    assert kind_of(caught) == (415, "unsupported-media-type")
    assert caught.value.advice == "see docs/uploads.md"


def test_a_key_of_another_picture_is_refused(url: str, zidane: Path, bus: Path) -> None:
    with spotter.Client(url) as client:
        client.submit(zidane, idempotency_key="the-same")
        with pytest.raises(spotter.ApiError) as caught:
            client.submit(bus, idempotency_key="the-same")
    assert kind_of(caught) == (422, "idempotency-key-reused")
    assert caught.value.advice == "use a new key"


def test_what_is_no_picture_is_refused(url: str) -> None:
    with spotter.Client(url) as client:
        for content in (b"", b"not a picture", b"\xff\xd8\xff\xe0" + bytes(100)):
            with pytest.raises(spotter.ApiError) as caught:
                client.detect(content)
            assert caught.value.status == 400, content


def test_a_wrong_parameter_is_named(url: str, zidane: Path) -> None:
    with spotter.Client(url) as client, pytest.raises(spotter.ApiError) as caught:
        client.detect(zidane, confidence=1.5)
    assert kind_of(caught) == (400, "invalid-parameter")
    assert [wrong.parameter for wrong in caught.value.problem.errors] == ["confidence"]


@pytest.mark.parametrize("task_id", ["0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47", "../batches", "a/b?c#d", "ü"])
def test_an_unknown_task_is_not_found(url: str, task_id: str) -> None:
    with spotter.Client(url) as client:
        for call in (client.task, client.wait, client.cancel, client.image, lambda one: list(client.events(one))):
            with pytest.raises(spotter.ApiError) as caught:
                call(task_id)
            assert caught.value.status in (400, 404, 410), call


def test_an_error_survives_another_process(url: str) -> None:
    with spotter.Client(url) as client, pytest.raises(spotter.ApiError) as caught:
        client.detect(b"not a picture")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.problem) == (str(caught.value), caught.value.problem)


def test_a_picture_that_cannot_be_decoded_fails(url: str, zidane: Path) -> None:
    with spotter.Client(url) as client, pytest.raises(spotter.TaskFailedError) as caught:
        client.detect(undecodable(zidane), name="damaged.png")
    task = caught.value.task
    assert task.failure is not None
    assert (task.state, task.failure.reason) == ("FAILURE", "undecodable_picture")
    assert "damaged.png" in str(caught.value)
