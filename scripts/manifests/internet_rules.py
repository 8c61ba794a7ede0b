"""Rules about addresses outside of the cluster: who may speak to them, and that they are public."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from manifests.admission_rules import policies_of
from manifests.objects import Objects

# One of each network that is not public.
NOT_PUBLIC = [
    "10.0.0.1", "100.64.0.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.168.0.1", "224.0.0.1",
    "255.255.255.255", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1", "fe80::1", "ff02::1", "2002:a00:1::1",
]  # fmt: skip


def only_two_speak_to_the_internet(objects: Objects) -> Iterator[str]:
    for name, _ in objects.workloads():
        for policy in policies_of(objects, name):
            for direction, side in (("ingress", "from"), ("egress", "to")):
                for allowed in policy["spec"].get(direction, []):
                    for peer in allowed.get(side, []):
                        if "ipBlock" in peer:
                            yield from wrong_block(name, direction, peer["ipBlock"])


def wrong_block(name: str, direction: str, block: dict) -> Iterator[str]:
    if direction != "egress" or name not in ("api", "notifier"):
        yield f"a policy of {name} has addresses in its {direction}, and only API and notifier speak to public servers"
        return
    allowed = ipaddress.ip_network(block["cidr"])
    excepted = [ipaddress.ip_network(network) for network in block.get("except", [])]
    for address in map(ipaddress.ip_address, NOT_PUBLIC):
        if address in allowed and not any(address in network for network in excepted):
            yield f"{name} may speak to {address}, which is not public"


RULES = [only_two_speak_to_the_internet]
