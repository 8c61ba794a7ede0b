"""Processes of the system under test."""

from __future__ import annotations

import io
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from typing_extensions import Self

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("SPOTTER_PROGRAM", str(ROOT / "target/debug/spotter"))
NATS = ROOT / ".cache/bin/nats-server"
# Longer than anything takes on a busy machine.
PATIENCE = 180
# All that a process under test inherits: a variable of the developer's must not configure it.
INHERITED = ("PATH", "HOME", "TMPDIR", "LANG")


class Process:
    """A process whose lines can be awaited. It dies with this one, also when this one is killed."""

    def __init__(self, command: list[str | Path], variables: dict[str, str]) -> None:
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            cwd=ROOT, env=environment | variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._lines: list[str] = []
        self._has_ended = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def find(self, pattern: str) -> str:
        """What the group of `pattern` matches, once the process has written that."""

        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self._lines)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self._has_ended, PATIENCE)
            match = found()
            assert match is not None, f"nothing like {pattern}:\n{''.join(self._lines)}"
            return match[1]

    def kill(self) -> None:
        self._child.kill()
        self._ended()

    def stop(self) -> None:
        self._child.terminate()
        self._ended()

    def _ended(self) -> None:
        self._child.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._child.stdout is not None
        self._child.stdout.close()


@contextmanager
def running(command: list[str | Path], variables: dict[str, str]) -> Iterator[Process]:
    process = Process(command, variables)
    try:
        yield process
    finally:
        process.stop()


def undecodable(picture: Path) -> bytes:
    """A PNG that the API accepts, since its header and its length are right, and no worker can decode."""
    file = io.BytesIO()
    Image.open(picture).resize((64, 64)).save(file, "PNG")
    content = bytearray(file.getvalue())
    pixels = content.index(b"IDAT") + 40
    content[pixels : pixels + 200] = bytes(200)
    return bytes(content)


@dataclass(frozen=True)
class System:
    """The addresses of two APIs, and a key for the second one."""

    open_api: str
    keyed_api: str
    api_key: str


@contextmanager
def started(data: Path) -> Iterator[System]:
    settings = data / "settings.env"
    settings.write_text("")
    up: list[str | Path] = [PROGRAM, "up", "--port", "0", "--workers", "1", "--data-dir", data, "--env-file", settings]
    with ExitStack() as stack:
        process = stack.enter_context(running(up, {"QUEUE_MAX_BYTES": str(256 << 20)}))
        address = process.find(r"^ +API +(http://\S+)")
        nats_port = process.find(r"NATS on port (\d+)")
        nats = {"NATS_URL": f"nats://127.0.0.1:{nats_port}"}
        create = [PROGRAM, "key", "create", "--name", "a test"]
        key = subprocess.run(create, env={**os.environ, **nats}, check=True, capture_output=True, text=True)
        # Small pictures only, so that there is one that is too large.
        variables = {**nats, "AUTH": "keys", "PORT": "0", "MAX_PICTURE_BYTES": str(256 << 10)}
        keyed = stack.enter_context(running([PROGRAM, "api"], variables))
        yield System(address, keyed.find(r"^listening on (http://\S+)"), key.stdout.strip())


class Api:
    """One API with a queue of its own, and no worker."""

    def __init__(self, nats_url: str) -> None:
        self._variables = {"NATS_URL": nats_url, "PORT": "0"}
        self.start()

    @classmethod
    @contextmanager
    def with_own_queue(cls, folder: Path) -> Iterator[Self]:
        nats: list[str | Path] = [NATS, "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", folder]
        with running(nats, {}) as server:
            address = server.find(r"Listening for client connections on (\S+)")
            server.find(r"(Server is ready)")
            api = cls(f"nats://{address}")
            try:
                yield api
            finally:
                api.process.stop()

    def start(self) -> None:
        self.process = Process([PROGRAM, "api"], self._variables)
        self.address = self.process.find(r"^listening on (http://\S+)")
