"""The cluster's operator asleep, and one as a process here, which can be killed without the
kubelet's back-off."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab import ROOT, Lab
from operator_process import MAIN

DEPLOYMENT = "deployment/codexrun-operator"
SELECTOR = "app.kubernetes.io/component=operator"


@contextmanager
def no_operator(lab: Lab) -> Iterator[dict[str, str]]:
    """Scale the operator to nothing; yields the settings that it has."""
    deployment = lab.apps.read_namespaced_deployment("codexrun-operator", lab.namespace)
    lab.kubectl("scale", DEPLOYMENT, "--replicas=0")
    lab.kubectl("wait", "--for=delete", "pod", "-l", SELECTOR, "--timeout=60s")
    settings = {
        variable.name: variable.value
        for variable in deployment.spec.template.spec.containers[0].env
        if variable.value is not None
    }
    here = {"CODEXRUN_NAMESPACE": lab.namespace, "CODEXRUN_POD_NAME": "operator-here"}
    try:
        yield settings | here
    finally:
        lab.kubectl("scale", DEPLOYMENT, "--replicas=1")
        lab.kubectl("rollout", "status", DEPLOYMENT, "--timeout=120s")


@contextmanager
def operator_of_our_own(lab: Lab) -> Iterator["Operator"]:
    """One as a process here, in the place of the cluster's."""
    with no_operator(lab) as settings:
        operator = Operator({**os.environ, **lab.env, **settings})
        try:
            yield operator
        finally:
            operator.kill()


class Operator:
    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        """Start it again if it has ended by itself, as the kubelet would: one that cannot renew its
        lease in time does."""
        if self.process and self.process.poll() is not None:
            self.start()

    def start(self) -> None:
        with (ROOT / ".cluster/logs/operator-of-the-tests.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", MAIN, "{}"], env=self.env, stderr=log
            )

    def kill(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None
