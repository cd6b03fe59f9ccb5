"""What simulated pods go through, as stages of kwok: a pod runs at once and succeeds a second
later.

One with the annotation HELD runs until that says `over`. One that is stopped, or deleted, ends as a
container does that obeys SIGTERM. The containers of codexrun end with the termination messages that
the code of runner and gate writes.
"""

import json
from pathlib import Path
from typing import Any

from codexrun_core.prices.table import built_in
from codexrun_core.times import now
from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account
from codexrun_pod.gate.cost import Price
from codexrun_pod.gate.usage import Usage
from codexrun_pod.runner.codex.progress import Progress
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.termination_report import TerminationReport

Json = dict[str, Any]

MODEL = "gpt-5.5"
API_VERSION = "kwok.x-k8s.io/v1alpha1"
POD_SECONDS = 1.0
STOP_SECONDS = 0.1
# The time in statuses: kwok plays a stage twice when it is behind, and the same status once more
# changes nothing, so that nobody hears of it.
CREATION = ".metadata.creationTimestamp"
HELD = "simulation/held"
# Of pods whose kubelet the measurement plays itself.
PLAYED = "simulation/played"

NODE_READY = """\
{{ $now := Now | Quote }}
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ $now }}
  lastTransitionTime: {{ $now }}
{{ end }}
addresses:
- {address: {{ NodeIP | Quote }}, type: InternalIP}
phase: Running
"""

CONTAINER = """\
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  restartCount: 0
"""
RUNNING_CONTAINER = (
    CONTAINER
    + """\
  ready: true
  started: true
  state: {running: {startedAt: {{ $now }}}}
"""
)
# @...@ is filled in by `ended_container`.
ENDED_CONTAINER = (
    CONTAINER
    + """\
  ready: false
  started: false
  state:
    terminated:
      exitCode: @CODE@
      reason: @REASON@
      startedAt: {{ $now }}
      finishedAt: {{ $now }}
      {{ if eq .name "agent" }}message: {{ `@RUNNER@` | Quote }}{{ end }}
      {{ if eq .name "gate" }}message: {{ `@GATE@` | Quote }}{{ end }}
"""
)
POD_RUNNING = """\
conditions:
{{ range $type := list "PodReadyToStartContainers" "Initialized" "Ready" "ContainersReady" }}
- {lastTransitionTime: {{ $now }}, status: "True", type: {{ $type }}}
{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
phase: Running
startTime: {{ $now }}
"""


def kwok_configuration(folder: Path) -> str:
    """Return kwok's file; `folder` is for what the runner's code writes."""
    success = pod_status(
        "Succeeded", ended_container(0, runner_message(folder), gate_message()), now=CREATION
    )
    stopped = ended_container(143, runner_message(folder, "signal"), gate_message(cut_short=True))
    alive = [absent(".metadata.deletionTimestamp")]
    deleted = [present(".metadata.deletionTimestamp")]
    running = [*alive, within(".status.phase", "Running")]
    deadline = ".spec.activeDeadlineSeconds | tostring"
    stop = str(STOP_DEADLINE_SECONDS)
    goes_on = [*running, without(deadline, stop)]
    parallelism = {"podPlayStageParallelism": 16, "nodePlayStageParallelism": 4}
    documents = [
        {
            "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
            "kind": "KwokConfiguration",
            "options": parallelism,
        },
        stage(
            "node-ready",
            [without('.status.conditions.[] | select(.type == "Ready") | .status', "True")],
            {"statusTemplate": NODE_READY},
            kind="Node",
        ),
        stage(
            "running",
            [*alive, absent(annotation(PLAYED)), absent(".status.podIP")],
            {"statusTemplate": pod_running()},
        ),
        stage(
            "succeeded",
            [*goes_on, absent(annotation(HELD))],
            {"statusTemplate": success},
            seconds=POD_SECONDS,
        ),
        stage(
            "let-go",
            [*goes_on, within(annotation(HELD), "over")],
            {"statusTemplate": success},
        ),
        stage(
            "stopped",
            [*running, within(deadline, stop)],
            {"statusTemplate": pod_status("Failed", stopped) + "reason: DeadlineExceeded\n"},
            seconds=STOP_SECONDS,
        ),
        stage(
            "terminated",
            [*deleted, within(".status.phase", "Pending", "Running")],
            {"statusTemplate": pod_status("Failed", stopped)},
            seconds=STOP_SECONDS,
        ),
        # The Job controller's finalizer goes when it has counted the pod.
        stage(
            "removed",
            [
                *deleted,
                within(".status.phase", "Failed", "Succeeded"),
                absent(".metadata.finalizers"),
            ],
            {"delete": True},
        ),
    ]
    return "---\n".join(json.dumps(document) + "\n" for document in documents)


