"""Python packages for a script: those that are installed, or the pinned versions.

If one is missing, pip installs the packages that the script's requirements file pins into .cache/, once.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The Python version, as the kind of a folder.
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class PackagesMissing(Exception):
    """pip failed to install the packages; the text says what to do."""


def make_importable(script: str, modules: list[str], described: str) -> None:
    """Make `modules` importable for `script`; `described` says what is fetched, and how much."""
    if all(importlib.util.find_spec(name) is not None for name in modules):
        return
    folder = folder_of(script, PYTHON)
    if not folder.is_dir():
        install(script, folder, described)
    sys.path.insert(0, str(folder))


def requirements_of(script: str) -> Path:
    return ROOT / f"scripts/requirements/{script}.txt"


def folder_of(script: str, kind: str) -> Path:
    """Where the packages of `script` are, for one kind of machine or of Python.

    Its name contains a hash of the pins: after a change of the pins, the packages are installed again.
    """
    pins = hashlib.sha256(requirements_of(script).read_bytes()).hexdigest()[:8]
    return ROOT / f".cache/python/{script}-{kind}-{pins}"


def install(script: str, folder: Path, described: str) -> None:
    """Install what the requirements file of `script` pins into `folder`."""
    print(f"Fetching {described} into .cache/ …", file=sys.stderr, flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Installed into a temporary folder and then renamed: an interrupted run leaves nothing incomplete.
    with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
        target = Path(unfinished) / "packages"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pinned = ["--require-hashes", "--no-deps", "--only-binary=:all:", f"--requirement={requirements_of(script)}"]
        done = subprocess.run([*pip, *pinned, f"--target={target}"], check=False)
        if done.returncode != 0:
            raise PackagesMissing(
                f"pip could not install {described}; see its output above. The pinned wheels are for "
                f"Python 3.11 to 3.14 and this is {sys.version.split()[0]}. "
                "If pip itself is missing: apt-get install python3-pip"
            )
        try:
            target.rename(folder)
        except OSError as error:
            # Another process may have installed the same ones meanwhile: tests run at the same time.
            if not folder.is_dir():
                advice = "check that the folder above it can be written, and that its disk has room"
                raise PackagesMissing(f"{folder} cannot be made: {error.strerror}; {advice}") from error
