"""What is wrong with an argument is said before anything is sent."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import spotter

SECRET = "s3cret"


@pytest.fixture
def client() -> spotter.Client:
    """A client whose API does not exist: a call that sends something ends with `NoAnswerError`."""
    return spotter.Client("http://127.0.0.1:9", retry_for=0)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("localhost:5000", "without http:// or https://"),
        (" http://127.0.0.1", "without http:// or https://"),
        ("http://127.0.0.1:99999", "invalid host or port"),
        ("http://::1:5000", "invalid host or port"),
        ("http://spotter..example.com", "invalid host or port"),
        (f"http://{'a' * 64}.example.com", "invalid host or port"),
        (f"http://127.0.0.1/?key={SECRET}", "with a query or fragment"),
        (f"http://user:{SECRET}@127.0.0.1", "without a password"),
        (5000, "got int"),
        (Path("/"), "got PosixPath"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(url: Any, found: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"^url: expected an address.*{found}") as caught:
        spotter.Client(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"api_key": 7}, "api_key: expected a key as `spotter key create` prints it, got int"),
        ({"headers": "X-A: 7"}, "headers: expected texts by the names of headers, such as .*, got str"),
        ({"headers": {"X-A": 7}}, "headers: expected texts, got str: int"),
        ({"headers": {"X-A": f"{SECRET}\n"}}, "headers: 'X-A' or its value has characters"),
        ({"headers": {"X-A": f"{SECRET}ü"}}, "headers: 'X-A' or its value has characters"),
        ({"headers": {"X A": "b"}}, "headers: 'X A' or its value has characters"),
        ({"verify": "ca.pem"}, r"verify: .*, got str; .*create_default_context\(cafile="),
        ({"retry_for": "5"}, "retry_for: expected a number of seconds, got str"),
    ],
)
def test_the_other_arguments_of_a_client_are_checked(arguments: dict[str, Any], expected: str) -> None:
    for kind in (spotter.Client, spotter.AsyncClient):
        with pytest.raises((ValueError, TypeError), match=expected) as caught:
            kind(**arguments)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("HTTP_PROXY", f"http://user:{SECRET}", "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is no proxy"),
        ("ALL_PROXY", f"nonsense://user:{SECRET}@127.0.0.1", "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is no proxy"),
        ("ALL_PROXY", f"socks5://user:{SECRET}@127.0.0.1", "is a SOCKS proxy, which needs: pip install"),
        ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE or SSL_CERT_DIR names certificates that cannot be read"),
    ],
)
def test_the_environment_is_checked(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=expected) as caught:
        spotter.Client("https://spotter.example.com")
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


ARRAY = np.zeros((6, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (ARRAY / 255, r"of values from 0 to 1: \(array \* 255\)"),
        (ARRAY.transpose(2, 0, 1), r"with the channels in front: array.transpose\(1, 2, 0\)"),
        (np.zeros((6, 8, 4), np.uint8), r"with an alpha channel: array\[..., :3\]"),
        (np.zeros((6, 8, 1), np.uint8), r"of one channel: array\[..., 0\]"),
        (ARRAY[None], "submit_batch takes an array of many pictures"),
        (Image.new("I", (8, 6)), "a PIL picture of mode I; expected values from 0 to 255"),
        (Image.new("F", (8, 6)), "a PIL picture of mode F; expected values from 0 to 255"),
        (Image.new("La", (8, 6)), "a PIL picture of mode La and size \\[8, 6\\] that cannot be used"),
        (Image.new("RGB", (0, 0)), "of mode RGB and size \\[0, 0\\] that cannot be used"),
        (io.StringIO("text"), "a file that is read as text; expected one opened with mode 'rb'"),
        ([ARRAY], "not a picture: list; .*detect_many and submit_batch take many pictures"),
        (None, "not a picture: NoneType"),
        (Path("/"), "a folder; expected a picture: pass the files in it"),
    ],
)
def test_what_is_wrong_with_a_picture_is_said(client: spotter.Client, picture: Any, expected: str) -> None:
    with pytest.raises((ValueError, TypeError, IsADirectoryError), match=expected):
        client.detect(picture)
    (outcome,) = client.detect_many([picture])
    assert outcome.error is not None
    with pytest.raises((ValueError, TypeError, IsADirectoryError), match=expected):
        client.submit_batch([picture])


def test_a_truncated_pil_picture_is_refused(client: spotter.Client, bus: Path) -> None:
    with pytest.raises(ValueError, match="of mode RGB .* that cannot be used: image file is truncated"):
        client.detect(Image.open(io.BytesIO(bus.read_bytes()[:5000])))


def test_a_file_opened_as_text_is_refused(client: spotter.Client, bus: Path) -> None:
    with bus.open() as file, pytest.raises(TypeError, match="expected one opened with mode 'rb'"):
        client.detect(file)  # type: ignore[arg-type]


def test_what_pillow_does_not_read_is_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"not a picture that Pillow reads: notes\.txt"):
        spotter.draw(tmp_path / "notes.txt", [])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"metadata": {"a": object()}}, "metadata: expected values that JSON has"),
        ({"classes": (name for name in ["bus"])}, "classes: expected a list, got generator"),
        ({"idempotency_key": "schlüssel"}, "idempotency_key: expected 1 to 255 visible ASCII characters"),
        ({"idempotency_key": "a\nb"}, "idempotency_key: expected 1 to 255 visible ASCII characters"),
        ({"idempotency_key": 7}, "idempotency_key: expected a text, got int"),
        ({"name": 7}, "name: expected a text, got int"),
        ({"timeout": "5"}, "timeout: expected a number of seconds, got str"),
    ],
)
def test_the_arguments_of_a_call_are_checked(client: spotter.Client, arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises((ValueError, TypeError), match=expected):
        client.detect(ARRAY, **arguments)


def test_names_and_parameters_of_single_pictures_are_checked(client: spotter.Client, bus: Path) -> None:
    for picture in (bus, ARRAY, "https://example.com/bus.jpg"):
        with pytest.raises(TypeError, match="name: expected a text, got int"):
            client.submit_batch({7: picture})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="items: expected values that JSON has"):
        client.submit_batch({"a": ARRAY}, items={"a": {"metadata": {"b": object()}}})


@pytest.mark.parametrize("given", [7, None, b"id", ""])
def test_an_id_is_a_text(client: spotter.Client, given: Any) -> None:
    for call in (client.task, client.wait, client.cancel, client.events, client.image):
        with pytest.raises((TypeError, ValueError), match="expected (a Task or its id|the id of a Task), got"):
            call(given)
    for call_of_batch in (client.batch, client.wait_batch, client.batch_events, client.cancel_batch):
        with pytest.raises((TypeError, ValueError), match="expected (a Batch or its id|the id of a Batch), got"):
            call_of_batch(given)


@pytest.mark.parametrize("pictures", ["bus.jpg", Path("bus.jpg"), b"bytes", ARRAY, Image.new("L", (1, 1)), 7])
def test_one_picture_is_not_many(client: spotter.Client, pictures: Any) -> None:
    with pytest.raises(TypeError, match="expected many pictures, got"):
        client.detect_many(pictures)


def test_a_closed_client_says_so(client: spotter.Client) -> None:
    client.close()
    calls: list[Callable[[], object]] = [
        lambda: client.detect(ARRAY),
        lambda: client.submit_batch([ARRAY]),
        lambda: list(client.tasks()),
        lambda: list(client.events("x")),
        lambda: list(client.batch_results("x")),
        lambda: list(client.detect_many([ARRAY])),
    ]
    for call in calls:
        with pytest.raises(spotter.SpotterError, match="the client is closed"):
            call()


def test_an_asynchronous_client_is_of_one_loop() -> None:
    client = spotter.AsyncClient("http://127.0.0.1:9", retry_for=0)

    async def ask() -> None:
        with pytest.raises(spotter.NoAnswerError):
            await client.task("x")

    async def ask_again() -> None:
        for call in (lambda: client.task("x"), client.close):
            with pytest.raises(spotter.SpotterError, match="another event loop: create one AsyncClient in each"):
                await call()

    asyncio.run(ask())
    asyncio.run(ask_again())


def test_a_closed_asynchronous_client_says_so() -> None:
    async def ask() -> None:
        async with spotter.AsyncClient("http://127.0.0.1:9", retry_for=0) as client:
            pass
        with pytest.raises(spotter.SpotterError, match="the client is closed"):
            await client.task("x")

    asyncio.run(ask())


def test_the_bytes_of_a_picture_are_not_shown() -> None:
    outcome = spotter.Outcome(b"\xff" * 1000, None, ValueError("a reason"))
    assert repr(outcome) == "Outcome(picture=1000 bytes, task=None, error=ValueError('a reason'))"
