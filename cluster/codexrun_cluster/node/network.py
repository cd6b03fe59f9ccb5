"""What does the node change in this machine's network, and how is it put back?

A bridge whose address is the node's, one nftables table for the way out, and kube-proxy's own
tables.
"""

from pathlib import Path

from codexrun_cluster.command import Log, ask
from codexrun_cluster.errors import Failure

BRIDGE = "codexrun0"
NODE_IP = "10.244.0.1"
POD_CIDR = "10.244.0.0/24"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
# Without an address of its own a bridge takes its ports' and changes it whenever a pod comes or
# goes.
BRIDGE_MAC = "0a:58:0a:f4:00:01"

# Masquerading is here rather than with the CNI plugin's ipMasq: one table to remove instead of an
# iptables chain a pod.
NFT = f"""
table ip codexrun
delete table ip codexrun
table ip codexrun {{
  chain postrouting {{
    type nat hook postrouting priority 100;
    ip saddr {POD_CIDR} ip daddr != {POD_CIDR} masquerade
  }}
}}
"""
TABLES = ("ip codexrun", "ip kube-proxy", "ip6 kube-proxy")


def bring_up(log: Log) -> None:
    """Make bridge, forwarding and masquerading; each is left alone where it already is.

    Raises:
        Failure: the pods' addresses are somebody else's here, or the kernel has no bridge or
            nftables.
    """
    if not bridge_exists():
        other = routed_elsewhere(ask(["ip", "-4", "route"]).stdout)
        if other:
            raise Failure(
                f"{POD_CIDR} or {SERVICE_CIDR} is in use here: {other}",
                "remove that route, or use CLUSTER=kind",
            )
        log.run(["ip", "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge"])
    log.run(["ip", "addr", "replace", f"{NODE_IP}/24", "dev", BRIDGE])
    log.run(["ip", "link", "set", BRIDGE, "up"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    log.run(
        ["nft", "-f", "-"], stdin=NFT, way_out="the kernel needs nf_tables; or use CLUSTER=kind"
    )
    _open_forwarding(log)


def take_down() -> None:
    """Remove what `bring_up` and kube-proxy made; what is not there is no error."""
    ask(["ip", "link", "del", BRIDGE])
    for table in TABLES:
        ask(["nft", "delete", "table", *table.split()])
    for rule in _FORWARD:
        ask(["iptables", "-D", "FORWARD", *rule])


def bridge_exists() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()


def routed_elsewhere(routes: str) -> str | None:
    """The first route inside our two ranges that is not our bridge's, from the text of `ip
    route`."""
    for line in routes.splitlines():
        if line.startswith(("10.244.", "10.96.")) and f"dev {BRIDGE}" not in line:
            return line.strip()
    return None


_MARK = ["-m", "comment", "--comment", "codexrun"]
_FORWARD = (["-i", BRIDGE, *_MARK, "-j", "ACCEPT"], ["-o", BRIDGE, *_MARK, "-j", "ACCEPT"])


def _open_forwarding(log: Log) -> None:
    """Docker sets the FORWARD chain's policy to DROP, which would silently cut pods off."""
    if not ask(["iptables", "-S", "FORWARD"]).stdout.startswith("-P FORWARD DROP"):
        return
    for rule in _FORWARD:
        if ask(["iptables", "-C", "FORWARD", *rule]).returncode:
            log.run(["iptables", "-I", "FORWARD", *rule])
