"""The secrets of docs/kubernetes.md, created by its commands, with certificates for its names."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from manifests.startup_rules import documentation, documented_objects

# Kind and name, and what is held.
Made = dict[tuple[str, str], dict[str, str]]


class NotMade(Exception):
    """The documentation's secrets cannot be created here; the text says why."""


def documented_secrets(kubectl: str, scratch: Path) -> Made:
    """All that the table of docs/kubernetes.md names, but for the certificate of the Ingress."""
    made: Made = {("Secret", name): values for name, values in made_by_commands(kubectl).items()}
    if shutil.which("openssl") is None:
        raise NotMade("openssl is not installed; it creates the certificates")
    authority = make_authority(scratch)
    made["ConfigMap", "spotter-ca"] = {"ca.crt": authority}
    for name, hosts in hosts_of_certificates().items():
        made["Secret", name] = make_certificate(scratch, name, hosts) | {"ca.crt": authority}
    return made


def secrets_problems(made: Made) -> list[str]:
    """Where the commands of the documentation make something else than its table says."""
    expected = {key: keys for key, keys in documented_objects().items() if key != ("Secret", "ingress-tls")}
    wrong = [key for key in expected.keys() | made.keys() if expected.get(key) != made.get(key, {}).keys()]
    return [
        f"docs/kubernetes.md: the commands for {kind} {name} make {sorted(made.get((kind, name), {}))}"
        for kind, name in sorted(wrong)
    ]


def made_by_commands(kubectl: str) -> dict[str, dict[str, str]]:
    (block,) = [
        text
        for text in re.findall(r"```bash\n(.*?)```", documentation("kubernetes"), re.DOTALL)
        if "create secret" in text
    ]
    # As a client alone: what would be sent to a cluster is printed. There is none to apply anything to.
    instead = 'kubectl() { case "$*" in *create*) "$KUBECTL" "$@" --dry-run=client --output=json;; esac; }\n'
    command = ["sh", "-euc", instead + block]
    done = subprocess.run(
        command,
        env=dict(os.environ, KUBECTL=kubectl, KUBECONFIG=os.devnull),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NotMade(f"the commands of docs/kubernetes.md failed: {done.stderr.strip()}")
    secrets = json.loads("[" + re.sub(r"\}\s*\{\s*\"kind\"", '}, {"kind"', done.stdout) + "]")
    return {
        secret["metadata"]["name"]: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for secret in secrets
    }


def hosts_of_certificates() -> dict[str, list[str]]:
    """The names that the table wants in each certificate of a server."""
    rows = re.findall(
        r"^\| `([a-z]+-tls)` \| Secret \| .*?, for ((?:`[^`]+`(?:, )?)+)", documentation("kubernetes"), re.MULTILINE
    )
    return {name: re.findall(r"`([^`]+)`", hosts) for name, hosts in rows}


def make_authority(scratch: Path) -> str:
    openssl("-subj", "/CN=spotter", "-keyout", str(scratch / "ca.key"), "-out", str(scratch / "ca.crt"))
    return (scratch / "ca.crt").read_text()


def make_certificate(scratch: Path, name: str, hosts: list[str]) -> dict[str, str]:
    certificate, key = scratch / f"{name}.crt", scratch / f"{name}.key"
    names = [
        "-addext",
        "subjectAltName=" + ",".join(f"DNS:{host}" for host in hosts),
        "-addext",
        "extendedKeyUsage=serverAuth,clientAuth",
    ]
    leaf = [
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        str(scratch / "ca.crt"),
        "-CAkey",
        str(scratch / "ca.key"),
    ]
    openssl("-subj", f"/CN={hosts[0]}", "-keyout", str(key), "-out", str(certificate), *leaf, *names)
    return {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}


def openssl(*arguments: str) -> None:
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotMade(f"openssl 3.0 or newer is needed to make certificates: {done.stderr.strip()}")