def stage(
    name: str,
    requirements: list[Json],
    change: Json,
    *,
    kind: str = "Pod",
    seconds: float = 0.0,
) -> Json:
    """Return a stage: what meets all requirements gets the change, after so many seconds."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": requirements},
            "delay": {"durationMilliseconds": round(seconds * 1000)},
            "next": change,
        },
    }


def annotation(key: str) -> str:
    return f'.metadata.annotations["{key}"]'


def within(key: str, *values: str) -> Json:
    return {"key": key, "operator": "In", "values": list(values)}


def without(key: str, *values: str) -> Json:
    return {"key": key, "operator": "NotIn", "values": list(values)}


def present(key: str) -> Json:
    return {"key": key, "operator": "Exists"}


def absent(key: str) -> Json:
    return {"key": key, "operator": "DoesNotExist"}


def pod_running() -> str:
    # The gate runs beside the agent; any other init container has ended.
    init = (
        '{{ if eq .name "gate" }}\n'
        f"{RUNNING_CONTAINER}"
        "{{ else }}\n"
        f"{ended_container(0, '', '')}"
        "{{ end }}\n"
    )
    return status(POD_RUNNING, init, RUNNING_CONTAINER, now=CREATION)


def pod_status(phase: str, container: str, *, now: str = "Now") -> str:
    """Return the status of a pod whose containers are all in the same state."""
    return status(f"phase: {phase}\n", container, container, now=now)


def status(head: str, init_container: str, container: str, *, now: str) -> str:
    return (
        f"{{{{ $now := {now} | Quote }}}}\n"
        f"{head}"
        "initContainerStatuses:\n"
        "{{ range .spec.initContainers }}\n"
        f"{init_container}"
        "{{ end }}\n"
        "containerStatuses:\n"
        "{{ range .spec.containers }}\n"
        f"{container}"
        "{{ end }}\n"
    )


def ended_container(code: int, runner: str, gate: str) -> str:
    return (
        ENDED_CONTAINER.replace("@CODE@", str(code))
        .replace("@REASON@", "Error" if code else "Completed")
        .replace("@RUNNER@", runner)
        .replace("@GATE@", gate)
    )


def runner_message(folder: Path, stopped: str | None = None) -> str:
    """Return what a runner says of a Codex that succeeded, or was `stopped`."""
    progress = Progress(
        thread_id="01a223bf-549f-7a30-85ca-0c435917ae7e",
        turns=1,
        commands=1,
        turn_completed=stopped is None,
        final_message="" if stopped else "The change is in place, and the tests pass.",
    )
    path = folder / "runner-message"
    code = None if stopped else 0
    TerminationReport(str(path), Log()).write("done", progress, code=code, stopped=stopped)
    return path.read_text()


def gate_message(*, cut_short: bool = False) -> str:
    """Return what a gate says of two responses of the model."""
    account = Account(
        requests=2,
        completed=2,
        usage=Usage(input=14601, cached=7168, output=94, reasoning=31, total=14695),
        pico_usd=43_569_000_000,
        cut_short=cut_short,
    )
    table = built_in().on(now().date())
    prices = {model: Price.from_json(price) for model, price in table.for_gate(MODEL).items()}
    return meter.message(account, prices, table.version).decode()
