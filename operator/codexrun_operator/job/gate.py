"""The gate's container: the native sidecar that holds the model's key, meters and refuses. Pure."""

from typing import Any

from codexrun_core.codex import efforts
from codexrun_core.pod_contract import (
    GATE_ENV,
    GATE_PORT,
    GATE_STATE_FOLDER,
    GATE_STOPPING_FILE,
    INGEST_AUDIENCE,
    INGEST_TOKEN_FILE,
    INGEST_TOKEN_FOLDER,
    MODEL_CA_FILE,
    MODEL_CA_FOLDER,
    MODEL_KEY_FILE,
    MODEL_KEY_FOLDER,
)
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_operator.decide.validation import Accepted
from codexrun_operator.job.container_parts import (
    GATE_UID,
    empty_dir,
    env_json,
    locked_down,
    mount,
    output_schema,
)
from codexrun_operator.settings import PodSettings

# the whole log (64 MiB) and the artifacts (49 MiB) while the api is away, and some air
STATE_BYTES = 160 * 1024**2
INGEST_TOKEN_SECONDS = 3600


def key_secret(job_type: CodexJobType, settings: PodSettings) -> str:
    """Return the Secret with the model's key: the team's own, else the installation's; "" for
    none."""
    own = job_type.spec.model_secret_ref
    return own.name if own else settings.model_secret


def _allowed_efforts(job_type: CodexJobType, accepted: Accepted) -> list[str] | None:
    """Return the job type's list; with the models' defaults where nobody has named an effort, so
    that Codex uses one of them."""
    listed = job_type.spec.allowed_efforts
    if not listed or accepted.effort:
        return listed
    return [*listed, *(effort for effort in efforts.DEFAULTS if effort not in listed)]


def container(
    run: CodexRun, job_type: CodexJobType, accepted: Accepted, attempt: int, settings: PodSettings
) -> dict[str, Any]:
    model = settings.model
    config = {
        "runId": run.metadata.uid,
        "jobType": run.spec.job_type,
        "attempt": attempt,
        "upstreamURL": settings.upstream_url,
        "authHeader": model.auth_header if model.auth_header != "Authorization" else None,
        "queryParams": model.query_params or None,
        "caBundle": True if model.ca_config_map else None,
        "proxy": model.proxy or None,
        "port": GATE_PORT,
        "models": [accepted.model],
        "allowedEfforts": _allowed_efforts(job_type, accepted),
        "allowedTools": job_type.spec.usable_tools,
        "maxTokens": accepted.limits.max_tokens,
        "maxCostCents": accepted.limits.max_cost_cents,
        "maxOutputTokens": accepted.max_output_tokens,
        "stallSeconds": accepted.limits.stall_seconds,
        "prices": accepted.prices,
        "priceTable": accepted.price_table,
        "ingestURL": settings.ingest_url or None,
    }
    mounts = [mount("gate-state", GATE_STATE_FOLDER)]
    if settings.ingest_url:
        mounts.append(mount("ingest-token", INGEST_TOKEN_FOLDER, read_only=True))
    if key_secret(job_type, settings):
        mounts.append(mount("model-key", MODEL_KEY_FOLDER, read_only=True))
    if model.ca_config_map:
        mounts.append(mount("model-ca", MODEL_CA_FOLDER, read_only=True))
    return {
        "name": "gate",
        "image": settings.control_image,
        "imagePullPolicy": settings.pull_policy,
        "restartPolicy": "Always",
        "command": ["python3", "-m", "codexrun_pod.gate"],
        "env": [
            {
                "name": GATE_ENV,
                "value": env_json(
                    {key: value for key, value in config.items() if value is not None}
                ),
            },
            *output_schema(job_type),
        ],
        # Runs at the start of a deletion, while the agent still ends: no new request may begin
        # then.
        "lifecycle": {
            "preStop": {"exec": {"command": ["touch", f"{GATE_STATE_FOLDER}/{GATE_STOPPING_FILE}"]}}
        },
        "resources": settings.gate_resources,
        "securityContext": locked_down(GATE_UID),
        "volumeMounts": mounts,
    }


def volumes(job_type: CodexJobType, settings: PodSettings) -> list[dict[str, Any]]:
    sources = [empty_dir("gate-state", STATE_BYTES)]
    if settings.ingest_url:
        # Bound to the pod: the api sees in a TokenReview which one it is. The mode, because the
        # gate's user is not root.
        token = {
            "audience": INGEST_AUDIENCE,
            "expirationSeconds": INGEST_TOKEN_SECONDS,
            "path": INGEST_TOKEN_FILE,
        }
        sources.append(
            {
                "name": "ingest-token",
                "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 0o444},
            }
        )
    if secret := key_secret(job_type, settings):
        items = [{"key": "api-key", "path": MODEL_KEY_FILE}]
        sources.append(
            {
                "name": "model-key",
                "secret": {"secretName": secret, "items": items, "defaultMode": 0o444},
            }
        )
    if settings.model.ca_config_map:
        items = [{"key": settings.model.ca_key, "path": MODEL_CA_FILE}]
        sources.append(
            {
                "name": "model-ca",
                "configMap": {"name": settings.model.ca_config_map, "items": items},
            }
        )
    return sources
