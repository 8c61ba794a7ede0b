"""The examples of the README run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spotter
from conftest import PICTURES, ROOT
from system import System

README = Path(__file__).resolve().parents[1] / "README.md"


def examples(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.+?)^```$", document.read_text(), re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_readme_run(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bus.jpg", "zidane.jpg"):
        (tmp_path / name).symlink_to(PICTURES / name)
    monkeypatch.chdir(tmp_path)
    assert len(examples(README)) == 8
    text = "\n".join(examples(README)).replace("http://127.0.0.1:5000", system.open_api)
    text = text.replace("https://spotter.example.com", system.keyed_api).replace("API_KEY", system.api_key)
    names: dict[str, object] = {}
    exec(compile(text, str(README), "exec"), names)
    names["client"].close()  # type: ignore[attr-defined]

    printed = capsys.readouterr().out
    assert re.search(r"^person 0\.\d+ \d+", printed, re.MULTILINE), printed
    assert "succeeded SUCCESS" in printed
    assert "xmin" in printed or "x1" in printed, "the CSV file has corners"
    assert re.search(r"^bus\.jpg [1-9]\d*\nzidane\.jpg [1-9]", printed, re.MULTILINE), printed
    assert "finished 0 pending" in printed
    assert "0 bus.jpg SUCCESS\n1 zidane.jpg SUCCESS\n" in printed
    assert "400 invalid-parameter" in printed
    assert "correct the request" in printed
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


def test_the_example_of_the_projects_readme_runs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = examples(ROOT / "README.md")
    monkeypatch.chdir(ROOT)
    names: dict[str, spotter.Task] = {}
    exec(example.replace("http://127.0.0.1:5000", url), names)
    assert "bus" in [found.label for found in names["task"].objects]


def test_the_example_of_batches_runs(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/bus.jpg").symlink_to(PICTURES / "bus.jpg")
    monkeypatch.chdir(tmp_path)
    (example,) = examples(ROOT / "docs/batches.md")
    exec(example.replace("http://127.0.0.1:5000", url), {})
    assert "label='bus'" in capsys.readouterr().out
