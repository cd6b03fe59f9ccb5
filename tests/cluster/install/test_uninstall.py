"""What is left when a release goes under its runs: `helm uninstall`, and the deletion of the
namespace, finish by themselves in every phase of a run, with nobody there who takes anything
off."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import manifests
import pytest
from lab import Json, Lab
from own_release import delete_namespace, own_release

PROMPT = "Do it.\nscenario: shell\ncommand: {{command}}\n"
WAIT = "echo began; sleep 600"
STUBBORN = "trap '' INT TERM; echo began; while true; do sleep 0.5; done"


@dataclass(frozen=True)
class Release:
    """A release in a namespace of its own, with a run in each phase; the one in `Stopping` has a
    command that does not heed the signal, so that its pod takes its time."""

    lab: Lab  # of the release

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.lab.kubectl(*arguments, stdin=stdin).stdout

    def fill(self) -> None:
        self.apply(manifests.prompt("work", text=PROMPT))
        self.job_type("ends")
        self.job_type("waits", concurrencyLimit=1)
        self.job_type("stops")
        self.job_type("nowhere", podTemplate={"nodeSelector": {"disk": "none"}})
        self.job_type("no-image", image="codexrun.invalid/none:1")
        self.run("succeeded", "ends", "echo done")
        self.until("succeeded", "Succeeded")
        self.run("unscheduled", "nowhere", WAIT)
        self.run("pulling", "no-image", WAIT)
        self.run("running", "waits", WAIT)
        self.run("stopping", "stops", STUBBORN)
        self.until("running", "Running")
        self.run("queued", "waits", WAIT)
        self.until("queued", "Queued")
        self.until("unscheduled", "Starting")
        self.until("pulling", "Starting")
        self.until_in_a_command("running")
        self.until_in_a_command("stopping")

    def cancel(self) -> None:
        """The last thing before the release goes: the stop takes some seconds."""
        cancel = {"spec": {"cancel": {"requestedBy": "tests"}}}
        self.kubectl("patch", "cxr", "stopping", "--type=merge", "-p", json.dumps(cancel))
        self.until("stopping", "Stopping")

    def freeze_gate(self, name: str) -> None:
        """From now on its pod takes the whole of its grace, however long Helm takes."""
        gates = self.lab.gates(self.lab.get({"metadata": {"name": name}}))
        assert gates
        for gate in gates:
            os.kill(gate, signal.SIGSTOP)

    def apply(self, body: Json) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    def job_type(self, name: str, **spec: object) -> None:
        defaults = {
            "prompt": {"name": "work", "version": "v1"},
            "limits": {"timeoutSeconds": 1200, "stallSeconds": 900, "startSeconds": 900},
            "resources": {"requests": {"cpu": "20m"}},
        }
        self.apply(manifests.job_type(name, **{**defaults, **spec}))

    def run(self, name: str, job_type: str, command: str) -> None:
        self.apply(manifests.run(name, jobType=job_type, inputs={"command": command}))

    def until(self, name: str, phase: str) -> None:
        condition = f"jsonpath={{.status.phase}}={phase}"
        self.kubectl("wait", f"cxr/{name}", f"--for={condition}", "--timeout=180s")

    def until_in_a_command(self, name: str) -> None:
        self.lab.in_a_command(self.lab.get({"metadata": {"name": name}}))

    def pods(self) -> list[str]:
        """Names of the runs' pods."""
        return self.kubectl("get", "pods", "-l", "codexrun.dev/run", "-o", "name").split()


@pytest.fixture
def release(lab: Lab) -> Iterator[Release]:
    with own_release(lab, "removed") as own:
        filled = Release(own)
        filled.fill()
        yield filled


def test_a_namespace_with_runs_in_every_phase_is_deleted_by_one_command(
    lab: Lab, release: Release
) -> None:
    release.cancel()
    delete_namespace(lab, release.lab.namespace)


def test_an_uninstalled_release_leaves_nothing_that_waits_for_an_operator(
    lab: Lab, release: Release
) -> None:
    release.freeze_gate("stopping")
    release.cancel()
    lab.sh("helm", "uninstall", "codexrun", "-n", release.lab.namespace, "--wait")
    # Its containers end without an operator, and what they said is there for the next one.
    condition = "jsonpath={.status.phase}=Failed"
    selector = "-l=codexrun.dev/run=stopping"
    release.kubectl("wait", "pod", selector, f"--for={condition}", "--timeout=120s")
    shown = release.kubectl("get", "pod", selector, "-o", "json")
    (pod,) = json.loads(shown)["items"]
    (agent,) = pod["status"]["containerStatuses"]
    assert json.loads(agent["state"]["terminated"]["message"])["src"] == "runner"
    release.kubectl("delete", "cxr", "--all", "--timeout=120s")
    for name in release.pods():
        release.kubectl("wait", "--for=delete", name, "--timeout=120s")
    delete_namespace(lab, release.lab.namespace)
