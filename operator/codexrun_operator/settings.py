"""The operator's settings, from the environment that the chart sets."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class SettingsError(Exception):
    """A variable is missing or unusable; the message names it."""


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
            raise SettingsError(f"{name} is not set; the chart's operator Deployment sets it")
        return value

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
                query_params=_query_params(env.get("CODEXRUN_MODEL_QUERY_PARAMS", "")),
                ca_config_map=env.get("CODEXRUN_MODEL_CA_CONFIG_MAP", ""),
                ca_key=env.get("CODEXRUN_MODEL_CA_KEY", "") or "ca.crt",
                proxy=env.get("CODEXRUN_MODEL_PROXY", ""),
            ),
            model_secret=env.get("CODEXRUN_MODEL_SECRET", ""),
            ingest_url=env.get("CODEXRUN_INGEST_URL", "").strip().rstrip("/"),
            service_account=env.get("CODEXRUN_AGENT_SERVICE_ACCOUNT", "codexrun-agent"),
            job_ttl_seconds=int(ttl),
            prices_file=Path(prices) if prices else None,
        ),
    )


def _query_params(text: str) -> dict[str, str]:
    try:
        params = json.loads(text or "{}")
        return {str(name): str(value) for name, value in params.items()}
    except (ValueError, AttributeError) as error:
        raise SettingsError(f"CODEXRUN_MODEL_QUERY_PARAMS is not a JSON object: {error}") from error
