"""`codexrun doctor --probe`: one tiny request through a gate, by a run of a job type of its own.

Prompt, job type and run are deleted afterwards.
"""

import contextlib
import hashlib
import time
from typing import Any

from codexrun_cli.doctor.findings import Json, failed, note, ok
from codexrun_cli.errors import CommandError
from codexrun_core.resources.phases import TERMINAL_PHASES
from codexrun_core.runs.annotations import PROMPT_SHA256
from codexrun_core.runs.label_keys import PROMPT_LABEL, PROMPT_VERSION_LABEL

NAME = "codexrun-probe"
# The second line is for the demo model.
PROMPT = "Answer with one word: ready.\nscenario: message\n"
MAX_TOKENS = 100_000
SECONDS = 240  # until it has to be over
POLL_SECONDS = 1.0


def probe(transport: Any, job_types: list[Json]) -> Json:
    """Start a run and wait for its end; model and key are those of the first job type."""
    if not job_types:
        return note(
            "probe",
            "no request was sent: the probe uses the model of a job type, and there are no job"
            " types",
        )
    kube = transport.kube
    call = transport.loop.call
    name = f"{NAME}-{int(time.time())}"
    folders = (kube.config_maps, kube.job_types, kube.runs)
    made: list[tuple[str, str]] = []  # path and uid
    try:
        for folder, body in zip(folders, manifests(name, job_types[0]["spec"]), strict=True):
            metadata = call(kube.create(folder, body))["metadata"]
            made.append((f"{folder}/{metadata['name']}", metadata["uid"]))
        return verdict(_end_of(transport, name), job_types[0]["spec"]["model"], kube.namespace)
    except CommandError as error:
        return failed(
            "probe",
            f"the run of the probe cannot be created or followed: {error.detail}",
            f"kubectl auth can-i create codexjobtypes.codexrun.dev -n {kube.namespace}",
        )
    finally:
        for path, uid in reversed(made):
            with contextlib.suppress(CommandError):
                call(kube.delete(path, uid=uid))


def manifests(name: str, spec: Json) -> tuple[Json, Json, Json]:
    """Return prompt, job type and run of a probe. Pure. spec: of a job type whose way to the model
    it takes."""
    sha256 = hashlib.sha256(PROMPT.encode()).hexdigest()
    prompt: Json = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"prompt-{name}-v1",
            "labels": {PROMPT_LABEL: name, PROMPT_VERSION_LABEL: "v1"},
            "annotations": {PROMPT_SHA256: sha256},
        },
        "immutable": True,
        "data": {"prompt.md": PROMPT},
    }
    way = {
        key: spec[key]
        for key in ("model", "effort", "maxOutputTokens", "modelSecretRef", "resources")
        if key in spec
    }
    job_type: Json = {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexJobType",
        "metadata": {"name": name},
        "spec": {
            **way,
            "description": "What `codexrun doctor --probe` starts.",
            "prompt": {"name": name, "version": "v1", "sha256": sha256},
            "allowedTools": [],
            "limits": {
                "maxTokens": MAX_TOKENS,
                "timeoutSeconds": 120,
                "stallSeconds": 60,
                "startSeconds": 120,
            },
        },
    }
    run: Json = {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexRun",
        "metadata": {"name": name},
        "spec": {"jobType": name},
    }
    return prompt, job_type, run


def verdict(run: Json, model: str, namespace: str) -> Json:
    """Judge how the probe ended. Pure."""
    status = run.get("status") or {}
    phase = status.get("phase", "Pending")
    if phase == "Succeeded":
        tokens = (status.get("usage") or {}).get("totalTokens", 0)
        return ok("probe", f"{model} answered through a gate ({tokens} tokens)")
    failure = status.get("failure") or {}
    cause = failure.get("message") or status.get("message") or "no further details"
    class_ = f" ({failure['class']})" if failure.get("class") else ""
    return failed(
        "probe",
        f"{model}: the run of the probe has the phase {phase}{class_}: {cause}",
        f"kubectl get events -n {namespace} --sort-by=.lastTimestamp",
    )


def _end_of(transport: Any, name: str) -> Json:
    deadline = time.monotonic() + SECONDS
    while True:
        run: Json = transport.loop.call(transport.kube.get(f"{transport.kube.runs}/{name}"))
        phase = (run.get("status") or {}).get("phase")
        if phase in TERMINAL_PHASES or time.monotonic() > deadline:
            return run
        time.sleep(POLL_SECONDS)
