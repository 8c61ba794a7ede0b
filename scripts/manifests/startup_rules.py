"""Rules about what a container starts with: its variables, its arguments, and the files that it finds.

Kubernetes' own validation does not detect any of these mistakes, and each of them makes a program exit at its start
or log in without credentials.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from manifests.objects import ROOT, Objects

# Variables that are no settings of spotter's: parts of its addresses, and the folder of temporary files.
OTHER_VARIABLES = {"NATS_PASSWORD", "NATS_SCHEME", "REDIS_PASSWORD", "REDIS_SCHEME", "TMPDIR"}
# What API and workers must be given alike, besides the settings of the queue.
ALIKE = {"MAX_PICTURE_BYTES", "MAX_PICTURE_PIXELS"}
# What each part of the queue has for itself.
OF_EACH_PART = {"NATS_URL", "NATS_CREDENTIALS_FILE", "NATS_CERTIFICATE_FILE", "NATS_KEY_FILE"}
READ_BY_GROUP, READ_BY_ALL = 0o040, 0o004


# --- What the documentation says ------------------------------------------------------------


def documented_objects() -> dict[tuple[str, str], set[str]]:
    """What docs/kubernetes.md tells operators to make: kind and name, and the keys."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (Secret|ConfigMap) \| ((?:`[^`]+`(?:, )?)+)", documentation("kubernetes"), re.MULTILINE
    )
    return {(kind, name): set(re.findall(r"`([^`]+)`", keys)) for name, kind, keys in rows}


def documented_settings() -> set[str]:
    text = documentation("configuration") + documentation("telemetry")
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", text))


