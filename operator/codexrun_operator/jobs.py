"""What does a run's Job look like? Pure; docs/architecture.md has the rules, tests hold them to restricted Pod Security."""

import base64
import json
from typing import Any

from codexrun_core import job_names
from codexrun_core.prices import PRICES, prices_for
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_operator.judge import Accepted
from codexrun_operator.seen import (
    ADMITTED,
    ATTEMPT_LABEL,
    JOB_TYPE_LABEL,
    MANAGED_BY,
    RUN_LABEL,
    RUN_UID_LABEL,
)
from codexrun_operator.settings import PodSettings

GRACE_SECONDS = 45  # runner done in 15 s, gate's last words in 20 s, and some air
BACKSTOP_SECONDS = 60
LOST_NODE_SECONDS = 60
GATE_PORT = 8390
GIB = 1024**3
WORKSPACE_BYTES, HOME_BYTES, TMP_BYTES = 8 * GIB, 2 * GIB, 2 * GIB
AGENT_UID, GATE_UID = 10001, 10002
GATE_STATE_BYTES = 160 * 1024**2  # the whole log (64 MiB) and the artifacts (49 MiB) while the api is away, and some air
INGEST_AUDIENCE, INGEST_TOKEN_SECONDS = "codexrun-api", 3600

DEFAULT_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
    "limits": {"memory": "2Gi", "ephemeral-storage": "14Gi"},
}
GATE_RESOURCES = {
    "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "16Mi"},
    "limits": {"memory": "256Mi", "ephemeral-storage": "384Mi"},
}
CLONE_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "9Gi"},
}


def job_name(run: CodexRun, attempt: int) -> str:
    """As the api knows it too."""
    return job_names.job_name(run.metadata.name, run.metadata.uid, attempt)


def labels(run: CodexRun, attempt: int) -> dict[str, str]:
    return {
        MANAGED_BY: "codexrun",
        "app.kubernetes.io/name": "codexrun-run",
        RUN_LABEL: run.metadata.name,
        RUN_UID_LABEL: run.metadata.uid,
        JOB_TYPE_LABEL: run.spec.job_type,
        ATTEMPT_LABEL: str(attempt),
    }


