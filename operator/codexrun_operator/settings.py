"""The operator's settings, from the environment that the chart sets."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class SettingsError(Exception):
    """A variable is missing or unusable; the message names it."""


GATE_RESOURCES = {
    "requests": {"cpu": "20m", "memory": "64Mi", "ephemeral-storage": "16Mi"},
    "limits": {"memory": "256Mi", "ephemeral-storage": "384Mi"},
}
CLONE_RESOURCES = {
    "requests": {"cpu": "50m", "memory": "64Mi"},
    "limits": {"memory": "1Gi"},
}
Resources = Mapping[str, Mapping[str, Any]]  # of a container, as in a pod


@dataclass(frozen=True, kw_only=True)
class Identity:
    """How the token of a pod's ServiceAccount is exchanged for one of the provider (RFC 8693)."""

    token_url: str
    audience: str
    parameters: dict[str, str] = field(default_factory=dict)
    encoding: str = "json"


@dataclass(frozen=True, kw_only=True)
class ModelAccess:
    """How the model is reached; no secret is in it."""

    auth_header: str = "Authorization"
    query_params: dict[str, str] = field(default_factory=dict)
    ca_config_map: str = ""
    ca_key: str = "ca.crt"
    proxy: str = ""
    drop_reasoning_ids: bool = False
    identity: Identity | None = None


@dataclass(frozen=True, kw_only=True)
class GitAccess:
    """How Git hosts are reached."""

    ca_config_map: str = ""
    ca_key: str = "ca.crt"
    proxy: str = ""


@dataclass(frozen=True, kw_only=True)
class PodSettings:
    """What every run's pod has in common in this installation."""

    control_image: str
    agent_image: str
    pull_policy: str = "IfNotPresent"
    agent_pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()
    upstream_url: str = ""
    model: ModelAccess = field(default_factory=ModelAccess)
    git: GitAccess = field(default_factory=GitAccess)
    model_secret: str = ""
    ingest_url: str = ""  # the api's ingest port; none: nothing is shipped
    service_account: str = "codexrun-agent"
    job_ttl_seconds: int = 86_400
    gate_resources: Resources = field(default_factory=lambda: GATE_RESOURCES)
    clone_resources: Resources = field(default_factory=lambda: CLONE_RESOURCES)
    prices_file: Path | None = (
        None  # of the installation; none: the table that comes with this version
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    namespace: str
    pod_name: str
    lease: str  # named after the release
    log_level: str
    pods: PodSettings
    port: int = 8080


def settings_from(env: Mapping[str, str] = os.environ) -> Settings:
    """Read CODEXRUN_* variables.

    Raises:
        SettingsError: one is missing or wrong.
    """

    def required(name: str) -> str:
        if not (value := env.get(name, "").strip()):
            raise SettingsError(
                f"{name} is not set; set it in the operator's Deployment, as the chart does"
            )
        return value

    resources = _json_object(env, "CODEXRUN_POD_RESOURCES")
    prices = env.get("CODEXRUN_PRICES_FILE", "").strip()
    ttl = env.get("CODEXRUN_JOB_TTL_SECONDS", "86400")
    if not ttl.isdigit():
        raise SettingsError(
            f"CODEXRUN_JOB_TTL_SECONDS is {ttl!r}; it must be a whole number of seconds"
        )
    return Settings(
        namespace=required("CODEXRUN_NAMESPACE"),
        pod_name=required("CODEXRUN_POD_NAME"),
        lease=env.get("CODEXRUN_LEASE", "codexrun-operator"),
        log_level=env.get("CODEXRUN_LOG_LEVEL", "INFO").upper(),
        pods=PodSettings(
            control_image=required("CODEXRUN_CONTROL_IMAGE"),
            agent_image=required("CODEXRUN_AGENT_IMAGE"),
            pull_policy=env.get("CODEXRUN_IMAGE_PULL_POLICY", "IfNotPresent"),
            agent_pull_policy=env.get("CODEXRUN_AGENT_IMAGE_PULL_POLICY", "IfNotPresent"),
            pull_secrets=tuple(
                s for s in env.get("CODEXRUN_IMAGE_PULL_SECRETS", "").split(",") if s
            ),
            upstream_url=required("CODEXRUN_UPSTREAM_URL"),
            model=ModelAccess(
                auth_header=env.get("CODEXRUN_MODEL_AUTH_HEADER", "") or "Authorization",
                query_params=_texts(env, "CODEXRUN_MODEL_QUERY_PARAMS"),
                ca_config_map=env.get("CODEXRUN_MODEL_CA_CONFIG_MAP", ""),
                ca_key=env.get("CODEXRUN_MODEL_CA_KEY", "") or "ca.crt",
                proxy=env.get("CODEXRUN_MODEL_PROXY", ""),
                drop_reasoning_ids=env.get("CODEXRUN_MODEL_DROP_REASONING_IDS", "") == "true",
                identity=_identity(env),
            ),
            git=GitAccess(
                ca_config_map=env.get("CODEXRUN_GIT_CA_CONFIG_MAP", ""),
                ca_key=env.get("CODEXRUN_GIT_CA_KEY", "") or "ca.crt",
                proxy=env.get("CODEXRUN_GIT_PROXY", ""),
            ),
            model_secret=env.get("CODEXRUN_MODEL_SECRET", ""),
            ingest_url=env.get("CODEXRUN_INGEST_URL", "").strip().rstrip("/"),
            service_account=env.get("CODEXRUN_AGENT_SERVICE_ACCOUNT", "codexrun-agent"),
            job_ttl_seconds=int(ttl),
            gate_resources=_resources(resources, "gate", GATE_RESOURCES),
            clone_resources=_resources(resources, "clone", CLONE_RESOURCES),
            prices_file=Path(prices) if prices else None,
        ),
    )


def _resources(given: Mapping[str, Any], part: str, default: Resources) -> Resources:
    """Return the resources that the chart has for a container; the default if it has null, as after
    an upgrade with the values of an earlier chart."""
    resources: Resources | None = given.get(part)
    return default if resources is None else resources


def _identity(env: Mapping[str, str]) -> Identity | None:
    token_url = env.get("CODEXRUN_IDENTITY_TOKEN_URL", "").strip()
    if not token_url:
        return None
    return Identity(
        token_url=token_url,
        audience=env.get("CODEXRUN_IDENTITY_AUDIENCE", "").strip(),
        parameters=_texts(env, "CODEXRUN_IDENTITY_PARAMETERS"),
        encoding=env.get("CODEXRUN_IDENTITY_ENCODING", "") or "json",
    )


def _texts(env: Mapping[str, str], name: str) -> dict[str, str]:
    return {key: str(value) for key, value in _json_object(env, name).items()}


def _json_object(env: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(env.get(name) or "{}")
    except ValueError as error:
        raise SettingsError(f"{name} is not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is not a JSON object")
    return value
