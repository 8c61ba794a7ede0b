"""Starts NATS and Redis with the manifests' settings, and tries every login.

Each program has the arguments, the variables and the files that the kubelet would give it (environment.py), with the
secrets of docs/kubernetes.md; only its ports and its folders differ. Then each component logs in by its own address:
the name is not resolved, but the server's certificate must be for it.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from manifests.environment import Started, started
from manifests.objects import Objects
from manifests.port_rules import ADDRESS
from manifests.secrets import Made

# In seconds; only a server that is stuck takes so long.
PATIENCE = 60
PORT_ATTEMPTS = 5


class NoLogin(Exception):
    """A server does not start, or refuses a login; the text contains its output."""


class NoTls(Exception):
    """This Redis was built without TLS."""


class Node:
    """A machine of the cluster, as far as containers see it: their files, variables and arguments."""

    def __init__(self, objects: Objects, secrets: Made, folder: Path) -> None:
        self.objects = objects
        self.secrets = secrets
        self.folder = folder

    def values(self, kind: str, name: str) -> dict[str, str] | None:
        held = self.objects.values(kind, name)
        return self.secrets.get((kind, name)) if held is None else held

    def start(self, workload: str) -> Started:
        return started(self.objects.container(workload), self.values)

    def mounted(self, workload: str, change: Callable[[str], str] = lambda text: text) -> Callable[[str], str]:
        """Lays a container's volumes out; what it returns puts their places into a text."""
        spec, container = self.objects.template(workload)["spec"], self.objects.container(workload)
        places = {
            mount["mountPath"]: self.folder / workload / mount["name"] for mount in container.get("volumeMounts", [])
        }

        # The longest first, and in one go: a place can itself lie below another one's path.
        paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))

        def moved(text: str) -> str:
            return (
                re.sub(rf"(?<![\w/])(?:{paths})(?![\w-])", lambda found: str(places[found[0]]), text)
                if places
                else text
            )

        for mount in container.get("volumeMounts", []):
            volume = next((found for found in spec.get("volumes", []) if found["name"] == mount["name"]), {})
            values = {}
            for key, kind, called in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                if key in volume:
                    values = self.values(kind, volume[key][called]) or {}
            lay_out(places[mount["mountPath"]], {name: change(moved(text)) for name, text in values.items()})
        return moved


def lay_out(folder: Path, files: dict[str, str]) -> None:
    """Files as the kubelet lays them out: links to a folder that another one can replace."""
    data = folder / "..2026_01_01_00_00_00.0"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    for name, text in files.items():
        (data / name).write_text(text)
        (folder / name).symlink_to(Path("..data", name))


# --- Servers --------------------------------------------------------------------------------


@contextmanager
def running(
    command: list[str], environment: dict[str, str], port: Callable[[subprocess.Popen], int | None]
) -> Iterator[int]:
    """A server, until the block ends; `port` finds where it listens, or None while it does not."""
    with TemporaryDirectory() as folder, Path(folder, "log").open("w+") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
        try:
            deadline, found = time.monotonic() + PATIENCE, port(process)
            while found is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    said = Path(folder, "log").read_text().strip()
                    if "Bad directive" in said and "tls-" in said:
                        raise NoTls
                    raise NoLogin(f"{Path(command[0]).name} does not start: {said}")
                time.sleep(0.02)
                found = port(process)
            yield found
        finally:
            process.kill()
            process.wait()


@contextmanager
def nats(node: Node, program: str) -> Iterator[int]:
    """The first NATS server, whose HTTP probes answer as probes; the port of its clients."""
    ports = node.folder / "ports"
    ports.mkdir()
    # Any free ones.
    moved = node.mounted("nats", lambda text: re.sub(r"(?m)^(\s*(?:http_)?port): \d+", r"\1: -1", text))
    start = node.start("nats")
    command = [program, *map(moved, start.arguments), "--addr", "127.0.0.1", "--ports_file_dir", str(ports)]

    listens: dict[str, list[str]] = {}

    def port(process: subprocess.Popen) -> int | None:
        try:
            listens.update(json.loads((ports / f"{Path(program).name}_{process.pid}.ports").read_text()))
        except (OSError, ValueError):
            return None
        return int(listens["nats"][0].rpartition(":")[2])

    with running(command, start.variables, port) as found:
        for kind in ("startup", "readiness", "liveness"):
            path = node.objects.container("nats")[f"{kind}Probe"]["httpGet"]["path"]
            try:
                urllib.request.urlopen(listens["monitoring"][0] + path, timeout=PATIENCE).close()
            except urllib.error.HTTPError as error:
                # 503: one server of three is not healthy. Any other status is an error.
                if error.code != 503:
                    raise NoLogin(f"the {kind} probe of nats asks for {path}, and is told {error.code}") from error
        yield found


@contextmanager
def redis(node: Node, program: str) -> Iterator[int]:
    moved = node.mounted("redis")
    start = node.start("redis")
    given = list(map(moved, start.arguments))[1:]
    listens = "--tls-port" if "--tls-port" in given else "--port"
    for attempt in range(1, PORT_ATTEMPTS + 1):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = probe.getsockname()[1]
        command = [program, *given, "--bind", "127.0.0.1", listens, str(free)]
        with ExitStack() as stood:
            try:
                stood.enter_context(
                    running(command, start.variables, lambda _, free=free: free if answers(free) else None)
                )
            except NoLogin as error:
                if "in use" not in str(error) or attempt == PORT_ATTEMPTS:
                    raise
                continue
            yield free
            return


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


