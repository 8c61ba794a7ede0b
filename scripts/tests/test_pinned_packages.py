"""Where pinned packages are kept. Run by `make test-scripts`."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pinned_packages


class Folders(unittest.TestCase):
    def test_other_pins_are_kept_in_another_folder(self) -> None:
        with tempfile.TemporaryDirectory() as root, mock.patch.object(pinned_packages, "ROOT", Path(root)):
            requirements = pinned_packages.requirements_of("lint-scripts")
            requirements.parent.mkdir(parents=True)
            folders = set()
            for pins in ("ruff==0.17.5", "ruff==0.17.6", "ruff==0.17.5"):
                requirements.write_text(pins)
                folders |= {pinned_packages.folder_of("lint-scripts", kind) for kind in ("x86_64", "aarch64")}
            self.assertEqual(len(folders), 4)


if __name__ == "__main__":
    unittest.main()