def settings_of_the_queue() -> set[str]:
    section = documentation("configuration").partition("## Both: the queue")[2].partition("\n## ")[0]
    return set(re.findall(r"`([A-Z][A-Z0-9_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))


def documentation(page: str) -> str:
    return (ROOT / f"docs/{page}.md").read_text()


# --- Variables and arguments ----------------------------------------------------------------


def references_are_replaced(objects: Objects) -> Iterator[str]:
    for name, _, container in objects.containers():
        for place, reference in objects.started(container).unresolved:
            wanted = (
                "is none of its variables" if place in ("command", "args") else "is no variable that stands before it"
            )
            yield f"{name}: {place} refers to $({reference}), which {wanted}: the program is given that text"
        hooks = [
            container.get("lifecycle", {}),
            *(container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")),
        ]
        if re.search(r"\$\(\w+\)", str(hooks)):
            yield f"{name}: a probe or a hook has a reference in it, which is not replaced there"
        for source in container.get("envFrom", []):
            values = objects.values("ConfigMap", source.get("configMapRef", {}).get("name", "")) or {}
            for key in sorted(key for key, value in values.items() if re.search(r"\$\(\w+\)", value)):
                yield f"{name}: {key} comes from a ConfigMap with a reference in it, which is not replaced there"


def variables_are_given_once(objects: Objects) -> Iterator[str]:
    for name, _, container in objects.containers():
        names = [entry["name"] for entry in container.get("env", [])]
        for twice in sorted({entry for entry in names if names.count(entry) > 1}):
            yield f"{name} is given {twice} twice, and the later one counts"


def settings_exist(objects: Objects) -> Iterator[str]:
    documented = documented_settings() | OTHER_VARIABLES
    for name in objects.ours():
        for unknown in sorted(objects.settings(name).keys() - documented):
            yield f"{name} is given {unknown}, which docs/configuration.md does not know"


def settings_agree(objects: Objects) -> Iterator[str]:
    ours = objects.ours()
    settings = {name: objects.settings(name) for name in ours}
    queue = settings_of_the_queue() - OF_EACH_PART
    alike = dict.fromkeys(ALIKE, ["api", *objects.pools()]) | dict.fromkeys(queue, ours)
    for key, names in sorted(alike.items()):
        values = {name: settings[name].get(key) for name in names}
        if len(set(values.values())) > 1:
            yield f"{key} is not the same for all: {', '.join(f'{name} {value}' for name, value in values.items())}"


# --- Secrets --------------------------------------------------------------------------------


def what_is_made_beforehand_is_documented(objects: Objects) -> Iterator[str]:
    """Each key that is referred to is in the manifests, or in the table of what an operator makes."""
    documented = documented_objects()
    for name, kind, reference in references(objects):
        held = objects.values(kind, reference["name"])
        keys = held.keys() if held is not None else documented.get((kind, reference["name"]))
        if keys is None:
            yield f"{name} refers to the {kind} {reference['name']}, which no documented command creates"
        elif "key" in reference and reference["key"] not in keys:
            yield f"{name} refers to {reference['key']} of the {kind} {reference['name']}, which does not hold it"
        if reference.get("optional"):
            yield f"{name} starts without the {kind} {reference['name']}: what is taken from it would be empty"


def references(objects: Objects) -> Iterator[tuple[str, str, dict]]:
    """The workload, the kind, and the reference, of each ConfigMap and Secret that a pod needs."""
    for name, spec, container in objects.containers():
        for source in container.get("envFrom", []):
            yield from (
                (name, kind, source[key])
                for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret"))
                if key in source
            )
        for source in (entry.get("valueFrom", {}) for entry in container.get("env", [])):
            yield from (
                (name, kind, source[key])
                for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret"))
                if key in source
            )
        for volume in spec.get("volumes", []):
            for key, kind, called in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                if key in volume:
                    yield name, kind, {"name": volume[key][called], "optional": volume[key].get("optional")}


def passwords_are_their_own(objects: Objects) -> Iterator[str]:
    if objects.overlay != "local" and objects.of("Secret"):
        yield "there is a Secret in the manifests"
    roles = {"set-up": "setup"} | dict.fromkeys(objects.pools(), "worker")
    for name, _, container in objects.containers():
        role = roles.get(name, name)
        for variable in container.get("env", []):
            reference = variable.get("valueFrom", {}).get("secretKeyRef", {"name": ""})
            if name != "nats" and reference["name"].startswith("nats-passwords") and reference["key"] != role:
                yield f"{name} is given the password of {reference['key']}"
            if re.search(r"://[^/@]*:[^$/@][^/@]*@", str(variable.get("value"))):
                yield f"{name}: {variable['name']} has a password in it"


# --- Files ----------------------------------------------------------------------------------


def files_are_there(objects: Objects) -> Iterator[str]:
    """Each file that a setting or an argument names is in a volume that holds it."""
    for name, spec, container in objects.containers():
        started = objects.started(container)
        named = [value for key, value in started.variables.items() if key.endswith("_FILE") and value]
        named += [argument for argument in started.arguments if argument.startswith("/")]
        if name == "nats":
            named += re.findall(r'_file: "(/.*)"', "".join(objects.nats_files().values()))
        for path in named:
            mount = mount_of(path, container)
            if mount is None:
                yield f"{name} needs {path}, and nothing is mounted there"
                continue
            keys = keys_of_volume(objects, mount["name"], spec)
            if keys is not None and path.removeprefix(mount["mountPath"]).lstrip("/") not in keys:
                yield f"{name} needs {path}, which the volume {mount['name']} does not hold"
    files = objects.nats_files()
    for file, text in sorted(files.items()):
        for included in sorted(set(re.findall(r'^\s*include "(.*)"', text, re.MULTILINE)) - files.keys()):
            yield f"nats: {file} includes {included}, which is not beside it"


def mount_of(path: str, container: dict) -> dict | None:
    mounts = [
        mount
        for mount in container.get("volumeMounts", [])
        if f"{path}/".startswith(mount["mountPath"].rstrip("/") + "/")
    ]
    return max(mounts, key=lambda mount: len(mount["mountPath"]), default=None)


def volume_of(name: str, spec: dict) -> dict:
    return next((volume for volume in spec.get("volumes", []) if volume["name"] == name), {})


def keys_of_volume(objects: Objects, name: str, spec: dict) -> set[str] | None:
    """The files of a volume that is made of a ConfigMap or a Secret; None for any other."""
    volume = volume_of(name, spec)
    for key, kind, called in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        if key in volume:
            source = volume[key]
            if "items" in source:
                return {item["path"] for item in source["items"]}
            held = objects.values(kind, source[called])
            return set(held) if held is not None else documented_objects().get((kind, source[called]), set())
    return None


def files_can_be_read_and_written(objects: Objects) -> Iterator[str]:
    for name, spec, container in objects.containers():
        group = spec.get("securityContext", {}).get("fsGroup")
        for volume in spec.get("volumes", []):
            mode = (volume.get("secret") or volume.get("configMap") or {}).get("defaultMode", 0o644)
            if not (mode & READ_BY_ALL or (group and mode & READ_BY_GROUP)):
                of_group = f"group {group}" if group else "no group"
                yield f"{name} may not read the volume {volume['name']}, of mode {mode:04o} and {of_group}"
        for folder in written_by(objects, name, container):
            mount = mount_of(folder, container)
            if (
                mount is None
                or mount.get("readOnly")
                or {"configMap", "secret"} & volume_of(mount["name"], spec).keys()
            ):
                yield f"{name} writes to {folder}, and cannot: its root is read-only"
            elif not volume_of(mount["name"], spec) and not group:
                yield f"{name} writes to {folder}, whose volume has no group that may"
    shared = [
        (name, volume["persistentVolumeClaim"]["claimName"])
        for name, spec, _ in objects.containers()
        for volume in spec.get("volumes", [])
        if "persistentVolumeClaim" in volume
    ]
    for name, claim in shared:
        found = objects.named("PersistentVolumeClaim", claim)
        if found and "ReadWriteMany" not in found["spec"]["accessModes"]:
            readers = f"pods of {name} on several machines and for whoever fills it"
            yield f"the claim {claim} is for {readers}: it must be ReadWriteMany"


def written_by(objects: Objects, name: str, container: dict) -> list[str]:
    """The folders that a program writes to."""
    if name == "nats":
        return re.findall(r"store_dir: (\S+)", objects.nats_config())
    # Redis' image has that as its working directory.
    return (
        ["/data"]
        if name == "redis"
        else [value for key, value in objects.started(container).variables.items() if key == "TMPDIR"]
    )


RULES = [
    references_are_replaced,
    variables_are_given_once,
    settings_exist,
    settings_agree,
    what_is_made_beforehand_is_documented,
    passwords_are_their_own,
    files_are_there,
    files_can_be_read_and_written,
]
