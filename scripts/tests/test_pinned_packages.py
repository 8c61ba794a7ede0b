"""Where pinned packages are kept. Run by `make test-scripts`."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pinned_packages


@contextlib.contextmanager
def project(pins: str) -> Iterator[Path]:
    """A project with these packages for the script `lint-scripts`, and the file that pins them."""
    with tempfile.TemporaryDirectory() as root, mock.patch.object(pinned_packages, "ROOT", Path(root)):
        requirements = pinned_packages.requirements_of("lint-scripts")
        requirements.parent.mkdir(parents=True)
        requirements.write_text(pins)
        yield requirements


class Folders(unittest.TestCase):
    def test_other_pins_are_kept_in_another_folder(self) -> None:
        with project("") as requirements:
            folders = set()
            for pins in ("ruff==0.17.5", "ruff==0.17.6", "ruff==0.17.5"):
                requirements.write_text(pins)
                folders |= {pinned_packages.folder_of("lint-scripts", kind) for kind in ("x86_64", "aarch64")}
            self.assertEqual(len(folders), 4)

    def test_packages_that_another_process_has_installed_meanwhile_are_used(self) -> None:
        with project("ruff==0.17.5"):
            folder = pinned_packages.folder_of("lint-scripts", "x86_64")

            def pip(command: list[str], check: bool) -> subprocess.CompletedProcess:
                Path(command[-1].removeprefix("--target=")).mkdir()
                (folder / "ruff").mkdir(parents=True)
                return subprocess.CompletedProcess(command, 0)

            with mock.patch.object(subprocess, "run", pip), contextlib.redirect_stderr(io.StringIO()):
                pinned_packages.install("lint-scripts", folder, "ruff")
            self.assertEqual([path.name for path in folder.iterdir()], ["ruff"])
            self.assertEqual(list(folder.parent.iterdir()), [folder])

    def test_a_folder_that_cannot_be_made_is_told_with_its_reason(self) -> None:
        with project("ruff==0.17.5"):
            folder = pinned_packages.folder_of("lint-scripts", "x86_64")

            def pip(command: list[str], check: bool) -> subprocess.CompletedProcess:
                Path(command[-1].removeprefix("--target=")).mkdir()
                folder.write_text("a file in its place")
                return subprocess.CompletedProcess(command, 0)

            missing = self.assertRaisesRegex(pinned_packages.PackagesMissing, "Not a directory; check")
            with mock.patch.object(subprocess, "run", pip), contextlib.redirect_stderr(io.StringIO()), missing:
                pinned_packages.install("lint-scripts", folder, "ruff")


if __name__ == "__main__":
    unittest.main()
