"""Starts the servers that are compared, and stops them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pinned_packages import ROOT

# In seconds; only a server that is stuck takes so long.
PATIENCE = 60


class NotStarted(Exception):
    """A server does not start; the text contains its output."""


@dataclass
class Server:
    """A server that runs."""

    port: int
    # The id of the session that all its processes are in.
    session: int

    def cpu_seconds(self) -> float:
        """CPU time of all its processes."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            # A process may have ended meanwhile.
            with suppress(OSError):
                # After the name, which may contain blanks: the state is field 3, the session 6, the times 14 to 17,
                # the last two of children that have ended.
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.session:
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that is free at this moment: LitServe refuses port 0."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def litserve(packages: Path, model: Path, workers: int, queue: str) -> Iterator[Server]:
    """A LitServe server."""
    port = free_port()
    app = Path(__file__).with_name("litserve_app.py")
    command = [sys.executable, str(app), str(model), str(port), str(workers), queue]
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    with running(command, environment, port, "/health") as server:
        yield server


@contextmanager
def spotter(program: Path, model: str) -> Iterator[Server]:
    """`spotter up` with its defaults and one worker."""
    (ROOT / "data").mkdir(exist_ok=True)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="comparison-", dir=ROOT / "data") as data:
        command = [str(program), "up", "--host=127.0.0.1", f"--port={port}", "--workers=1", f"--model={model}"]
        command += [f"--data-dir={data}", f"--env-file={os.devnull}"]
        own = ("NATS_URL", "REDIS_URL", "CONCURRENCY", "THREADS_PER_PICTURE")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        with running(command, environment, port, "/health/ready") as server:
            yield server


@contextmanager
def running(command: list[str], environment: dict[str, str], port: int, health: str) -> Iterator[Server]:
    """Run a server in a session of its own, from when it is healthy."""
    with tempfile.NamedTemporaryFile() as output:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            if not becomes_healthy(process, f"http://127.0.0.1:{port}{health}"):
                raise NotStarted(f"{command[0]} does not start; it wrote:\n{Path(output.name).read_text()}")
            yield Server(port, session=process.pid)
        finally:
            stop(process)


def becomes_healthy(process: subprocess.Popen, url: str) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Whatever is left of its group, such as a worker of a server that was killed.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
