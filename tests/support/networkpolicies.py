"""What NetworkPolicies allow, by the words of their specification: for pods that a policy selects
in a direction only what one of them allows, for the others everything.

https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Pod:
    """One end of a connection. `blocks`: this network's address blocks mean pods, too; they do with
    Calico and do not with Cilium."""

    labels: dict[str, str]
    namespace: str
    address: str = "10.1.2.3"
    blocks: bool = False

    @property
    def namespace_labels(self) -> dict[str, str]:
        return {"kubernetes.io/metadata.name": self.namespace}


@dataclass(frozen=True)
class Outside:
    """The other end where it is no pod."""

    address: str
    blocks: bool = field(default=True, init=False)


End = Pod | Outside


def selects(selector: Json, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        there = labels.get(expression["key"])
        holds = {
            "Exists": there is not None,
            "DoesNotExist": there is None,
            "In": there in expression.get("values", ()),
            "NotIn": there not in expression.get("values", ()),
        }
        if not holds[expression["operator"]]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def _in_block(block: Json, address: str) -> bool:
    ip = ipaddress.ip_address(address)

    def within(cidr: str) -> bool:
        network = ipaddress.ip_network(cidr, strict=False)
        return ip.version == network.version and ip in network

    return within(block["cidr"]) and not any(map(within, block.get("except", ())))


def _is_peer(peer: Json, end: End, namespace: str) -> bool:
    if "ipBlock" in peer:
        return end.blocks and _in_block(peer["ipBlock"], end.address)
    if not isinstance(end, Pod):
        return False
    if "namespaceSelector" in peer:
        inside = selects(peer["namespaceSelector"], end.namespace_labels)
    else:
        inside = end.namespace == namespace
    return inside and selects(peer.get("podSelector", {}), end.labels)


def _rule_allows(
    rule: Json, peers: str, end: End, namespace: str, port: int, protocol: str
) -> bool:
    ports = rule.get("ports")
    if ports and not any(
        one.get("protocol", "TCP") == protocol and one.get("port", port) == port for one in ports
    ):
        return False
    return peers not in rule or any(_is_peer(peer, end, namespace) for peer in rule[peers])


def _direction(
    policies: Iterable[Json], kind: str, pod: End, other: End, port: int, protocol: str
) -> bool:
    if not isinstance(pod, Pod):
        return True
    peers = {"Ingress": "from", "Egress": "to"}[kind]
    mine = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == pod.namespace
        and kind in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], pod.labels)
    ]
    return not mine or any(
        _rule_allows(rule, peers, other, pod.namespace, port, protocol)
        for policy in mine
        for rule in policy["spec"].get(kind.lower(), [])
    )


def allowed(
    policies: list[Json], source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether a connection may be opened."""
    return _direction(policies, "Egress", source, target, port, protocol) and _direction(
        policies, "Ingress", target, source, port, protocol
    )
