"""Kueue on the embedded node: the manager, built from its Go module, and the chart beside it; a
queue with room for one pod."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import PATIENCE, Json, Lab
from node_parts import PATHS

from codexrun_cluster.command import Log
from codexrun_cluster.images.builders import Buildah
from codexrun_cluster.node.gobuild import build_foreign, module_folder

MODULE = "sigs.k8s.io/kueue"
VERSION = "v0.15.2"  # the last one that is made for the node's Kubernetes, 1.34
REPOSITORY = "localhost/kueue"
RELEASE = "kueue"
NAMESPACE = "kueue-system"
API_VERSION = "kueue.x-k8s.io/v1beta2"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
# Its visibility API needs an aggregation layer, which the embedded node has not.
VISIBILITY = "v1beta1.visibility.kueue.x-k8s.io", "v1beta2.visibility.kueue.x-k8s.io"
VALUES = {
    "controllerManager": {
        "featureGates": [{"name": "VisibilityOnDemand", "enabled": False}],
        "manager": {
            "image": {"repository": REPOSITORY, "tag": VERSION, "pullPolicy": "IfNotPresent"},
            # The chart leaves the user to its own image; and this node has two cores.
            "podSecurityContext": {"runAsUser": 65532},
            "resources": {"requests": {"cpu": "50m"}},
        },
    }
}
# What the chart installs outside of its namespace.
ELSEWHERE = (
    "mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions,"
    "apiservices,clusterroles,clusterrolebindings,roles,rolebindings,namespaces"
)


def bring_to_node() -> Path:
    """Put the manager's image on the node; return the folder of the chart."""
    log = Log(PATHS.logs / "kueue.log")
    program = build_foreign(PATHS, f"{MODULE}/cmd/kueue", VERSION, log)
    buildah = Buildah(PATHS, log)
    image = f"{REPOSITORY}:{VERSION}"
    buildah.program(image, program, "/manager")
    buildah.load(image)
    return module_folder(PATHS, MODULE, VERSION, log) / "charts/kueue"


@contextmanager
def installed(lab: Lab) -> Iterator[None]:
    """Kueue as its chart installs it; nothing of it is left at the end."""
    chart = str(bring_to_node())
    # Of an interrupted round it may be there already.
    upgrade = ("helm", "upgrade", "--install", RELEASE, chart, "-n", NAMESPACE)
    options = ("--create-namespace", "-f", "-", "--wait", "--timeout", f"{PATIENCE}s")
    try:
        lab.sh(*upgrade, *options, stdin=json.dumps(VALUES))
        # Without an answer, each of kubectl's discoveries would complain.
        lab.kubectl("delete", "apiservice", *VISIBILITY, "--ignore-not-found")
        yield
    finally:
        lab.sh("helm", "uninstall", RELEASE, "-n", NAMESPACE, "--ignore-not-found", "--wait")
        lab.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
    left = lab.kubectl("get", ELSEWHERE, "--all-namespaces", "-o", "name").stdout.split()
    assert [name for name in left if "kueue" in name] == []


class Queue:
    """A LocalQueue before a ClusterQueue of its own, which has room for one pod."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.name = lab.name("queue")
        self.urgent = lab.name("urgent")
        much = [
            {"name": resource, "nominalQuota": quota}
            for resource, quota in (
                ("pods", "1"),
                ("cpu", "100"),
                ("memory", "1Ti"),
                ("ephemeral-storage", "1Ti"),
            )
        ]
        flavor = {"name": self.name, "resources": much}
        self._objects = [
            # Kueue writes the label of a flavor into the pods that it admits, and takes it out of
            # those that it evicts.
            self._object(
                "ResourceFlavor", self.name, {"nodeLabels": {"kubernetes.io/os": "linux"}}
            ),
            self._object(
                "ClusterQueue",
                self.name,
                {
                    "namespaceSelector": {},
                    "resourceGroups": [
                        {
                            "coveredResources": [each["name"] for each in much],
                            "flavors": [flavor],
                        }
                    ],
                    "preemption": {"withinClusterQueue": "LowerPriority"},
                },
            ),
            self._object("LocalQueue", self.name, {"clusterQueue": self.name}),
            {
                "apiVersion": API_VERSION,
                "kind": "WorkloadPriorityClass",
                "metadata": {"name": self.urgent},
                "value": 1000,
            },
        ]

    def _object(self, kind: str, name: str, spec: Json) -> Json:
        return {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }

    def create(self) -> None:
        """Create it, once Kueue's webhooks answer: its Service may know the pod a moment later."""
        text = "\n---\n".join(json.dumps(each) for each in self._objects)
        deadline = time.monotonic() + PATIENCE
        while (
            applied := self._lab.kubectl("apply", "-f", "-", stdin=text, check=False)
        ).returncode:
            assert time.monotonic() < deadline, applied.stderr
            time.sleep(1)
        self._lab.kubectl(
            "wait", "--for=condition=Active", f"localqueue/{self.name}", f"--timeout={PATIENCE}s"
        )

    def delete(self) -> None:
        """Delete it and what was in it: Kueue takes its finalizers off while it is there."""
        timeout = f"--timeout={PATIENCE}s"
        # Of a test that has failed, a run may still be there.
        self._lab.kubectl("delete", "jobs", "-l", f"{QUEUE_LABEL}={self.name}", timeout)
        for each in reversed(self._objects):
            self._lab.kubectl("delete", each["kind"], each["metadata"]["name"], timeout)

    def stop(self, policy: str) -> None:
        """Set its stopPolicy: None, Hold or HoldAndDrain."""
        patch = json.dumps({"spec": {"stopPolicy": policy}})
        self._lab.kubectl("patch", "clusterqueue", self.name, "--type=merge", "-p", patch)

    def workloads(self, run: Json) -> list[Json]:
        """What Kueue has of a run's Jobs."""
        listed = json.loads(self._lab.kubectl("get", "workloads", "-o", "json").stdout)
        names = f"{run['metadata']['name']}-{run['metadata']['uid'][:8]}"
        return [
            workload
            for workload in listed["items"]
            if workload["metadata"]["ownerReferences"][0]["name"].startswith(names)
        ]

    def has_admitted(self, run: Json) -> bool:
        (workload,) = self.workloads(run)
        return any(
            (condition["type"], condition["status"]) == ("Admitted", "True")
            for condition in workload["status"].get("conditions", [])
        )

    def until_no_workload(self, run: Json) -> None:
        """Wait until Kueue has nothing of the run; the garbage collector knows Workloads up to 30 s
        after their definition is installed."""
        deadline = time.monotonic() + PATIENCE
        while left := self.workloads(run):
            assert time.monotonic() < deadline, left
            time.sleep(0.5)
