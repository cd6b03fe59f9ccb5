"""The api's settings, from the environment that the chart sets."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codexrun_api.links import Link, links_from
from codexrun_core.registry.engines import registry_url


class SettingsError(Exception):
    """A variable is missing or unusable; the message names it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    namespace: str
    registry_url: str
    archive: Path
    token: str = ""
    token_file: Path | None = None
    insecure_no_token: bool = False
    external_url: str = ""
    prices_file: Path | None = (
        None  # the installation's own table; None: the one that comes with this version
    )
    console_read_only: bool = False  # the console shows everything and changes nothing
    console_links: tuple[Link, ...] = ()  # from a run's page to Grafana and the like
    log_level: str = "INFO"
    port: int = 8080
    ingest_port: int = 8081
    probe_port: int = 8082
    closed: bool = False  # /metrics and /openapi.json need a token too
    verdict_seconds: float = 10.0  # how long a start waits for the operator's word
    body_limit: int = 256 * 1024  # bytes; inputs end at 64 KiB


def settings_from(env: Mapping[str, str] = os.environ) -> Settings:
    """Read CODEX_CONTROL_TOKEN and the CODEXRUN_* variables.

    Raises:
        SettingsError: one is missing or wrong.
    """
    token = env.get("CODEX_CONTROL_TOKEN", "").strip()
    file = env.get("CODEXRUN_TOKEN_FILE", "").strip()
    insecure = env.get("CODEXRUN_INSECURE_NO_TOKEN", "") == "true"
    if not token and not file and not insecure:
        raise SettingsError(
            "no token is set: set CODEX_CONTROL_TOKEN, or set CODEXRUN_TOKEN_FILE to the path"
            " of a file with `name:token` lines (CODEXRUN_INSECURE_NO_TOKEN=true allows access"
            " without a token)"
        )
    if not (namespace := env.get("CODEXRUN_NAMESPACE", "").strip()):
        raise SettingsError(
            "CODEXRUN_NAMESPACE is not set; set it in the REST API's Deployment, as the chart does"
        )
    prices = env.get("CODEXRUN_PRICES_FILE", "").strip()
    data = Path(env.get("CODEXRUN_DATA", "/var/lib/codexrun"))
    return Settings(
        namespace=namespace,
        registry_url=registry_url(env),
        archive=Path(env.get("CODEXRUN_ARCHIVE", "") or data / "archive"),
        token=token,
        token_file=Path(file) if file else None,
        insecure_no_token=insecure,
        external_url=env.get("CODEXRUN_EXTERNAL_URL", "").rstrip("/"),
        prices_file=Path(prices) if prices else None,
        console_links=_links(env.get("CODEXRUN_CONSOLE_LINKS", "")),
        console_read_only=env.get("CODEXRUN_CONSOLE_READ_ONLY", "") == "true",
        log_level=env.get("CODEXRUN_LOG_LEVEL", "INFO").upper(),
        port=_port(env, "CODEXRUN_PORT", 8080),
        ingest_port=_port(env, "CODEXRUN_INGEST_PORT", 8081),
        probe_port=_port(env, "CODEXRUN_PROBE_PORT", 8082),
        closed=env.get("CODEXRUN_CLOSED", "") == "true",
    )


def _links(text: str) -> tuple[Link, ...]:
    try:
        return links_from(text)
    except ValueError as error:
        raise SettingsError(f"CODEXRUN_CONSOLE_LINKS: {error}") from None


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name, str(default))
    if not value.isdecimal() or not 0 < int(value) < 65536:
        raise SettingsError(f"{name} is {value!r}; it must be a port number")
    return int(value)
