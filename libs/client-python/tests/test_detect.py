"""Pictures of all kinds, detected by a real system."""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import spotter
from conftest import PICTURES


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[spotter.Client]:
    with spotter.Client(url) as client:
        yield client


def labels(task: spotter.Task) -> list[str]:
    return sorted(found.label for found in task.objects)


@pytest.fixture(scope="module")
def expected(client: spotter.Client) -> list[str]:
    found = labels(client.detect(PICTURES / "zidane.jpg"))
    assert "person" in found
    return found


def test_a_picture_may_be_a_path_bytes_or_a_file(client: spotter.Client, zidane: Path, expected: list[str]) -> None:
    task = client.detect(str(zidane))
    assert (task.state, task.picture_name, task.width, task.height) == ("SUCCESS", "zidane.jpg", 1280, 720)
    assert labels(client.detect(zidane.read_bytes(), name="other.jpg")) == expected
    with zidane.open("rb") as file:
        task = client.detect(file)
    assert (task.picture_name, labels(task)) == ("zidane.jpg", expected)
    assert labels(client.detect(io.BytesIO(zidane.read_bytes()))) == expected


def test_a_picture_may_be_an_array_or_a_pil_picture(client: spotter.Client, zidane: Path, expected: list[str]) -> None:
    picture = Image.open(zidane)
    assert labels(client.detect(picture)) == expected
    assert labels(client.detect(np.asarray(picture))) == expected
    grey = client.detect(np.asarray(picture.convert("L")))
    assert (grey.width, grey.height) == (1280, 720)
    assert "person" in labels(client.detect(picture.convert("CMYK")))


def test_a_picture_of_16_bits_keeps_its_values(client: spotter.Client, zidane: Path) -> None:
    grey = np.asarray(Image.open(zidane).convert("L"))
    picture = Image.fromarray(grey.astype(np.uint16) * 257)
    assert picture.mode == "I;16"
    assert labels(client.detect(picture)) == labels(client.detect(grey))


def test_a_picture_may_be_a_view_of_bytes(client: spotter.Client, zidane: Path, expected: list[str]) -> None:
    assert labels(client.detect(memoryview(zidane.read_bytes()))) == expected


def test_an_array_may_be_any_view(client: spotter.Client, zidane: Path, expected: list[str]) -> None:
    array = np.asarray(Image.open(zidane))
    reversed_twice = array[..., ::-1].copy()[..., ::-1]
    assert not reversed_twice.flags.c_contiguous
    assert labels(client.detect(reversed_twice)) == expected
    assert labels(client.detect(np.asfortranarray(array))) == expected


def test_threads_may_share_a_client(client: spotter.Client, bus: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        tasks = list(threads.map(lambda _: client.detect(bus), range(16)))
    assert len({task.task_id for task in tasks}) == 16


def test_a_client_may_be_used_within_a_loop(client: spotter.Client, bus: Path) -> None:
    """As in a notebook, whose cells run in one."""

    async def cell() -> list[str]:
        tasks = [client.detect(bus), *(outcome.result() for outcome in client.detect_many([bus]))]
        return [str(task.state) for task in tasks]

    assert asyncio.run(cell()) == ["SUCCESS"] * 2


def test_a_task_survives_another_process(client: spotter.Client, bus: Path) -> None:
    task = client.detect(bus)
    assert pickle.loads(pickle.dumps(task)) == task
    batch = client.submit_batch([bus])
    results = list(client.batch_results(batch))
    assert pickle.loads(pickle.dumps((batch, results))) == (batch, results)


def test_a_pil_picture_is_sent_upright(client: spotter.Client, zidane: Path) -> None:
    picture = Image.open(zidane)
    exif = picture.getexif()
    exif[0x0112] = 6  # rotated by 90 degrees
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=exif, quality=95)
    by_file = client.detect(file.getvalue())
    by_picture = client.detect(Image.open(file))
    assert (by_file.width, by_file.height) == (by_picture.width, by_picture.height) == (720, 1280)


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8), np.zeros(4, np.uint8)]
)
def test_an_array_that_is_no_picture_is_refused(client: spotter.Client, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 with shape"):
        client.detect(array)


def test_something_else_is_refused(client: spotter.Client) -> None:
    with pytest.raises(TypeError, match="not a picture: int"):
        client.detect(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["автобус 🚌.jpg", "a'b\"c%41;d.jpg", "a\nb.jpg", "+=-.jpg"])
def test_a_name_may_have_any_characters(client: spotter.Client, zidane: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(zidane.read_bytes())
    task = client.detect(path)
    # The API replaces control characters.
    assert task.picture_name == name.replace("\n", "\ufffd")


def test_a_name_that_is_no_utf_8_is_sent_as_far_as_it_is_text(
    client: spotter.Client, zidane: Path, tmp_path: Path
) -> None:
    path = tmp_path / "\udcff.jpg"
    path.write_bytes(zidane.read_bytes())
    assert client.detect(path).picture_name == "?.jpg"


def test_parameters_reach_the_api(client: spotter.Client, bus: Path) -> None:
    task = client.detect(
        bus,
        classes=["bus", "dog"],
        confidence=0.5,
        priority="high",
        metadata={"camera": "Tür", "n": 1},
        max_detections=1,
        class_agnostic=True,
        deadline=600,
    )
    assert labels(task) == ["bus"]
    assert (task.priority, task.metadata) == ("high", {"camera": "Tür", "n": 1})
    assert task.deadline is not None
    assert (task.deadline - task.submitted_at).total_seconds() == pytest.approx(600, abs=1)


def test_the_same_key_is_the_same_task(client: spotter.Client, bus: Path) -> None:
    tasks = {client.submit(bus, idempotency_key="order-1").task_id for _ in range(3)}
    assert len(tasks) == 1
    assert client.submit(bus).task_id != client.submit(bus).task_id


def test_the_known_result_is_used_unless_the_caller_says_otherwise(client: spotter.Client, bus: Path) -> None:
    client.detect(bus)
    assert client.detect(bus).cached
    assert not client.detect(bus, cache_control="no-cache").cached


def test_drawings_and_files_are_waited_for(client: spotter.Client, bus: Path) -> None:
    task = client.submit(bus, annotated="png")
    drawing = Image.open(io.BytesIO(client.image(task)))
    assert (drawing.format, drawing.size) == ("PNG", (810, 1080))
    lines = client.result(task.task_id, "csv").decode().splitlines()
    assert len(lines) == len(client.wait(task).objects) + 1


def test_tasks_are_listed_over_pages(client: spotter.Client, bus: Path) -> None:
    submitted = [client.submit(bus, metadata={"list": "of mine"}).task_id for _ in range(5)]
    listed = list(client.tasks(metadata=["list=of mine"], limit=2))
    assert [task.task_id for task in listed] == submitted[::-1]
    assert list(client.tasks(metadata=["list=of mine"], state=["FAILURE", "REVOKED"])) == []


def test_a_url_is_fetched_by_the_api(client: spotter.Client) -> None:
    # The system under test reaches no public host; the API refuses others.
    with pytest.raises(spotter.ApiError) as caught:
        client.detect("https://127.0.0.1/bus.jpg?token=secret")
    assert caught.value.kind == "url-refused"
    assert "secret" not in str(caught.value)