# --- Clients --------------------------------------------------------------------------------


def parsed(address: str) -> re.Match:
    found = ADDRESS.fullmatch(address)
    if found is None:
        raise NoLogin("that is not an address")
    return found


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def secured(connection: socket.socket, host: str, authority: str | None) -> socket.socket:
    """TLS to a server that shows a certificate for `host`, by `authority` or by one that this system trusts."""
    return ssl.create_default_context(cadata=authority).wrap_socket(connection, server_hostname=host)


def log_in_to_nats(port: int, address: str, authority: str | None) -> None:
    found = parsed(address)
    connection = connect(port)
    try:
        # Before TLS the server says whether it wants any.
        info = json.loads(read_line(connection).removeprefix("INFO "))
        if bool(info.get("tls_required")) != (found["scheme"] == "tls"):
            raise NoLogin(
                f"the server {'wants' if info.get('tls_required') else 'speaks no'} TLS, "
                f"and the address says {found['scheme']}"
            )
        if found["scheme"] == "tls":
            connection = secured(connection, found["host"], authority)
        login = {
            "user": found["user"],
            "pass": found["password"],
            "verbose": False,
            "pedantic": False,
            "lang": "check-manifests",
            "version": "1",
        }
        connection.sendall(f"CONNECT {json.dumps(login)}\r\nPING\r\n".encode())
        said = read_line(connection)
        if said != "PONG":
            raise NoLogin(f"NATS says {said or 'nothing'}")
    finally:
        connection.close()


def log_in_to_redis(port: int, address: str, authority: str | None) -> None:
    found = parsed(address)
    connection = connect(port)
    try:
        if found["scheme"] == "rediss":
            connection = secured(connection, found["host"], authority)
        password = (found["password"] or "").encode()
        connection.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password))
        said = read_line(connection)
        if said != "+OK":
            raise NoLogin(f"Redis says {said or 'nothing'}")
    finally:
        connection.close()


def read_line(connection: socket.socket) -> str:
    line = b""
    while not line.endswith(b"\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        line += byte
    return line.decode(errors="replace").strip()


# --- All of it ------------------------------------------------------------------------------


def login_problems(objects: Objects, secrets: Made, nats_server: str | None, redis_server: str | None) -> list[str]:
    """Who cannot log in to NATS and Redis as these manifests have them started, and why."""
    problems = []
    with TemporaryDirectory() as folder:
        node = Node(objects, secrets, Path(folder))
        for server, program, run in (("NATS", nats_server, nats), ("Redis", redis_server, redis)):
            if program is None:
                continue
            try:
                with run(node, program) as port:
                    problems += refused(node, server, port)
            except NoLogin as error:
                problems.append(str(error))
    return problems


def without_tls(objects: Objects, secrets: Made, redis_server: str) -> bool:
    """Whether this Redis cannot be started as the manifests say, for want of TLS."""
    with TemporaryDirectory() as folder:
        try:
            with redis(Node(objects, secrets, Path(folder)), redis_server):
                return False
        except NoTls:
            return True
        except NoLogin:
            return False


def refused(node: Node, server: str, port: int) -> Iterator[str]:
    log_in = {"NATS": log_in_to_nats, "Redis": log_in_to_redis}[server]
    for name, address, authority in addresses(node, server):
        try:
            log_in(port, address, authority)
        except (NoLogin, OSError, ValueError) as error:
            # The address holds a password of this run only; shown, it says what went wrong.
            yield f"{name} cannot log in to {server} by {address}: {error}"


def addresses(node: Node, server: str) -> Iterator[tuple[str, str, str | None]]:
    """Who logs in to a server, the address, and the authority that is trusted."""
    variables = {name: node.start(name).variables for name in node.objects.ours()}
    for name, given in variables.items():
        address = given.get(f"{server.upper()}_URL")
        if address is not None:
            yield name, address, authority_of(node, name, given.get(f"{server.upper()}_CA_FILE"))
    if server == "NATS":
        # Clients outside the manifests: operators and monitoring.
        scheme, _, place = variables["api"]["NATS_URL"].partition("://")
        authority = authority_of(node, "api", variables["api"].get("NATS_CA_FILE"))
        source = next(
            entry["valueFrom"]["secretKeyRef"]["name"]
            for entry in node.objects.container("nats")["env"]
            if "secretKeyRef" in entry.get("valueFrom", {})
        )
        for user, password in sorted((node.values("Secret", source) or {}).items()):
            yield user, f"{scheme}://{user}:{password}@{place.rpartition('@')[2]}", authority


def authority_of(node: Node, workload: str, path: str | None) -> str | None:
    """The text of the file that a setting names, in the volume that holds it."""
    if path is None:
        return None
    container, spec = node.objects.container(workload), node.objects.template(workload)["spec"]
    mount = next(mount for mount in container["volumeMounts"] if path.startswith(mount["mountPath"].rstrip("/") + "/"))
    volume = next(found for found in spec["volumes"] if found["name"] == mount["name"])
    return node.values("ConfigMap", volume["configMap"]["name"])[path.rpartition("/")[2]]
