"""Rules about ports and the Ingress: numbers that several files must agree on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from manifests.objects import ROOT, Objects, constant, matches

INGRESS = "nginx.ingress.kubernetes.io/"
# What is not for clients.
INSIDE = ("/health/", "/metrics")
# Seconds after which ingress-nginx closes an idle connection to the API (upstream-keepalive-timeout).
IDLE_SECONDS = 60
# Where cluster.conf and nats.conf name them.
PORTS_OF_NATS = {"client": r"^port: (\d+)", "monitor": r"^http_port: (\d+)", "cluster": r"^  port: (\d+)"}
ADDRESS = re.compile(r"(?P<scheme>\w+)://(?:(?P<user>[^:@]*):(?P<password>.*)@)?(?P<host>[^:/@]+):(?P<port>\d+)")


# --- Who listens where ----------------------------------------------------------------------


def listening(objects: Objects) -> dict[str, dict[str, str]]:
    """The port behind each name of a container's ports, from the program's own settings."""
    ports = {}
    for name in with_probes(objects):
        settings = objects.settings(name)
        ports[name] = {"probes": port_of(settings["PROBES_ADDRESS"])}
        if name == "api":
            ports[name]["http"] = settings["PORT"]
    config = objects.nats_config()
    found = {called: re.search(pattern, config, re.MULTILINE) for called, pattern in PORTS_OF_NATS.items()}
    ports["nats"] = {called: match[1] for called, match in found.items() if match}
    arguments = objects.started(objects.container("redis")).arguments
    given = {key: value for key, value in zip(arguments, arguments[1:]) if key in ("--port", "--tls-port")}
    ports["redis"] = {"redis": given.get("--tls-port", given.get("--port", "6379"))}
    return ports


def with_probes(objects: Objects) -> list[str]:
    """The workloads that listen for probes as PROBES_ADDRESS says."""
    return [name for name in objects.ours() if name != "set-up"]


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


def programs_listen_where_their_ports_say(objects: Objects) -> Iterator[str]:
    listens = listening(objects)
    for name, ports in listens.items():
        declared = {port["name"]: str(port["containerPort"]) for port in objects.container(name)["ports"]}
        for called, port in sorted(ports.items()):
            if declared.get(called) != port:
                yield f"{name} listens on {port}, and its port {called} is {declared.get(called)}"
    for name in with_probes(objects):
        settings = objects.settings(name)
        hosts = [settings["PROBES_ADDRESS"].rpartition(":")[0]] + (
            [settings.get("HOST", "127.0.0.1")] if name == "api" else []
        )
        if any(host in ("127.0.0.1", "localhost", "[::1]", "::1") for host in hosts):
            yield f"{name} listens to its own pod only: neither probes nor clients reach it"
        annotations = objects.template(name)["metadata"].get("annotations", {})
        scraped = (annotations.get("prometheus.io/port"), annotations.get("prometheus.io/path"))
        if scraped != (listens[name]["probes"], "/metrics"):
            port, path = scraped
            yield f"{name} is scraped at {path} on port {port}, and serves /metrics on {listens[name]['probes']}"


def probes_ask_what_is_served(objects: Objects) -> Iterator[str]:
    served = json.loads((ROOT / "openapi.json").read_text())["paths"].keys()
    for name, _, container in objects.containers():
        declared = {port["name"] for port in container.get("ports", [])} | {
            port["containerPort"] for port in container.get("ports", [])
        }
        for kind in ("startup", "readiness", "liveness"):
            probe = container.get(f"{kind}Probe", {})
            asked = probe.get("httpGet") or probe.get("tcpSocket")
            if asked and asked["port"] not in declared:
                yield f"{name}: its {kind} probe asks port {asked['port']}, which it has not"
            if (
                name in ("api", *objects.pools())
                and "httpGet" in probe
                and (asked["path"] not in served or not asked["path"].startswith("/health/"))
            ):
                yield f"{name}: its {kind} probe asks for {asked['path']}, which answers something else"


def addresses_lead_to_services(objects: Objects) -> Iterator[str]:
    """NATS and Redis are reached by the name and the port of a Service that is theirs."""
    listens = listening(objects)
    wanted = [(name, "NATS_URL", "nats") for name in objects.ours()] + [("api", "REDIS_URL", "redis")]
    for name, variable, other in wanted:
        found = ADDRESS.fullmatch(objects.settings(name)[variable])
        if found is None:
            yield f"{name}: {variable} is not an address"
            continue
        service = objects.named("Service", found["host"].partition(".")[0])
        labels = objects.template(other)["metadata"]["labels"]
        if service is None or not matches(service["spec"]["selector"], labels):
            yield f"{name}: {variable} leads to {found['host']}, which is not a Service of {other}"
            continue
        targets = [port["targetPort"] for port in service["spec"]["ports"] if str(port["port"]) == found["port"]]
        if targets != [{"nats": "client", "redis": "redis"}[other]] or targets[0] not in listens[other]:
            yield f"{name}: {variable} leads to port {found['port']} of {found['host']}, where {other} takes no clients"


def servers_know_each_other(objects: Objects) -> Iterator[str]:
    stateful_set = objects.named("StatefulSet", "nats")
    spec = stateful_set["spec"]
    if spec["replicas"] == 1:
        return
    routes = json.loads(objects.settings("nats")["NATS_ROUTES"])
    port = listening(objects)["nats"]["cluster"]
    wanted = {
        f"nats://{stateful_set['metadata']['name']}-{number}.{spec['serviceName']}:{port}"
        for number in range(spec["replicas"])
    }
    for route in sorted(wanted ^ set(routes)):
        yield f"NATS_ROUTES {'lacks' if route in wanted else 'names'} {route}, and there are {spec['replicas']} servers"


# --- The Ingress ----------------------------------------------------------------------------


def clients_reach_their_routes_and_no_more(objects: Objects) -> Iterator[str]:
    described = json.loads((ROOT / "openapi.json").read_text())["paths"].keys()
    # No prefix of an Ingress leads to a path that begins with anything: such a route only says what is not served.
    described = {path for path in described if not path.startswith("/{")}
    served = described | {"/docs", "/openapi.json", "/assets", "/samples"}
    spec = objects.named("Ingress", "api")["spec"]
    for rule in spec["rules"]:
        paths = rule["http"]["paths"]
        for route in sorted(served):
            reached = any(leads_to(path, route) for path in paths)
            if reached == route.startswith(INSIDE):
                yield f"clients of {rule.get('host')} {'reach' if reached else 'do not reach'} {route}"
        for path in paths:
            backend = path["backend"]["service"]
            service = objects.named("Service", backend["name"])
            ports = {key: value for port in service["spec"]["ports"] for key, value in port.items()} if service else {}
            if service and not any(
                value == ports.get(key)
                for key, value in (("name", backend["port"].get("name")), ("port", backend["port"].get("number")))
                if value
            ):
                yield f"the Ingress leads from {path['path']} to a port that the Service {backend['name']} has not"
    hosts = {host for entry in spec.get("tls", []) for host in entry.get("hosts", [])}
    for host in sorted({rule.get("host", "") for rule in spec["rules"]} ^ hosts if spec.get("tls") else set()):
        there, missing = ("a certificate", "rules") if host in hosts else ("rules", "certificate")
        yield f"the Ingress has {there} for {host}, and no {missing}"


def leads_to(path: dict, route: str) -> bool:
    prefix = path["path"].rstrip("/")
    return path["path"] == route or path["pathType"] == "Prefix" and (route == prefix or route.startswith(f"{prefix}/"))


def the_ingress_lets_pictures_and_patience_through(objects: Objects) -> Iterator[str]:
    """What nginx cuts off by itself comes after what the API cuts off, which tells clients why."""
    annotations = objects.named("Ingress", "api")["metadata"].get("annotations", {})
    settings = objects.settings("api")
    body = annotations.get(f"{INGRESS}proxy-body-size", "1m")
    if body != "0":
        yield f"the Ingress answers 413 itself beyond {body}: a batch may be larger (proxy-body-size)"
    upload = int(
        settings.get(
            "UPLOAD_TIMEOUT_SECONDS", constant("services/api/src/config.rs", r'"UPLOAD_TIMEOUT_SECONDS", (\d+)')
        )
    )
    waits = (
        constant("services/api/src/routes/v1.rs", r"LONGEST_WAIT_SECONDS: u64 = (\d+);"),
        constant("services/api/src/routes/held.rs", r"TIMEOUT: Duration = Duration::from_secs\((\d+)\);"),
        constant("services/api/src/routes/v1/prefer.rs", r"LONGEST_WAIT: Duration = Duration::from_secs\((\d+)\);"),
    )
    longest = max(upload, *map(int, waits))
    for annotation in ("proxy-read-timeout", "proxy-send-timeout"):
        seconds = int(annotations.get(INGRESS + annotation, IDLE_SECONDS))
        if seconds <= longest:
            yield f"the Ingress gives a request up after {seconds} s ({annotation}), and the API after {longest} s"
    if annotations.get(f"{INGRESS}proxy-request-buffering") != "off":
        yield "the Ingress reads a whole upload before the API can refuse it"
    keep_alive = int(
        settings.get("KEEP_ALIVE_SECONDS", constant("services/api/src/config.rs", r'"KEEP_ALIVE_SECONDS", (\d+)'))
    )
    if keep_alive <= IDLE_SECONDS:
        hangs_up = f"the API hangs up after {keep_alive} s without a request"
        yield f"{hangs_up}, and the Ingress may send one for {IDLE_SECONDS} s"


RULES = [
    programs_listen_where_their_ports_say,
    probes_ask_what_is_served,
    addresses_lead_to_services,
    servers_know_each_other,
    clients_reach_their_routes_and_no_more,
    the_ingress_lets_pictures_and_patience_through,
]