def env_json(value: Any) -> str:
    """JSON for an environment variable. Every `$` is escaped: the kubelet would expand `$(X)` and `$$`."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("$", "\\u0024")


def build_job(run: CodexRun, job_type: CodexJobType, accepted: Accepted, attempt: int, settings: PodSettings) -> dict[str, Any]:
    """The batch/v1 Job of one attempt."""
    limits = accepted.limits
    start, timeout = limits.start_seconds or 0, limits.timeout_seconds or 0
    pod_deadline = start + timeout + GRACE_SECONDS
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run, attempt),
            "namespace": run.metadata.namespace,
            "labels": labels(run, attempt),
            "annotations": {
                ADMITTED: json.dumps({"startSeconds": start, "prompt": accepted.prompt.dump(), "model": accepted.model})
            },
            "ownerReferences": [
                {
                    "apiVersion": run.api_version,
                    "kind": run.kind,
                    "name": run.metadata.name,
                    "uid": run.metadata.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            # Never a second pod, and a pod on a dead node can still be freed by force; with `Failed` it could not (KEP-3939).
            "podReplacementPolicy": "TerminatingOrFailed",
            # The backstop: it deletes the pod with its evidence, so the runner's and the pod's own clocks are shorter.
            "activeDeadlineSeconds": pod_deadline + start + BACKSTOP_SECONDS,
            "ttlSecondsAfterFinished": settings.job_ttl_seconds,
            "template": {
                "metadata": _pod_metadata(run, job_type, attempt),
                "spec": {
                    **_placement(job_type, settings),
                    "activeDeadlineSeconds": pod_deadline,
                    "terminationGracePeriodSeconds": GRACE_SECONDS,
                    "restartPolicy": "Never",
                    "serviceAccountName": settings.service_account,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "initContainers": [
                        *_clone(run, job_type, settings),
                        _gate(run, accepted, attempt, settings),
                    ],
                    "containers": [_agent(run, job_type, accepted, attempt, settings)],
                    "volumes": _volumes(run, job_type, accepted, settings),
                },
            },
        },
    }


def _pod_metadata(run: CodexRun, job_type: CodexJobType, attempt: int) -> dict[str, Any]:
    template = job_type.spec.pod_template
    metadata: dict[str, Any] = {"labels": {**((template and template.labels) or {}), **labels(run, attempt)}}
    if template and template.annotations:
        metadata["annotations"] = template.annotations
    return metadata


def _placement(job_type: CodexJobType, settings: PodSettings) -> dict[str, Any]:
    template = job_type.spec.pod_template.dump() if job_type.spec.pod_template else {}
    secrets = [*template.get("imagePullSecrets", []), *({"name": name} for name in settings.pull_secrets)]
    # A lost node is given up after a minute instead of the default five.
    lost = [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": LOST_NODE_SECONDS,
        }
        for state in ("not-ready", "unreachable")
    ]
    placement: dict[str, Any] = {
        "nodeSelector": template.get("nodeSelector"),
        "priorityClassName": template.get("priorityClassName"),
        "runtimeClassName": job_type.spec.runtime_class_name,
        "imagePullSecrets": secrets or None,
        "tolerations": [*template.get("tolerations", []), *lost],
    }
    return {key: value for key, value in placement.items() if value is not None}


def _locked_down(uid: int) -> dict[str, Any]:
    """Restricted Pod Security, and a read-only root besides."""
    return {
        "runAsUser": uid,
        "runAsGroup": uid,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def _clone(run: CodexRun, job_type: CodexJobType, settings: PodSettings) -> list[dict[str, Any]]:
    if run.spec.workspace is None or job_type.spec.git is None:
        return []
    git = run.spec.workspace.git
    mounts = [_mount("workspace", "/workspace"), _mount("clone-home", "/tmp")]
    if job_type.spec.git.credentials_secret_ref:
        mounts.append(_mount("git-credentials", "/var/run/codexrun/git", read_only=True))
    return [
        {
            "name": "clone",
            "image": settings.control_image,
            "imagePullPolicy": settings.pull_policy,
            "command": ["python3", "-m", "codexrun_pod.clone"],
            "env": [
                {
                    "name": "CODEXRUN_CLONE",
                    "value": env_json({"url": git.url, "ref": git.ref, "allowedURLs": job_type.spec.git.allowed_urls}),
                },
                {"name": "HOME", "value": "/tmp"},
            ],
            "resources": CLONE_RESOURCES,
            # The agent's uid, or Git would call the repository's ownership dubious.
            "securityContext": _locked_down(AGENT_UID),
            "volumeMounts": mounts,
        }
    ]


def _gate(run: CodexRun, accepted: Accepted, attempt: int, settings: PodSettings) -> dict[str, Any]:
    config = {
        "runId": run.metadata.uid,
        "jobType": run.spec.job_type,
        "attempt": attempt,
        "upstreamURL": settings.upstream_url,
        "port": GATE_PORT,
        "models": [accepted.model],
        "maxTokens": accepted.limits.max_tokens,
        "prices": prices_for(accepted.model),
        "priceTable": PRICES.version,
    }
    mounts = [_mount("gate-state", "/var/lib/codexrun-gate")]
    if settings.ingest_url:
        config["ingestURL"] = settings.ingest_url
        mounts.append(_mount("ingest-token", "/var/run/codexrun/ingest", read_only=True))
    if settings.model_secret:
        mounts.append(_mount("model-key", "/var/run/codexrun/model", read_only=True))
    return {
        "name": "gate",
        "image": settings.control_image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",
        "command": ["python3", "-m", "codexrun_pod.gate"],
        "env": [{"name": "CODEXRUN_GATE", "value": env_json(config)}],
        # Runs at the start of a deletion, while the agent still ends: no new request may begin then.
        "lifecycle": {"preStop": {"exec": {"command": ["touch", "/var/lib/codexrun-gate/stopping"]}}},
        "resources": GATE_RESOURCES,
        "securityContext": _locked_down(GATE_UID),
        "volumeMounts": mounts,
    }


def _agent(run: CodexRun, job_type: CodexJobType, accepted: Accepted, attempt: int, settings: PodSettings) -> dict[str, Any]:
    secrets = job_type.spec.env or []
    config = {
        "runId": run.metadata.uid,
        "name": run.metadata.name,
        "namespace": run.metadata.namespace,
        "jobType": run.spec.job_type,
        "attempt": attempt,
        "prompt": accepted.prompt.dump(),
        "model": accepted.model,
        "effort": accepted.effort,
        "timeoutSeconds": accepted.limits.timeout_seconds,
        "stallSeconds": accepted.limits.stall_seconds,
        "gatePort": GATE_PORT,
        "workspaceBytes": WORKSPACE_BYTES,
        "homeBytes": HOME_BYTES,
        "tmpBytes": TMP_BYTES,
        "maskEnv": [variable.name for variable in secrets],
        "git": run.spec.workspace is not None,
        "resume": bool(run.spec.retry_of and run.spec.retry_of.resume),
    }
    inputs = json.dumps(accepted.inputs, ensure_ascii=False).encode()
    return {
        "name": "agent",
        "image": job_type.spec.image or settings.agent_image,
        "imagePullPolicy": settings.agent_pull_policy,
        "command": ["/opt/codexrun/bin/runner"],
        "workingDir": "/workspace",
        "env": [
            {"name": "CODEXRUN_RUN", "value": env_json(config)},
            {"name": "CODEXRUN_INPUTS", "value": base64.b64encode(inputs).decode()},
            {"name": "HOME", "value": "/home/agent"},
            *(variable.dump() for variable in secrets),
        ],
        "resources": _resources(job_type),
        "securityContext": _locked_down(AGENT_UID),
        "volumeMounts": [
            _mount("prompt", "/etc/codexrun/prompt", read_only=True),
            _mount("workspace", "/workspace"),
            _mount("home", "/home/agent"),
            _mount("tmp", "/tmp"),
        ],
    }


def _resources(job_type: CodexJobType) -> dict[str, Any]:
    """The job type's, and defaults that fit them: a request above its limit would be refused."""
    asked = job_type.spec.resources.dump() if job_type.spec.resources else {}
    requests, limits = asked.get("requests", {}), asked.get("limits", {})
    return {
        # A limit alone is its own request; the apiserver fills that in.
        "requests": {**{key: value for key, value in DEFAULT_RESOURCES["requests"].items() if key not in limits}, **requests},
        "limits": {**{key: requests.get(key, value) for key, value in DEFAULT_RESOURCES["limits"].items()}, **limits},
    }


