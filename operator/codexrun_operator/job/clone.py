"""The container that fetches a Git workspace: the only container that sees Git credentials.
Pure."""

from typing import Any

from codexrun_core.pod_contract import (
    CLONE_ENV,
    GIT_CA_FILE,
    GIT_CA_FOLDER,
    GIT_CREDENTIALS_FOLDER,
    WORKSPACE,
)
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_operator.job.container_parts import AGENT_UID, empty_dir, env_json, locked_down, mount
from codexrun_operator.settings import PodSettings

RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "9Gi"},
}


def containers(
    run: CodexRun, job_type: CodexJobType, settings: PodSettings
) -> list[dict[str, Any]]:
    """Return the init container that clones; none for a run without a workspace."""
    if run.spec.workspace is None or job_type.spec.git is None:
        return []
    git = run.spec.workspace.git
    mounts = [mount("workspace", WORKSPACE), mount("clone-home", "/tmp")]
    if job_type.spec.git.credentials_secret_ref:
        mounts.append(mount("git-credentials", GIT_CREDENTIALS_FOLDER, read_only=True))
    environment = [{"name": "HOME", "value": "/tmp"}]
    if settings.git.ca_config_map:
        mounts.append(mount("git-ca", GIT_CA_FOLDER, read_only=True))
        environment.append({"name": "GIT_SSL_CAINFO", "value": f"{GIT_CA_FOLDER}/{GIT_CA_FILE}"})
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
                        {
                            "url": git.url,
                            "ref": git.ref,
                            "allowedURLs": job_type.spec.git.allowed_urls,
                            **({"proxy": settings.git.proxy} if settings.git.proxy else {}),
                        }
                    ),
                },
                *environment,
            ],
            "resources": RESOURCES,
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
    return result
