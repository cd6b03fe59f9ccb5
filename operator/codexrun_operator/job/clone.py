"""The container that fetches a Git workspace: the only container that sees Git credentials.
Pure."""

from typing import Any

from codexrun_core.pod_contract import (
    CLONE_ENV,
    GIT_CA_FILE,
    GIT_CA_FOLDER,
    GIT_CREDENTIALS_FOLDER,
    INGEST_AUDIENCE,
    INGEST_TOKEN_FILE,
    INGEST_TOKEN_FOLDER,
    WORKSPACE,
)
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.codexjobtype import GitAccess
from codexrun_operator.job.container_parts import (
    AGENT_UID,
    GIB,
    account_token,
    empty_dir,
    env_json,
    locked_down,
    mount,
    projected,
    quantity,
    size_bytes,
)
from codexrun_operator.settings import PodSettings


def start_seconds(run: CodexRun, job_type: CodexJobType) -> int:
    """Return the seconds that the clone has of its own, beside limits.startSeconds."""
    git = job_type.spec.git
    if run.spec.workspace is None or git is None:
        return 0
    return git.timeout_seconds or 0


def containers(
    run: CodexRun, job_type: CodexJobType, settings: PodSettings
) -> list[dict[str, Any]]:
    """Return the init container that clones; none for a run without a workspace."""
    if run.spec.workspace is None or job_type.spec.git is None:
        return []
    git = run.spec.workspace.git
    access = job_type.spec.git
    config = {
        "url": git.url,
        "ref": git.ref,
        "allowedURLs": access.allowed_urls,
        "depth": access.depth,
        "timeoutSeconds": access.timeout_seconds,
        "ingestURL": settings.ingest_url or None,
        "proxy": settings.git.proxy or None,
    }
    mounts = [mount("workspace", WORKSPACE), mount("clone-home", "/tmp")]
    if access.credentials_secret_ref:
        mounts.append(mount("git-credentials", GIT_CREDENTIALS_FOLDER, read_only=True))
    environment = [{"name": "HOME", "value": "/tmp"}]
    if settings.git.ca_config_map:
        mounts.append(mount("git-ca", GIT_CA_FOLDER, read_only=True))
        environment.append({"name": "GIT_SSL_CAINFO", "value": f"{GIT_CA_FOLDER}/{GIT_CA_FILE}"})
    if settings.ingest_url:
        # for its log where it fails: neither gate nor runner begin then
        mounts.append(mount("ingest-token", INGEST_TOKEN_FOLDER, read_only=True))
    return [
        {
            "name": "clone",
            "image": settings.control_image,
            "imagePullPolicy": settings.pull_policy,
            "command": ["python3", "-m", "codexrun_pod.clone"],
            "env": [
                {
                    "name": CLONE_ENV,
                    "value": env_json(
                        {key: value for key, value in config.items() if value is not None}
                    ),
                },
                *environment,
            ],
            "resources": _resources(access, job_type, settings),
            # The agent's uid, or Git would call the repository's ownership dubious.
            "securityContext": locked_down(AGENT_UID),
            "volumeMounts": mounts,
        }
    ]


def volumes(run: CodexRun, job_type: CodexJobType, settings: PodSettings) -> list[dict[str, Any]]:
    if run.spec.workspace is None or job_type.spec.git is None:
        return []
    result = [empty_dir("clone-home", 64 * 1024**2)]
    if reference := job_type.spec.git.credentials_secret_ref:
        result.append(
            {
                "name": "git-credentials",
                "secret": {"secretName": reference.name, "defaultMode": 0o444},
            }
        )
    if settings.git.ca_config_map:
        items = [{"key": settings.git.ca_key, "path": GIT_CA_FILE}]
        result.append(
            {"name": "git-ca", "configMap": {"name": settings.git.ca_config_map, "items": items}}
        )
    if settings.ingest_url:
        # The gate's lies beside the model's key, which this container must not see.
        token = account_token(INGEST_AUDIENCE, INGEST_TOKEN_FILE)
        result.append(projected("ingest-token", token))
    return result


def _resources(
    git: GitAccess, job_type: CodexJobType, settings: PodSettings
) -> dict[str, dict[str, Any]]:
    """Return the installation's resources, with what the job type says: its memory, and room for
    its workspace."""
    resources = settings.clone_resources
    workspace = size_bytes(job_type.spec.sizes.workspace)
    limits = {"ephemeral-storage": str(workspace + GIB), **resources.get("limits", {})}
    requests = dict(resources.get("requests", {}))
    if git.memory is not None:
        limits["memory"] = git.memory
        asked = quantity(requests.get("memory", 0))
        if asked is not None and asked > size_bytes(git.memory):
            requests["memory"] = git.memory
    return {"requests": requests, "limits": limits}
