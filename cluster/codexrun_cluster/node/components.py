"""The processes of the node: their arguments, ports and files, and when each one is ready."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from codexrun_cluster.node.network import API_SERVICE_IP, NODE_IP, POD_CIDR, SERVICE_CIDR
from codexrun_cluster.node.processes import command_lines
from codexrun_cluster.node.readiness import accepts, healthy
from codexrun_cluster.node.settings import CONTAINERD_SOCKET, NODE
from codexrun_cluster.paths import RUN, VAR, Paths, digest

CONTAINERD_TOML = RUN / "containerd.toml"
COMPONENTS = (
    "containerd",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
)
ETCD = f"unix://{RUN}/etcd.sock"
# etcd wants host:port even of a socket; it becomes a file of that name where etcd was started,
# which is RUN.
ETCD_PEER = "unix://etcd-peer:2380"


@dataclass(frozen=True)
class Component:
    """One process. `ports` are the addresses it needs; `reads` are files whose change means a
    restart."""

    name: str
    argv: list[str]
    ready: Callable[[], bool]
    ports: tuple[tuple[str, int], ...] = ()
    reads: tuple[Path, ...] = ()
    seconds: int = 5

    def fingerprint(self) -> str:
        """Return what changes when the process has to be started anew."""
        return digest([json.dumps(self.argv), *(p for p in self.reads if p.exists())])


def unrecorded_pids(name: str | None = None) -> list[int]:
    """Return pids of components (of one name) by their command lines: a launcher killed between
    start and record leaves such."""
    pids = []
    for pid, words in command_lines():
        program = Path(words[0]).name
        command = words[1] if len(words) > 1 else ""
        component = command if program == "codexrun-node" and command in COMPONENTS else None
        if program == "containerd" and str(CONTAINERD_TOML) in words:
            component = program
        if component is not None and name in (None, component):
            pids.append(pid)
    return pids


def components(paths: Paths, binary: Path) -> list[Component]:
    """Return all of them, in the order of their start."""
    pki = paths.pki
    conf = paths.state / "conf"

    def client(name: str) -> str:
        return str(conf / f"{name}.kubeconfig")

    def node_component(
        name: str, flags: list[str], ready: Callable[[], bool], **options: object
    ) -> Component:
        command = [str(binary), name, *flags]
        return Component(name, command, ready, **options)  # type: ignore[arg-type]

    # the defaults of 20/50 are the bottleneck of a load test
    qps = [
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
    return [
        Component(
            "containerd",
            ["containerd", "--config", str(CONTAINERD_TOML), "--log-level", "warn"],
            lambda: accepts(CONTAINERD_SOCKET),
            reads=(CONTAINERD_TOML,),
        ),
        node_component(
            "etcd",
            [
                f"--name={NODE}",
                f"--data-dir={paths.state}/etcd",
                f"--listen-client-urls={ETCD}",
                "--advertise-client-urls=unix://etcd:2379",
                f"--listen-peer-urls={ETCD_PEER}",
                f"--initial-advertise-peer-urls={ETCD_PEER}",
                f"--initial-cluster={NODE}={ETCD_PEER}",
                # a node for trying things out: speed over surviving a power cut
                "--unsafe-no-fsync",
                "--auto-compaction-retention=1h",
                "--log-level=warn",
            ],
            lambda: accepts(RUN / "etcd.sock"),
        ),
        node_component(
            "kube-apiserver",
            [
                f"--bind-address={NODE_IP}",
                f"--advertise-address={NODE_IP}",
                "--secure-port=6443",
                f"--etcd-servers={ETCD}",
                "--endpoint-reconciler-type=lease",
                f"--service-cluster-ip-range={SERVICE_CIDR}",
                "--allow-privileged=true",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                # Else `kubectl logs` and `exec` ask DNS for the node's name.
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                f"--kubelet-client-certificate={pki}/apiserver-to-kubelet.crt",
                f"--kubelet-client-key={pki}/apiserver-to-kubelet.key",
                f"--client-ca-file={pki}/ca.crt",
                f"--tls-cert-file={pki}/apiserver-serving.crt",
                f"--tls-private-key-file={pki}/apiserver-serving.key",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={pki}/service-account.key",
                f"--service-account-signing-key-file={pki}/service-account.key",
                f"--audit-policy-file={conf}/audit-policy.json",
                f"--audit-log-path={paths.logs}/audit.log",
                "--audit-log-maxsize=200",
                "--audit-log-maxbackup=2",
            ],
            # Anonymous callers may see it only once RBAC's own rules are there; the components that
            # follow need those, too.
            lambda: healthy(f"https://{NODE_IP}:6443/readyz"),
            ports=((NODE_IP, 6443),),
            reads=(conf / "audit-policy.json", pki / "apiserver-serving.crt"),
            seconds=15,
        ),
        node_component(
            "kube-controller-manager",
            [
                f"--kubeconfig={client('kube-controller-manager')}",
                f"--authentication-kubeconfig={client('kube-controller-manager')}",
                f"--authorization-kubeconfig={client('kube-controller-manager')}",
                f"--service-account-private-key-file={pki}/service-account.key",
                f"--root-ca-file={pki}/ca.crt",
                "--use-service-account-credentials",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                "--concurrent-job-syncs=20",
                *qps,
            ],
            lambda: healthy("https://127.0.0.1:10257/healthz"),
            ports=(("127.0.0.1", 10257),),
        ),
        node_component(
            "kube-scheduler",
            [
                f"--kubeconfig={client('kube-scheduler')}",
                f"--authentication-kubeconfig={client('kube-scheduler')}",
                f"--authorization-kubeconfig={client('kube-scheduler')}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
                *qps,
            ],
            lambda: healthy("https://127.0.0.1:10259/healthz"),
            ports=(("127.0.0.1", 10259),),
        ),
        node_component(
            "kubelet",
            [
                f"--config={conf}/kubelet.json",
                f"--kubeconfig={client('kubelet')}",
                f"--hostname-override={NODE}",
                f"--node-ip={NODE_IP}",
                f"--root-dir={VAR}/kubelet",
                f"--cert-dir={VAR}/kubelet/pki",
                "--v=1",
            ],
            lambda: healthy("http://127.0.0.1:10248/healthz"),
            ports=((NODE_IP, 10250), ("127.0.0.1", 10248)),
            reads=(conf / "kubelet.json",),
        ),
        node_component(
            "kube-proxy",
            [
                f"--kubeconfig={client('kube-proxy')}",
                f"--hostname-override={NODE}",
                f"--bind-address={NODE_IP}",
                f"--cluster-cidr={POD_CIDR}",
                "--proxy-mode=nftables",
                # Two pods on one bridge: without it the answer goes straight back and is not the
                # service's address.
                "--masquerade-all",
                "--conntrack-max-per-core=0",
                "--oom-score-adj=0",
                "--healthz-bind-address=127.0.0.1:10256",
                "--metrics-bind-address=127.0.0.1:10249",
            ],
            lambda: healthy("http://127.0.0.1:10256/livez"),
            ports=(("127.0.0.1", 10256), ("127.0.0.1", 10249)),
        ),
        node_component(
            "coredns",
            ["-conf", str(conf / "Corefile")],
            lambda: healthy("http://127.0.0.1:10254/ready"),
            ports=((NODE_IP, 53), ("127.0.0.1", 10254)),
            reads=(conf / "Corefile",),
        ),
    ]


SERVER_ADDRESSES = (
    NODE_IP,
    API_SERVICE_IP,
    "127.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
