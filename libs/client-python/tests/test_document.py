"""The generated modules are those of the present document."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import msgspec

import spotter
from spotter._version import VERSION

ROOT = Path(__file__).resolve().parents[3]
DOCUMENT = json.loads((ROOT / "openapi.json").read_text())


def test_generating_again_changes_nothing() -> None:
    compare = [sys.executable, str(ROOT / "scripts/python-client"), "compare"]
    done = subprocess.run(compare, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_task_has_every_field_of_the_document() -> None:
    schema = DOCUMENT["components"]["schemas"]["Task"]
    assert {field.name for field in dataclasses.fields(spotter.Task)} == schema["properties"].keys()
    task = msgspec.convert(schema["example"], spotter.Task)
    assert msgspec.convert(msgspec.to_builtins(task), spotter.Task) == task
    assert (task.task_id, task.state) == (schema["example"]["task_id"], schema["example"]["state"])
    assert task.submitted_at == datetime.fromisoformat(schema["example"]["submitted_at"])
    assert len(task.objects) == len(schema["example"]["objects"])


def test_a_task_needs_no_more_than_the_document_promises() -> None:
    schema = DOCUMENT["components"]["schemas"]["Task"]
    least = {name: schema["example"][name] for name in schema["required"]}
    task = msgspec.convert(least, spotter.Task)
    assert (task.objects, task.warnings, task.cached, task.failure, task.width) == ([], [], False, None, None)


def test_every_state_is_known() -> None:
    assert [str(state) for state in spotter.State] == DOCUMENT["components"]["schemas"]["State"]["enum"]
    assert [str(state) for state in spotter.State if not state.is_terminal] == ["QUEUED", "STARTED"]


def test_the_licences_are_those_of_the_project() -> None:
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        assert (ROOT / "libs/client-python" / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_version_is_that_of_the_api() -> None:
    assert DOCUMENT["info"]["version"] == VERSION
