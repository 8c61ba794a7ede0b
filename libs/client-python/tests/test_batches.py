"""Many pictures in one request."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import spotter
from scripted import Answer, scripted
from spotter._batch_body import body_of, named
from system import Api, undecodable

ROOT = Path(__file__).resolve().parents[3]
BATCH = json.loads((ROOT / "openapi.json").read_text())["components"]["schemas"]["Batch"]["example"]
UNKNOWN = "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47"


@pytest.fixture
def client(url: str) -> Iterator[spotter.Client]:
    with spotter.Client(url) as client:
        yield client


def png(side: int = 32) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((side, side), 50).save(file, "PNG")
    return file.getvalue()


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, png())
    return path


def test_a_batch_of_files_is_followed_to_its_end(
    client: spotter.Client, bus: Path, zidane: Path, tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    batch = client.submit_batch([bus, zidane, notes, undecodable(zidane)], metadata={"camera": "door"})
    assert (batch.received, batch.metadata, batch.cancelled) == (4, {"camera": "door"}, False)
    assert [(refused.index, refused.name) for refused in batch.refused] == [(2, "notes.txt")]

    events = list(client.batch_events(batch))
    assert events[-1].kind == "finished"
    assert {event.kind for event in events[:-1]} <= {"progress"}
    assert {event.batch.batch_id for event in events} == {batch.batch_id}
    assert list(client.batch_events(batch))[-1] == events[-1], "a batch that has ended has its last event"

    ended = client.wait_batch(batch)
    assert (ended.state, ended.state.is_terminal) == (spotter.BatchState.FINISHED, True)
    assert (ended.counts.succeeded, ended.counts.failed, ended.counts.refused) == (2, 1, 1)
    results = list(client.batch_results(batch.batch_id))
    assert [(one.index, one.name) for one in results] == [
        (0, "bus.jpg"), (1, "zidane.jpg"), (2, "notes.txt"), (3, "picture"),
    ]  # fmt: skip
    first, _, refused, failed = results
    assert first.task is not None
    assert "bus" in [found.label for found in first.task.objects]
    assert refused.error is not None
    assert (refused.task, refused.error.kind) == (None, "invalid-picture")
    assert failed.task is not None
    assert (failed.task.state, failed.error) == ("FAILURE", None)


def test_a_picture_may_have_parameters_of_its_own(client: spotter.Client, zidane: Path, tmp_path: Path) -> None:
    pictures: dict[str, spotter.PictureSource] = {
        'автобус "🚌"; a\'b%41.png': png(),
        "array": np.zeros((8, 8, 3), np.uint8),
        "more.zip": archive(tmp_path / "more.zip", "inside/a.png", "b.png"),
    }
    names = [*pictures][:2]
    items: spotter.ItemParameters = {
        names[0]: {"metadata": {"of": "its own"}, "classes": ["bus"]},
        "inside/a.png": {"priority": "high"},
    }
    batch = client.submit_batch(pictures, items=items, priority="low", metadata={"of": "all"})
    tasks = [one.task for one in client.batch_results(batch)]
    found = [(task.picture_name, str(task.priority), task.metadata["of"]) for task in tasks if task and task.metadata]
    assert found == [
        (names[0], "low", "its own"), ("array", "low", "all"), ("inside/a.png", "high", "all"), ("b.png", "low", "all"),
    ]  # fmt: skip


@pytest.mark.parametrize("given", [Path, str, Path.read_bytes, lambda path: path.open("rb")])
def test_an_archive_stands_for_its_pictures(
    client: spotter.Client, tmp_path: Path, given: Callable[[Path], spotter.PictureSources]
) -> None:
    pictures = given(archive(tmp_path / "pictures.zip", "a.png", "b.png", "c.png"))
    batch = client.submit_batch(pictures)
    if isinstance(pictures, io.IOBase):
        pictures.close()
    assert [one.name for one in client.batch_results(batch)] == ["a.png", "b.png", "c.png"]


def test_an_array_of_four_axes_is_many_pictures(client: spotter.Client) -> None:
    assert client.submit_batch(np.zeros((3, 8, 8, 3), np.uint8)).received == 3
    assert client.submit_batch(np.zeros((8, 8, 3), np.uint8)).received == 1
    assert client.submit_batch(np.zeros((8, 8), np.uint8)).received == 1
    assert client.submit_batch(Image.new("L", (8, 8))).received == 1


def test_a_refused_list_of_urls_says_which_member_is_wrong(client: spotter.Client) -> None:
    url = "https://127.0.0.1/bus.jpg?token=secret"
    with pytest.raises(spotter.ApiError) as caught:
        client.submit_batch({"first.jpg": "https://example.com/a.jpg", "second.jpg": url})
    assert [wrong.parameter for wrong in caught.value.problem.errors] == ["/items/1/url"]
    with pytest.raises(spotter.ApiError) as caught:
        client.submit_batch(["https://example.com/a.jpg"], items={"https://example.com/a.jpg": {"iou": 7}})
    assert [wrong.parameter for wrong in caught.value.problem.errors] == ["/items/0/iou"]


def test_urls_are_sent_as_json() -> None:
    with scripted(*[Answer(202, json.dumps(BATCH))] * 2) as script, spotter.Client(script.url) as client:
        items: spotter.ItemParameters = {"https://b/": {"classes": ["bus"], "confidence": None}}  # type: ignore[typeddict-item]
        assert client.submit_batch(["https://a/", "https://b/"], items=items).batch_id == BATCH["batch_id"]
        client.submit_batch({"a.jpg": "https://a/"}, items={"a.jpg": {"iou": 0.5}}, model="m")
    assert [request for request, _ in script.requests] == ["POST /v1/batches", "POST /v1/batches?model=m"]
    assert {headers["content-type"] for _, headers in script.requests} == {"application/json"}
    assert [json.loads(body) for body in script.bodies] == [
        {"items": [{"url": "https://a/"}, {"url": "https://b/", "classes": ["bus"]}]},
        {"items": [{"url": "https://a/", "name": "a.jpg", "iou": 0.5}]},
    ]


def test_what_comes_from_a_pipe_is_read_once(tmp_path: Path) -> None:
    picture = png()
    reading, writing = os.pipe()
    try:
        os.write(writing, picture)
        os.close(writing)
        form = body_of(named(f"/dev/fd/{reading}"), None)
    finally:
        os.close(reading)
    for _ in range(2):
        assert picture in b"".join(form), "the form can be sent again"  # type: ignore[arg-type]


def test_no_error_shows_a_url_that_is_a_picture() -> None:
    urls = ["https://example.com/a.jpg?token=secret"]
    with spotter.Client("http://127.0.0.1:1", retry_for=0) as client:
        with pytest.raises(ValueError, match="'a.jpg'; a URL without a name is named by the URL itself") as caught:
            client.submit_batch(urls, items={"a.jpg": {"iou": 0.5}})
        assert "secret" not in str(caught.value)
        with pytest.raises(ValueError, match="'a.jpg'; expected one such as 'x.jpg'") as caught:
            client.submit_batch({"x.jpg": "https://x/", urls[0]: urls[0]}, items={"a.jpg": {"iou": 0.5}})
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("items", [["a.jpg"], "a.jpg", {"a.jpg": 0.5}, {7: {}}, [], {"a.jpg": None}])
def test_items_of_another_type_are_refused(items: Any) -> None:
    with (
        spotter.Client("http://127.0.0.1:1", retry_for=0) as client,
        pytest.raises(TypeError, match=r"items: expected parameters by the names of pictures, such as \{'a.jpg': "),
    ):
        client.submit_batch({"a.jpg": png()}, items=items)


def test_parameters_that_are_none_are_left_out() -> None:
    items: Any = {"a.jpg": {"confidence": None, "iou": 0.5}}
    form = body_of(named({"a.jpg": png()}), items)
    assert b'{"a.jpg":{"iou":0.5}}' in b"".join(form)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a\n.jpg", "a\x85.jpg", "a" * 256])
def test_parameters_for_a_name_that_the_api_does_not_keep_are_refused(name: str, tmp_path: Path) -> None:
    pictures: list[dict[str, spotter.PictureSource]] = [
        {name: png()}, {"a.zip": archive(tmp_path / "a.zip", name)},
    ]  # fmt: skip
    with spotter.Client("http://127.0.0.1:1", retry_for=0) as client:
        for some in pictures:
            with pytest.raises(ValueError, match="a name that the API does not keep; expected at most 255 characters"):
                client.submit_batch(some, items={name: {"iou": 0.5}})
        with pytest.raises(spotter.NoAnswerError):
            client.submit_batch({"a" * 255: png()}, items={"a" * 255: {"iou": 0.5}})


def test_results_of_what_is_no_batch_are_refused_at_once() -> None:
    with spotter.Client("http://127.0.0.1:1") as client, pytest.raises(TypeError, match="expected a Batch or its id"):
        client.batch_results(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a Batch or its id"):
        spotter.AsyncClient("http://127.0.0.1:1").batch_results(7)  # type: ignore[arg-type]


def test_what_is_no_batch_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with spotter.Client("http://127.0.0.1:1", retry_for=0) as client:
        with pytest.raises(ValueError, match="no pictures"):
            client.submit_batch([])
        with pytest.raises(ValueError, match="1 URLs and 1 other pictures; .*: submit two"):
            client.submit_batch([png(), "https://example.com/a.jpg"])
        with pytest.raises(ValueError, match=r"no picture has the name 'b.png'; expected one such as 'a.png'"):
            client.submit_batch({"a.png": png()}, items={"b.png": {"iou": 0.5}})
        with pytest.raises(ValueError, match="a URL that is none of the pictures") as caught:
            client.submit_batch(["https://a/"], items={"https://secret/": {"iou": 0.5}})
        assert "secret" not in str(caught.value)
        with pytest.raises(TypeError, match="not pictures: int"):
            client.submit_batch(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="not a picture: int"):
            client.submit_batch([7])  # type: ignore[list-item]
        with pytest.raises(FileNotFoundError, match=r"missing\.png"):
            client.submit_batch([tmp_path / "missing.png"])
        with pytest.raises(IsADirectoryError):
            client.submit_batch([tmp_path])


def test_the_same_key_is_the_same_batch(client: spotter.Client, bus: Path, zidane: Path) -> None:
    batches = [client.submit_batch([bus, zidane], idempotency_key="batch-1") for _ in range(2)]
    assert batches[0].batch_id == batches[1].batch_id
    assert client.submit_batch([bus, zidane]).batch_id != batches[0].batch_id
    with pytest.raises(spotter.ApiError) as caught:
        client.submit_batch([bus, zidane], idempotency_key="batch-1", confidence=0.9)
    assert caught.value.kind == "idempotency-key-reused"


def test_batches_are_listed_over_pages(client: spotter.Client) -> None:
    submitted = [client.submit_batch([png()]).batch_id for _ in range(5)]
    listed = [batch.batch_id for batch in client.batches(limit=2)]
    assert [one for one in listed if one in submitted] == submitted[::-1]
    assert len(set(listed)) == len(listed)


def test_a_cancelled_batch_ends(lonely_api: Api) -> None:
    with spotter.Client(lonely_api.address) as client:
        batch = client.submit_batch([png() for _ in range(3)])
        assert [one.task.state for one in client.batch_results(batch) if one.task] == ["QUEUED"] * 3
        with pytest.raises(spotter.BatchTimeoutError, match="is still RUNNING: 3 of 3 pictures are pending") as caught:
            client.wait_batch(batch, timeout=0.2)
        assert isinstance(caught.value, TimeoutError)
        cancelled = client.cancel_batch(caught.value.batch)
        assert (cancelled.cancelled, cancelled.counts.revoked) == (True, 3)
        assert client.cancel_batch(batch).cancelled, "to cancel it again is no error"
        assert client.wait_batch(batch).counts.revoked == 3
        assert [event.kind for event in client.batch_events(batch)] == ["finished"]


def test_a_batch_that_has_ended_is_not_cancelled(client: spotter.Client) -> None:
    batch = client.wait_batch(client.submit_batch([png()]))
    with pytest.raises(spotter.ApiError) as caught:
        client.cancel_batch(batch)
    assert caught.value.kind == "batch-ended"
    assert caught.value.batch is not None
    assert caught.value.batch.batch_id == batch.batch_id


@pytest.mark.parametrize("batch_id", [UNKNOWN, "../tasks", "a/b?c#d", "ü"])
def test_an_unknown_batch_is_not_found(client: spotter.Client, batch_id: str) -> None:
    calls: list[Callable[[str], object]] = [
        client.batch, client.wait_batch, client.cancel_batch,
        lambda one: list(client.batch_events(one)), lambda one: list(client.batch_results(one)),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(spotter.NotFoundError):
            call(batch_id)


def test_models_are_listed(client: spotter.Client) -> None:
    models = client.models()
    (default,) = [model for model in models if model.default]
    assert default.served
    described = client.model(default.name)
    assert "bus" in described.labels
    assert described.class_count == len(described.labels)
    with pytest.raises(spotter.NotFoundError) as caught:
        client.model("../tasks")
    assert caught.value.kind == "model-unknown"
