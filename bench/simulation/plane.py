"""A control plane that lives as long as a measurement: etcd, apiserver, controller manager and
scheduler of `make up`'s node binary, kwok for nodes and pods, and the operator.

The parts are started as `make up` starts them, but for limits that a burst would meet before the
cores are busy. It needs `simulation.isolation` around it: its addresses are those of `make up`.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import yaml

from codexrun_cluster.chart import NAMESPACE
from codexrun_cluster.node import settings
from codexrun_cluster.node.components import SERVER_ADDRESSES, components
from codexrun_cluster.node.gobuild import node_binary
from codexrun_cluster.paths import RUN, Paths, find_paths
from simulation.audit import AuditLog
from simulation.client import Client, Json
from simulation.installation import OPERATOR_USER, Installation
from simulation.nodes import kwok_binary, node_objects
from simulation.stages import kwok_configuration
from simulation.usage import cpu_of, peak_mb

START_SECONDS = 300.0
IDLE_CORES = 0.25
IDLE_SECONDS = 90.0
QUIET_SECONDS = 3.0
QUIET_BYTES = 2000  # of the audit log in half a second: leases alone stay below
OPERATOR_PORT = 8080
KWOK_PORT = 10247
# Who talks to the apiserver with a token: by name the user and the groups.
MEASURER = "bench"
KWOK = "kwok"
USERS = {
    MEASURER: (MEASURER, "bench:admins"),
    KWOK: (KWOK, "bench:admins"),
    "operator": (OPERATOR_USER, f"system:serviceaccounts,system:serviceaccounts:{NAMESPACE}"),
}
ADMINS = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "bench-admins"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "cluster-admin",
    },
    "subjects": [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "bench:admins"}
    ],
}
# What differs from `make up`, by part; the last of equal flags counts.
QPS = ("--kube-api-qps=1000", "--kube-api-burst=2000")
FLAGS = {
    "etcd": ("--quota-backend-bytes=8589934592",),
    "kube-apiserver": (
        "--max-requests-inflight=2000",
        "--max-mutating-requests-inflight=1000",
        "--audit-log-maxsize=100000",
    ),
    "kube-controller-manager": QPS,
    "kube-scheduler": QPS,
}
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")


class Plane:
    """The processes, and the ways to talk to them; `pids` by the part's name."""

    def __init__(self, folder: Path) -> None:
        paths = find_paths()
        self._kwok = kwok_binary(paths)
        self.folder = folder
        # Not under its own name: `make up` would take its parts for those of a node of before.
        self._node = folder / "simulated-node"
        self._node.symlink_to(node_binary(paths))
        self._paths = Paths(checkout=folder, cache=paths.cache)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @cached_property
    def _release(self) -> Installation:
        return Installation([str(self._node), "helm"])

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

    # -- talking to it ---------------------------------------------------------------------------

    def client(self) -> Client:
        return Client(settings.API, self._paths.pki / "ca.crt", _token(MEASURER))

    def audit(self) -> AuditLog:
        return AuditLog(self._paths.logs / "audit.log")

    def apply(self, objects: Sequence[Json]) -> None:
        """Create or change objects, as their owner."""
        listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self._kubectl("apply", "--server-side", "-f", "-", stdin=listed)

    def _can(self, *words: str) -> bool:
        """Return whether kubectl says yes: it fails where there is no status yet."""
        try:
            self._kubectl(*words)
        except RuntimeError:
            return False
        return True

    def _kubectl(self, *words: str, stdin: str = "") -> None:
        command = [str(self._node), "kubectl", f"--kubeconfig={self._paths.kubeconfig}", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")

    # -- its parts -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything but the operator."""
        self._write_settings()
        shutil.rmtree(RUN, ignore_errors=True)  # sockets of the one before
        RUN.mkdir(parents=True)
        for part in components(self._paths, self._node):
            if part.name in ("etcd", "kube-apiserver"):
                self._start(part.name, [*part.argv, *FLAGS[part.name], *self._tokens(part.name)])
                self._until(part.ready, part.name)
        self.apply([ADMINS])
        for part in components(self._paths, self._node):
            if part.name in CONTROLLERS:
                self._start(part.name, [*part.argv, *FLAGS[part.name]])
        self._start_kwok()
        self._kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")

    def install(self) -> None:
        """Bring the chart's objects, and the prompts, into their namespace."""
        self.make_namespace(NAMESPACE)
        self.apply(self._release.definitions)
        self._until(
            lambda: self._can("wait", "--for=condition=Established", "crd", "--all"),
            "kube-apiserver",
        )
        self.apply(self._release.objects)

    def make_namespace(self, name: str) -> None:
        """Make a namespace, and what pods there need."""
        accounts = [
            {"kind": "ServiceAccount", "metadata": {"name": account, "namespace": name}}
            for account in ("default", "codexrun-agent")
        ]
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        self.apply([{"apiVersion": "v1", **account} for account in accounts])

    def start_operator(self, *, program: Sequence[str] = ("-m", "codexrun_operator")) -> Path:
        """Start the operator of this checkout; return the path of its log. `program`: what Python
        runs."""
        config = self._write_kubeconfig("operator")
        environment = {
            **self._release.operator_environment,
            "KUBECONFIG": str(config),
            "PYTHONDONTWRITEBYTECODE": "",
        }
        self._start("operator", [sys.executable, *program], environment)
        return self._log("operator")

    def stop_operator(self) -> None:
        self._stop("operator")

    def stop_controllers(self) -> None:
        """Leave etcd and apiserver alone: nothing acts on objects any more."""
        for name in (*CONTROLLERS, KWOK):
            self._stop(name)

    def peak_mb(self, name: str) -> float:
        """Return the most memory that a part has had resident."""
        return peak_mb(self.pids[name])

    def stop(self) -> None:
        for name in reversed(list(self._processes)):
            self._stop(name)

    def _start(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> None:
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, cwd=RUN, env={**os.environ, **(env or {})}
            )

    def _stop(self, name: str) -> None:
        process = self._processes.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_kwok(self) -> None:
        file = self.folder / "kwok.yaml"
        file.write_text(kwok_configuration(self.folder))
        self.apply(node_objects())
        self._start(
            KWOK,
            [
                str(self._kwok),
                f"--kubeconfig={self._write_kubeconfig(KWOK)}",
                f"--config={file}",
                "--manage-all-nodes",
                "--node-lease-duration-seconds=40",
                "--node-ip=127.0.0.1",
                f"--node-port={KWOK_PORT}",
                f"--server-address=127.0.0.1:{KWOK_PORT}",
            ],
        )

    def _until(self, ready: Callable[[], bool], name: str) -> None:
        """Wait until a part is ready.

        Raises:
            RuntimeError: it has ended, or is not within START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if time.monotonic() > deadline or self._processes[name].poll() is not None:
                log = self._log(name).read_text(errors="replace")
                raise RuntimeError(f"{name} did not start:\n{log[-2000:]}")
            time.sleep(0.1)

    def _log(self, name: str) -> Path:
        self._paths.logs.mkdir(parents=True, exist_ok=True)
        return self._paths.logs / f"{name}.log"

    # -- its files -------------------------------------------------------------------------------

    def _write_settings(self) -> None:
        paths = self._paths
        conf = paths.state / "conf"
        conf.mkdir(parents=True)
        paths.pki.mkdir(mode=0o700)
        certificates = ["certificates", str(paths.pki), settings.NODE, *SERVER_ADDRESSES]
        subprocess.run([str(self._node), *certificates], check=True)
        for client in settings.CLIENTS:
            text = settings.kubeconfig(paths.pki, client)
            (conf / f"{client}.kubeconfig").write_text(text)
        paths.kubeconfig.write_text(settings.kubeconfig(paths.pki, "admin"))
        (conf / "audit-policy.json").write_text(settings.audit_policy())
        (self.folder / "tokens.csv").write_text(
            "".join(
                f'{_token(name)},{user},{name},"{groups}"\n'
                for name, (user, groups) in USERS.items()
            )
        )

    def _tokens(self, part: str) -> list[str]:
        is_server = part == "kube-apiserver"
        return [f"--token-auth-file={self.folder}/tokens.csv"] if is_server else []

    def _write_kubeconfig(self, name: str) -> Path:
        """Return the file with which a part talks to the apiserver by its token."""
        config = json.loads(settings.kubeconfig(self._paths.pki, "admin"))
        config["users"][0]["user"] = {"token": _token(name)}
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return path

    # -- waiting ---------------------------------------------------------------------------------

    async def idle(self) -> None:
        """Wait until all parts are idle: new definitions keep the apiserver busy for a while."""
        deadline = time.monotonic() + IDLE_SECONDS
        calm = 0
        while calm < 3 and time.monotonic() < deadline:
            before = sum(cpu_of(self.pids).values())
            await asyncio.sleep(1)
            busy = sum(cpu_of(self.pids).values()) - before
            calm = calm + 1 if busy < IDLE_CORES else 0

    async def until_working(self) -> None:
        """Wait until the operator has the lease and has learnt the cluster's state.

        Raises:
            TimeoutError: it has not within START_SECONDS.
        """
        log = self._log("operator")
        async with asyncio.timeout(START_SECONDS):
            while b'"lease.taken"' not in log.read_bytes():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.1)

    async def quiet(self, audit: AuditLog, seconds: float = 45.0) -> None:
        """Wait until nobody writes any more, for `seconds` at most."""
        deadline = time.monotonic() + seconds
        last_write = time.monotonic()
        size = audit.unread_bytes
        while time.monotonic() < min(deadline, last_write + QUIET_SECONDS):
            await asyncio.sleep(0.5)
            if audit.unread_bytes - size > QUIET_BYTES:
                last_write = time.monotonic()
            size = audit.unread_bytes


def _token(name: str) -> str:
    return f"token-of-{name}"


@contextmanager
def control_plane(folder: Path) -> Iterator[Plane]:
    """Start a control plane in a folder below this one; stop it at the end."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        plane = Plane(Path(name))
        try:
            plane.start()
            yield plane
        finally:
            plane.stop()