def _empty(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "emptyDir": {"sizeLimit": str(size)}}


def _volumes(run: CodexRun, job_type: CodexJobType, accepted: Accepted, settings: PodSettings) -> list[dict[str, Any]]:
    prompt = accepted.prompt
    volumes = [
        {"name": "prompt", "configMap": {"name": f"prompt-{prompt.name}-{prompt.version}"}},
        _empty("workspace", WORKSPACE_BYTES),
        _empty("home", HOME_BYTES),
        _empty("tmp", TMP_BYTES),
        _empty("gate-state", GATE_STATE_BYTES),
    ]
    if settings.ingest_url:
        # Bound to the pod: the api sees in a TokenReview which one it is. The mode, because the gate's user is not root.
        token = {"audience": INGEST_AUDIENCE, "expirationSeconds": INGEST_TOKEN_SECONDS, "path": "token"}
        sources = [{"serviceAccountToken": token}]
        volumes.append({"name": "ingest-token", "projected": {"sources": sources, "defaultMode": 0o444}})
    if settings.model_secret:
        key = {
            "secretName": settings.model_secret,
            "items": [{"key": "api-key", "path": "api-key"}],
            "defaultMode": 0o444,
        }
        volumes.append({"name": "model-key", "secret": key})
    if run.spec.workspace and job_type.spec.git:
        volumes.append(_empty("clone-home", 64 * 1024**2))
        if reference := job_type.spec.git.credentials_secret_ref:
            volumes.append({"name": "git-credentials", "secret": {"secretName": reference.name, "defaultMode": 0o444}})
    return volumes
