"""The agent's container: runner and Codex, untrusted. Pure."""

import base64
import json
from typing import Any

from codexrun_core.codex import policy as codex_policy
from codexrun_core.pod_contract import (
    AGENT_HOME,
    CODEX_FOLDER,
    GATE_PORT,
    INPUTS_ENV,
    PROMPT_FOLDER,
    RUN_ENV,
    RUNNER,
    WORKSPACE,
)
from codexrun_core.prompts.stored import TEXT_KEY
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.codexjobtype import EnvVar
from codexrun_core.runs.annotations import CODEX_REQUIREMENTS
from codexrun_operator.decide.validation import Accepted
from codexrun_operator.job.container_parts import (
    AGENT_UID,
    GIB,
    empty_dir,
    env_json,
    locked_down,
    mount,
    output_schema,
    projected,
    quantity,
    shared_memory,
    size_bytes,
    size_text,
)
from codexrun_operator.settings import PodSettings

DEFAULT_RESOURCES = {
    "requests": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
    "limits": {"memory": "2Gi"},
}
# beside the directories: the container's log, and what lies in its image's writable layer
OTHER_BYTES = 2 * GIB


def container(
    run: CodexRun, job_type: CodexJobType, accepted: Accepted, attempt: int, settings: PodSettings
) -> dict[str, Any]:
    spec = job_type.spec
    variables = spec.env or []
    resources = _resources(job_type)
    sizes = spec.sizes
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
        "workspaceBytes": size_bytes(sizes.workspace),
        "homeBytes": size_bytes(sizes.home),
        "tmpBytes": size_bytes(sizes.tmp),
        "diskBytes": quantity(resources["limits"]["ephemeral-storage"]),
        "maskEnv": [variable.name for variable in variables if variable.secret],
        "git": run.spec.workspace is not None,
        "resume": bool(run.spec.retry_of and run.spec.retry_of.resume),
        "allowedTools": spec.usable_tools,
        "mcpServers": [server.dump() for server in spec.mcp_servers or []],
        "sandbox": spec.sandbox,
        "maxAgentsMdBytes": spec.max_agents_md_bytes,
    }
    inputs = json.dumps(accepted.inputs, ensure_ascii=False).encode()
    return {
        "name": "agent",
        "image": spec.image or settings.agent_image,
        "imagePullPolicy": settings.agent_pull_policy,
        "command": [RUNNER],
        "workingDir": WORKSPACE,
        "env": [
            {"name": RUN_ENV, "value": env_json(config)},
            {"name": INPUTS_ENV, "value": base64.b64encode(inputs).decode()},
            *output_schema(job_type),
            {"name": "HOME", "value": AGENT_HOME},
            *(_variable(variable) for variable in variables),
        ],
        "resources": resources,
        "securityContext": locked_down(AGENT_UID),
        "volumeMounts": [
            mount("agent-files", PROMPT_FOLDER, read_only=True),
            mount("agent-files", CODEX_FOLDER, read_only=True),
            mount("workspace", WORKSPACE),
            mount("home", AGENT_HOME),
            mount("tmp", "/tmp"),
            *([mount("shared-memory", "/dev/shm")] if sizes.shared_memory else []),
        ],
    }


def annotations(job_type: CodexJobType) -> dict[str, str]:
    """Return the pod's annotations."""
    return {
        CODEX_REQUIREMENTS: codex_policy.requirements(
            job_type.spec.usable_tools, job_type.spec.sandbox
        )
    }


def volumes(job_type: CodexJobType, accepted: Accepted) -> list[dict[str, Any]]:
    prompt = accepted.prompt
    # Its text alone: whatever else is in the ConfigMap would be configuration of Codex.
    text = {
        "name": f"prompt-{prompt.name}-{prompt.version}",
        "items": [{"key": TEXT_KEY, "path": TEXT_KEY}],
    }
    sizes = job_type.spec.sizes
    policy = {
        "path": "requirements.toml",
        "fieldRef": {"fieldPath": f"metadata.annotations['{CODEX_REQUIREMENTS}']"},
    }
    return [
        projected("agent-files", {"configMap": text}, {"downwardAPI": {"items": [policy]}}),
        empty_dir("workspace", size_bytes(sizes.workspace)),
        empty_dir("home", size_bytes(sizes.home)),
        empty_dir("tmp", size_bytes(sizes.tmp)),
        *([shared_memory(size_bytes(sizes.shared_memory))] if sizes.shared_memory else []),
    ]


def _variable(variable: EnvVar) -> dict[str, Any]:
    """Return the variable as a container has it; the kubelet would expand `$(X)` and `$$`."""
    if variable.value is None:
        return variable.dump()
    return {"name": variable.name, "value": variable.value.replace("$", "$$")}


def _resources(job_type: CodexJobType) -> dict[str, Any]:
    """Return the job type's resources, and defaults that fit them: a request above its limit would
    be refused."""
    resources = job_type.spec.resources.dump() if job_type.spec.resources else {}
    requests = resources.get("requests", {})
    limits = resources.get("limits", {})
    sizes = job_type.spec.sizes
    directories = sum(size_bytes(size) for size in (sizes.workspace, sizes.home, sizes.tmp))
    default_limits = {
        **DEFAULT_RESOURCES["limits"],
        "ephemeral-storage": size_text(directories + OTHER_BYTES),
    }
    return {
        # A limit alone is its own request; the apiserver fills that in.
        "requests": {
            **{
                key: value
                for key, value in DEFAULT_RESOURCES["requests"].items()
                if key not in limits
            },
            **requests,
        },
        "limits": {
            **{key: requests.get(key, value) for key, value in default_limits.items()},
            **limits,
        },
    }
