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
class ModelAccess:
    """How the model is reached; no secret is in it."""

    auth_header: str = "Authorization"
    query_params: dict[str, str] = field(default_factory=dict)
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
    lease: str
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
            raise SettingsError(f"{name} is not set; the chart's operator Deployment sets it")
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
                query_params={
                    name: str(value)
                    for name, value in _json_object(env, "CODEXRUN_MODEL_QUERY_PARAMS").items()
                },
                ca_config_map=env.get("CODEXRUN_MODEL_CA_CONFIG_MAP", ""),
                ca_key=env.get("CODEXRUN_MODEL_CA_KEY", "") or "ca.crt",
                proxy=env.get("CODEXRUN_MODEL_PROXY", ""),
            ),
            model_secret=env.get("CODEXRUN_MODEL_SECRET", ""),
            ingest_url=env.get("CODEXRUN_INGEST_URL", "").strip().rstrip("/"),
            service_account=env.get("CODEXRUN_AGENT_SERVICE_ACCOUNT", "codexrun-agent"),
            job_ttl_seconds=int(ttl),
            gate_resources=resources.get("gate", GATE_RESOURCES),
            clone_resources=resources.get("clone", CLONE_RESOURCES),
            prices_file=Path(prices) if prices else None,
        ),
    )


def _json_object(env: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(env.get(name) or "{}")
    except ValueError as error:
        raise SettingsError(f"{name} is not a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise SettingsError(f"{name} is not a JSON object")
    return value
