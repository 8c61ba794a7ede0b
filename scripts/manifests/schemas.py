"""Validates rendered objects against Kubernetes' and KEDA's schemas; unknown fields are errors."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pinned_packages import ROOT

KUBERNETES_VERSIONS = ["1.32", "1.36"]


class NoSuchSchema(Exception):
    """The schema that was named does not exist."""


def kubernetes_problems(objects: list[dict], version: str) -> list[str]:
    import kubernetes_validate

    problems = []
    for found in objects:
        name = f"{found['kind']}/{found['metadata']['name']}"
        if found["apiVersion"].startswith("keda.sh/"):
            continue
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            at = ".".join(str(part) for part in error.path)
            problems.append(f"{name} at {at or 'its top'}: {error.message.splitlines()[0]}")
        except kubernetes_validate.SchemaNotFoundError as error:
            problems.append(f"{name}: {error.message}")
    return problems


def keda_schema() -> dict | None:
    """What KEDA_SCHEMA names, or what lies beside a developer's checkout."""
    named = os.environ.get("KEDA_SCHEMA")
    path = Path(named) if named else ROOT.parent / "shared/schemas/scaledobject-keda-v1alpha1.json"
    if named and not path.is_file():
        raise NoSuchSchema(f"KEDA_SCHEMA names {path}, which does not exist")
    return json.loads(path.read_text()) if path.is_file() else None


def keda_problems(objects: list[dict], schema: dict) -> list[str]:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema)
    scaled = [found for found in objects if found["kind"] == "ScaledObject"]
    errors = [error for found in scaled for error in validator.iter_errors(found)]
    return [f"ScaledObject at {'.'.join(map(str, e.path))}: {e.message.splitlines()[0]}" for e in errors]
