"""What the node changes in this machine's network, and how it is put back.

A bridge whose address is the node's, one nftables table for the way out, and kube-proxy's own
tables.
"""

from pathlib import Path

from codexrun_cluster.command import Log, capture
from codexrun_cluster.errors import LauncherError

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
        LauncherError: the pods' addresses are somebody else's here, or the kernel has no bridge or
            nftables.
    """
    if not bridge_exists():
        route = conflicting_route(capture(["ip", "-4", "route"]).stdout)
        if route:
            raise LauncherError(
                f"{POD_CIDR} or {SERVICE_CIDR} is in use here: {route}",
                "remove that route, or use CLUSTER=kind",
            )
        log.run(["ip", "link", "add", BRIDGE, "address", BRIDGE_MAC, "type", "bridge"])
    log.run(["ip", "addr", "replace", f"{NODE_IP}/24", "dev", BRIDGE])
    log.run(["ip", "link", "set", BRIDGE, "up"])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    log.run(["nft", "-f", "-"], stdin=NFT, hint="the kernel needs nf_tables; or use CLUSTER=kind")
    _open_forwarding(log)


def take_down() -> None:
    """Remove what `bring_up` and kube-proxy made; what is not there is no error."""
    capture(["ip", "link", "del", BRIDGE])
    for table in TABLES:
        capture(["nft", "delete", "table", *table.split()])
    for rule in _FORWARD:
        capture(["iptables", "-D", "FORWARD", *rule])


def bridge_exists() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()


def conflicting_route(routes: str) -> str | None:
    """Return the first route inside the node's two ranges that is not its bridge's, from the text
    of `ip route`."""
    for line in routes.splitlines():
        if line.startswith(("10.244.", "10.96.")) and f"dev {BRIDGE}" not in line:
            return line.strip()
    return None


_MARK = ["-m", "comment", "--comment", "codexrun"]
_FORWARD = (["-i", BRIDGE, *_MARK, "-j", "ACCEPT"], ["-o", BRIDGE, *_MARK, "-j", "ACCEPT"])


def _open_forwarding(log: Log) -> None:
    """Docker sets the FORWARD chain's policy to DROP, which would silently cut pods off."""
    if not capture(["iptables", "-S", "FORWARD"]).stdout.startswith("-P FORWARD DROP"):
        return
    for rule in _FORWARD:
        if capture(["iptables", "-C", "FORWARD", *rule]).returncode:
            log.run(["iptables", "-I", "FORWARD", *rule])
