"""How files are laid out for servers that run here. Run by `make test-scripts`."""

from __future__ import annotations

import unittest
from pathlib import Path
from tempfile import TemporaryDirectory

from manifests.logins import Node
from manifests.objects import Objects

POD = {
    "metadata": {"labels": {}},
    "spec": {
        "containers": [
            {
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/nats"},
                    {"name": "tls", "mountPath": "/etc/nats-tls"},
                    {"name": "scratch", "mountPath": "/tmp"},
                ]
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": "config"}},
            {"name": "tls", "secret": {"secretName": "tls"}},
            {"name": "scratch", "emptyDir": {}},
        ],
    },
}
OBJECTS = [
    {"kind": "StatefulSet", "metadata": {"name": "nats"}, "spec": {"template": POD}},
    {
        "kind": "ConfigMap",
        "metadata": {"name": "config"},
        "data": {"a.conf": 'key "/etc/nats-tls/tls.key"\nscratch /tmp/x\nother /var/tmp /tmpfs'},
    },
]


class Files(unittest.TestCase):
    def test_each_path_leads_to_its_own_volume(self) -> None:
        with TemporaryDirectory() as folder:
            place = Path(folder, "nats")
            moved = Node(Objects(OBJECTS, "local"), {("Secret", "tls"): {"tls.key": "secret"}}, Path(folder)).mounted(
                "nats"
            )
            self.assertEqual(moved("/etc/nats/a.conf"), f"{place}/config/a.conf")
            expected = f'key "{place}/tls/tls.key"\nscratch {place}/scratch/x\nother /var/tmp /tmpfs'
            self.assertEqual(Path(moved("/etc/nats/a.conf")).read_text(), expected)
            self.assertEqual(Path(moved("/etc/nats-tls/tls.key")).read_text(), "secret")
            # Links, as in a cluster: what reads them must not take them for files elsewhere.
            self.assertTrue(Path(moved("/etc/nats/a.conf")).is_symlink())


if __name__ == "__main__":
    unittest.main()
