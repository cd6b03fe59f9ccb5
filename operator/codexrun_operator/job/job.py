"""Build a run's Job. Pure; docs/architecture.md has the rules, tests hold them to
restricted Pod Security."""

import json
from typing import Any

from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.runs.annotations import ADMITTED_WITH
from codexrun_core.runs.label_keys import (
    ATTEMPT_LABEL,
    JOB_TYPE_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    QUEUE_NAME_LABEL,
    RUN_NAME_LABEL,
    RUN_UID_LABEL,
    job_name,
)
from codexrun_operator.decide.validation import Accepted
from codexrun_operator.job import agent, clone, gate
from codexrun_operator.settings import PodSettings

GRACE_SECONDS = 45  # runner done in 15 s, gate's last words in 20 s, and some air
BACKSTOP_SECONDS = 60
LOST_NODE_SECONDS = 60


# For cluster-autoscaler and Karpenter: an agent's work is lost with its pod, so that a node that
# they could save waits for its end. A job type's podTemplate.annotations may say otherwise.
KEEP_ON_NODE = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


def labels(run: CodexRun, attempt: int) -> dict[str, str]:
    """Return codexrun's own labels of Job and pod."""
    return {
        MANAGED_BY_LABEL: MANAGER,
        "app.kubernetes.io/name": "codexrun-run",
        RUN_NAME_LABEL: run.metadata.name,
        RUN_UID_LABEL: run.metadata.uid,
        JOB_TYPE_LABEL: run.spec.job_type,
        ATTEMPT_LABEL: str(attempt),
    }


def propagated_labels(run: CodexRun, job_type: CodexJobType) -> dict[str, str]:
    """Return the run's own labels that its job type names."""
    keys = job_type.spec.propagate_labels or []
    return {key: run.metadata.labels[key] for key in keys if key in run.metadata.labels}


def build_job(
    run: CodexRun, job_type: CodexJobType, accepted: Accepted, attempt: int, settings: PodSettings
) -> dict[str, Any]:
    """Build the batch/v1 Job of one attempt."""
    limits = accepted.limits
    start = (limits.start_seconds or 0) + clone.start_seconds(run, job_type)
    timeout = limits.timeout_seconds or 0
    pod_deadline = start + timeout + GRACE_SECONDS
    queue = job_type.spec.queue_name
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run.metadata.name, run.metadata.uid, attempt),
            "namespace": run.metadata.namespace,
            "labels": {
                **propagated_labels(run, job_type),
                **labels(run, attempt),
                **({QUEUE_NAME_LABEL: queue} if queue else {}),
            },
            "annotations": {
                ADMITTED_WITH: json.dumps(
                    {
                        "startSeconds": start,
                        "prompt": accepted.prompt.dump(),
                        "model": accepted.model,
                        "sandbox": job_type.spec.sandbox,
                    }
                )
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
            # Never a second pod, and a pod on a dead node can still be freed by force; with
            # `Failed` it could not (KEP-3939).
            "podReplacementPolicy": "TerminatingOrFailed",
            # The backstop: it deletes the pod with its evidence, so the runner's and the pod's own
            # clocks are shorter.
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
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "initContainers": [
                        *clone.containers(run, job_type, settings),
                        gate.container(run, job_type, accepted, attempt, settings),
                    ],
                    "containers": [agent.container(run, job_type, accepted, attempt, settings)],
                    "volumes": [
                        *agent.volumes(job_type, accepted),
                        *gate.volumes(job_type, settings),
                        *clone.volumes(run, job_type, settings),
                    ],
                },
            },
        },
    }


def _pod_metadata(run: CodexRun, job_type: CodexJobType, attempt: int) -> dict[str, Any]:
    template = job_type.spec.pod_template
    return {
        "labels": {
            **propagated_labels(run, job_type),
            **((template and template.labels) or {}),
            **labels(run, attempt),
        },
        "annotations": {
            **KEEP_ON_NODE,
            **((template and template.annotations) or {}),
            **agent.annotations(job_type),
        },
    }


def _placement(job_type: CodexJobType, settings: PodSettings) -> dict[str, Any]:
    template = job_type.spec.pod_template.dump() if job_type.spec.pod_template else {}
    secrets = [
        *template.get("imagePullSecrets", []),
        *({"name": name} for name in settings.pull_secrets),
    ]
    # A lost node is given up after a minute instead of the default five.
    tolerations = [
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
        "tolerations": [*template.get("tolerations", []), *tolerations],
    }
    return {key: value for key, value in placement.items() if value is not None}
