"""The files that the components read. All JSON, which is YAML too, so that nothing but the standard
library writes them."""

import base64
import json
from pathlib import Path
from typing import Any

from codexrun_cluster.node.network import BRIDGE, NODE_IP, POD_CIDR
from codexrun_cluster.paths import RUN, VAR, Paths

NODE = "codexrun"
API = f"https://{NODE_IP}:6443"
CLIENTS = ("admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "coredns", "kubelet")
CONTAINERD_SOCKET = RUN / "containerd.sock"


def kubeconfig(pki: Path, client: str) -> str:
    """Return a kubeconfig with its certificates inside, so that the one file can be copied."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": API, "certificate-authority-data": data("ca.crt")}
    user = {
        "client-certificate-data": data(f"{client}.crt"),
        "client-key-data": data(f"{client}.key"),
    }
    return _json(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "codexrun", "cluster": cluster}],
            "users": [{"name": client, "user": user}],
            "contexts": [{"name": "codexrun", "context": {"cluster": "codexrun", "user": client}}],
            "current-context": "codexrun",
        }
    )


def kubelet(paths: Paths) -> str:
    """Return the kubelet's configuration."""
    return _json(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": NODE_IP,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(paths.pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(paths.pki / "kubelet-serving.crt"),
            "tlsPrivateKeyFile": str(paths.pki / "kubelet-serving.key"),
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            # lowering it needs CAP_SYS_RESOURCE, which VMs and containers often lack
            "oomScoreAdj": 0,
            "clusterDNS": [NODE_IP],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "maxPods": 200,
            # A full volume is seen within seconds, not two minutes.
            "volumeStatsAggPeriod": "10s",
            "makeIPTablesUtilChains": False,
            # A full disk must not make the kubelet remove images that no registry can bring back.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "imagefs.available": "1%",
                "nodefs.inodesFree": "1%",
            },
            "podLogsDir": str(paths.logs / "pods"),
            "volumePluginDir": str(VAR / "volume-plugins"),
        }
    )


def audit_policy() -> str:
    """Who wrote what, without the bodies: tests count writes, people find out who deleted
    something."""
    return _json(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [
                {
                    "level": "Metadata",
                    "verbs": ["create", "update", "patch", "delete", "deletecollection"],
                },
                {"level": "None"},
            ],
        }
    )


def cni() -> str:
    """The pods' network: a bridge with the node's own address. It enforces no NetworkPolicy."""
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(RUN / "ipam"),
            "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_IP}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    return _json({"cniVersion": "0.4.0", "name": "codexrun", "plugins": [bridge]})


def containerd(root: Path, cni_bin: Path, pause_image: str, snapshotter: str) -> str:
    """A containerd of our own beside any other: own root, state, socket and network plugins'
    configuration."""
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{root}"
state = "{RUN}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
path = "{root}/opt"
[{cri}]
sandbox_image = "{pause_image}"
# Without CAP_SYS_RESOURCE every sandbox fails ("can't get final child's PID"): pause asks for a
# negative oom score.
restrict_oom_score_adj = true
# Namespaces under our state folder, not in the machine's /run/netns: `down` then knows which ones
# are ours.
netns_mounts_under_state_dir = true
[{cri}.cni]
bin_dir = "{cni_bin}"
conf_dir = "{RUN}/cni"
[{cri}.containerd]
snapshotter = "{snapshotter}"
[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false
Root = "{RUN}/runc"
"""


def corefile(kubeconfig_path: Path, resolv_conf: str) -> str:
    """DNS for pods; names outside the cluster go to this machine's own servers, where it has
    any."""
    has_servers = any(line.split()[:1] == ["nameserver"] for line in resolv_conf.splitlines())
    forward = "  forward . /etc/resolv.conf\n" if has_servers else ""
    return f""".:53 {{
  bind {NODE_IP}
  reload
  ready 127.0.0.1:10254
  errors
  cache 10
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {kubeconfig_path}
    ttl 5
  }}
{forward}}}
"""


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"
