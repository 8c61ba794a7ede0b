"""Many pictures at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import spotter
from conftest import PICTURES
from system import Api, System, undecodable

PATIENCE = 60


def test_a_thousand_pictures_are_never_in_memory_together(url: str, zidane: Path) -> None:
    taken = 0

    def paths() -> Iterator[Path]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield zidane

    most, given = 0, 0
    with spotter.Client(url) as client:
        for outcome in client.detect_many(paths(), parallel=6):
            most = max(most, taken - given)
            given += 1
            assert outcome.result().state == "SUCCESS"
    assert (given, most) == (1000, 6)


def test_outcomes_are_in_order_and_a_failure_is_one_of_them(url: str, bus: Path, zidane: Path) -> None:
    missing = PICTURES / "no such picture.jpg"
    pictures: list[spotter.PictureSource] = [bus, undecodable(zidane), missing, b"no picture", zidane, str(bus)]
    with spotter.Client(url) as client:
        outcomes = list(client.detect_many(pictures, parallel=3, confidence=0.4))
    assert [outcome.picture for outcome in outcomes] == pictures
    kinds = [type(outcome.error) for outcome in outcomes]
    assert kinds == [type(None), spotter.TaskFailedError, FileNotFoundError, spotter.ApiError, type(None), type(None)]
    assert [outcome.task is None for outcome in outcomes] == [False, True, True, True, False, False]
    with pytest.raises(FileNotFoundError):
        outcomes[2].result()


def test_a_second_call_gets_the_tasks_of_the_first(url: str, bus: Path, zidane: Path) -> None:
    def ids(run: str, **parameters: float) -> list[str]:
        outcomes = client.detect_many([bus, zidane], run=run, **parameters)  # type: ignore[arg-type]
        return [outcome.result().task_id for outcome in outcomes]

    with spotter.Client(url) as client:
        interrupted = client.detect_many([bus, zidane], run="of this test", parallel=1)
        first = next(interrupted).result().task_id
        interrupted.close()
        assert list(interrupted) == []
        again = ids("of this test")
        assert again[0] == first
        assert ids("of this test") == again
        others = ids("another"), ids("of this test", confidence=0.7)
        assert not {*again}.intersection(*others)


def test_the_same_picture_under_two_names_is_two_tasks(url: str, bus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(bus.read_bytes())
    with spotter.Client(url) as client:
        outcomes = list(client.detect_many([bus, copy, bus]))
    tasks = [outcome.result() for outcome in outcomes]
    assert [task.picture_name for task in tasks] == ["bus.jpg", "copy.jpg", "bus.jpg"]
    assert tasks[0].task_id == tasks[2].task_id != tasks[1].task_id


def test_a_refused_key_stops_all(system: System, zidane: Path) -> None:
    taken: list[int] = []
    pictures = (taken.append(number) or zidane for number in range(100))  # type: ignore[func-returns-value]
    with spotter.Client(system.keyed_api) as client, pytest.raises(spotter.AuthenticationError):
        list(client.detect_many(pictures, parallel=2))
    assert len(taken) == 2


def loops() -> list[threading.Thread]:
    """The threads of event loops in the background."""
    return [thread for thread in threading.enumerate() if "portal" in thread.name]


def test_a_loop_that_ends_early_leaves_nothing_behind(url: str, zidane: Path) -> None:
    with spotter.Client(url) as client:
        for outcome in client.detect_many([zidane] * 50, parallel=4):
            assert outcome.task
            assert len(loops()) == 1
            break
    assert loops() == []


def test_an_error_of_the_callers_own_reaches_the_caller(url: str, zidane: Path) -> None:
    def pictures() -> Iterator[Path]:
        yield zidane
        raise KeyError("of the caller")

    with spotter.Client(url) as client, pytest.raises(KeyError, match="of the caller"):
        list(client.detect_many(pictures()))


def test_at_least_one_picture_is_in_flight(url: str, zidane: Path) -> None:
    with spotter.Client(url) as client, pytest.raises(ValueError, match="parallel must be at least 1"):
        next(client.detect_many([zidane], parallel=0))


def started(program: str) -> subprocess.Popen[str]:
    """A Python process that runs `program`."""
    return subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_an_unfinished_loop_does_not_keep_the_interpreter(url: str, zidane: Path) -> None:
    process = started(f"""if True:
        import spotter
        client = spotter.Client({url!r})
        outcomes = client.detect_many([{str(zidane)!r}] * 50, parallel=2)
        print(next(outcomes).result().state)
    """)
    output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (0, "SUCCESS\n"), errors


def test_an_interrupt_ends_the_loop(lonely_api: Api, zidane: Path) -> None:
    process = started(f"""if True:
        import spotter
        def pictures():
            yield {str(zidane)!r}
            print("waiting for the first")
        with spotter.Client({lonely_api.address!r}) as client:
            list(client.detect_many(pictures()))
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting for the first\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGINT
    assert errors.rstrip().endswith("KeyboardInterrupt")


def test_a_run_that_is_killed_twice_is_continued(url: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02}.png" for number in range(40)]
    for path in paths:
        Image.effect_noise((32, 32), 50).save(path)
    program = f"""if True:
        import pathlib, spotter
        paths = sorted(pathlib.Path({str(tmp_path)!r}).iterdir())
        with spotter.Client({url!r}) as client:
            for outcome in client.detect_many(paths, parallel=4, metadata={{"run": "killed twice"}}):
                print(outcome.result().task_id)
    """
    ids: list[list[str]] = []
    for outcomes_before_the_kill in (5, 20):
        process = started(program)
        assert process.stdout is not None
        ids.append([process.stdout.readline().strip() for _ in range(outcomes_before_the_kill)])
        process.kill()
        process.communicate(timeout=PATIENCE)
    output, errors = started(program).communicate(timeout=PATIENCE)
    ids.append(output.split())
    assert len(set(ids[2])) == 40, errors
    assert ids[2][:20] == ids[1]
    assert ids[1][:5] == ids[0]
    with spotter.Client(url) as client:
        tasks = list(client.tasks(metadata=["run=killed twice"], limit=100))
    assert sorted(task.task_id for task in tasks) == sorted(ids[2]), "no picture was run twice"


def test_an_outcome_shows_no_url() -> None:
    outcome = spotter.Outcome("https://example.com/a.jpg?token=secret", None, ValueError("refused"))
    assert repr(outcome) == "Outcome(picture=a URL, task=None, error=ValueError('refused'))"
