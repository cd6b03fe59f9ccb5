"""The gate's container: the native sidecar that holds the model's key, meters and refuses. Pure."""

from typing import Any

from codexrun_core.codex import efforts
from codexrun_core.pod_contract import (
    GATE_ENV,
    GATE_FILES_FOLDER,
    GATE_PORT,
    GATE_STATE_FOLDER,
    GATE_STOPPING_FILE,
    IDENTITY_TOKEN_FILE,
    IDENTITY_TOKEN_FOLDER,
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
    account_token,
    empty_dir,
    env_json,
    locked_down,
    mount,
    output_schema,
    projected,
)
from codexrun_operator.settings import Identity, PodSettings

# the whole log (64 MiB) and the artifacts (49 MiB) while the api is away, and some air
STATE_BYTES = 160 * 1024**2


def key_secret(job_type: CodexJobType, settings: PodSettings) -> str:
    """Return the Secret with the model's key: the team's own, else the installation's; "" for
    none."""
    own = job_type.spec.model_secret_ref
    if own:
        return own.name
    return "" if settings.model.identity else settings.model_secret


def identity(job_type: CodexJobType, settings: PodSettings) -> Identity | None:
    """Return the installation's identity, for a job type without a key of its own."""
    return None if job_type.spec.model_secret_ref else settings.model.identity


def _identity_config(exchange: Identity | None) -> dict[str, Any] | None:
    if exchange is None:
        return None
    return {
        "tokenURL": exchange.token_url,
        "parameters": exchange.parameters,
        "encoding": exchange.encoding,
    }


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
        "dropReasoningIds": model.drop_reasoning_ids or None,
        "caBundle": True if model.ca_config_map else None,
        "proxy": model.proxy or None,
        "identity": _identity_config(identity(job_type, settings)),
        "port": GATE_PORT,
        "models": [accepted.model],
        "allowedEfforts": _allowed_efforts(job_type, accepted),
        "allowedTools": job_type.spec.usable_tools,
        "maxTokens": accepted.limits.max_tokens,
        "maxCostCents": accepted.limits.max_cost_cents,
        "maxOutputTokens": accepted.max_output_tokens,
        "stallSeconds": accepted.limits.stall_seconds,
        "maxWaitSeconds": accepted.limits.max_wait_seconds,
        "prices": accepted.prices,
        "priceTable": accepted.price_table,
        "ingestURL": settings.ingest_url or None,
    }
    mounts = [mount("gate-state", GATE_STATE_FOLDER)]
    if _files(job_type, settings):
        mounts.append(mount("gate-files", GATE_FILES_FOLDER, read_only=True))
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
    state = empty_dir("gate-state", STATE_BYTES)
    files = _files(job_type, settings)
    return [state, projected("gate-files", *files)] if files else [state]


def _files(job_type: CodexJobType, settings: PodSettings) -> list[dict[str, Any]]:
    """Return the sources of the files that only the gate may read: its token for the api, the
    model's key, the CAs of the model's endpoint."""
    sources: list[dict[str, Any]] = []
    if settings.ingest_url:
        path = _within_files(INGEST_TOKEN_FOLDER, INGEST_TOKEN_FILE)
        sources.append(account_token(INGEST_AUDIENCE, path))
    if exchange := identity(job_type, settings):
        path = _within_files(IDENTITY_TOKEN_FOLDER, IDENTITY_TOKEN_FILE)
        sources.append(account_token(exchange.audience, path))
    if secret := key_secret(job_type, settings):
        path = _within_files(MODEL_KEY_FOLDER, MODEL_KEY_FILE)
        sources.append({"secret": {"name": secret, "items": [{"key": "api-key", "path": path}]}})
    if settings.model.ca_config_map:
        path = _within_files(MODEL_CA_FOLDER, MODEL_CA_FILE)
        items = [{"key": settings.model.ca_key, "path": path}]
        sources.append({"configMap": {"name": settings.model.ca_config_map, "items": items}})
    return sources


def _within_files(folder: str, file: str) -> str:
    return f"{folder.removeprefix(GATE_FILES_FOLDER + '/')}/{file}"
