"""The runner's settings, from the environment that the operator sets, and its paths."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex.tools import DEFAULT_TOOLS
from codexrun_core.pod_contract import (
    AGENT_HOME,
    INPUTS_ENV,
    OUTPUT_SCHEMA_ENV,
    PROMPT_FOLDER,
    RUN_ENV,
    WORKSPACE,
    WORKSPACE_ENV,
)

DEFAULT_AGENTS_MD_BYTES = 32_768  # of an operator that does not say
OTHER_VERSION = (
    "the operator and the agent image do not match; use an agent image of the operator's version"
)


class CannotStartError(Exception):
    """Codex was never started; `class_` is a failure class, the message says what to correct."""

    def __init__(self, class_: str, message: str) -> None:
        """`class_`: the failure class; `message`: what to correct."""
        super().__init__(message)
        self.class_ = class_


class ConfigError(CannotStartError):
    """The run cannot start as it is set up."""

    def __init__(self, message: str) -> None:
        """Set the class `config`."""
        super().__init__("config", message)


@dataclass(frozen=True)
class Settings:
    """One attempt. Sizes in bytes, 0 for no limit; times in seconds from the runner's start.
    disk_bytes: what workspace, home and tmp may hold in sum.

    audited_tools: what the event stream is held against. The operator never gives it: it is
    allowed_tools.
    """

    run_id: str
    name: str
    job_type: str
    attempt: int
    prompt_version: str
    prompt_sha256: str
    model: str
    effort: str | None
    timeout: float
    stall: float
    gate_port: int
    workspace_bytes: int
    home_bytes: int
    tmp_bytes: int
    disk_bytes: int
    max_agents_md_bytes: int
    mask_env: tuple[str, ...]
    git: bool
    resume: bool
    allowed_tools: tuple[str, ...]
    audited_tools: tuple[str, ...]
    mcp_servers: tuple[Mapping[str, Any], ...]
    sandbox: str
    inputs: Mapping[str, Any]
    output_schema: bytes | None
    prompt: Path
    codex: Path
    workspace: Path
    home: Path
    codex_home: Path
    tmp: Path


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read CODEXRUN_RUN (JSON), CODEXRUN_INPUTS and CODEXRUN_OUTPUT_SCHEMA (base64 of JSON).

    HOME, CODEX_HOME and TMPDIR are the container's own; CODEXRUN_PROMPT, CODEXRUN_CODEX and
    CODEXRUN_WORKSPACE move the paths that a pod fixes.

    Raises:
        ConfigError: a variable is missing or broken; the message names it.
    """
    run = _run(environ)
    home = Path(environ.get("HOME", AGENT_HOME))
    try:
        return Settings(
            run_id=str(run["runId"]),
            name=str(run["name"]),
            job_type=str(run["jobType"]),
            attempt=int(run["attempt"]),
            prompt_version=str(run["prompt"]["version"]),
            prompt_sha256=str(run["prompt"]["sha256"]),
            model=str(run["model"]),
            effort=run.get("effort"),
            timeout=float(run["timeoutSeconds"]),
            stall=float(run["stallSeconds"]),
            gate_port=int(run["gatePort"]),
            workspace_bytes=int(run.get("workspaceBytes") or 0),
            home_bytes=int(run.get("homeBytes") or 0),
            tmp_bytes=int(run.get("tmpBytes") or 0),
            disk_bytes=int(run.get("diskBytes") or 0),
            max_agents_md_bytes=int(run.get("maxAgentsMdBytes", DEFAULT_AGENTS_MD_BYTES)),
            mask_env=tuple(run.get("maskEnv") or ()),
            git=bool(run.get("git")),
            resume=bool(run.get("resume")),
            allowed_tools=tuple(run.get("allowedTools", DEFAULT_TOOLS)),
            audited_tools=tuple(run.get("auditedTools", run.get("allowedTools", DEFAULT_TOOLS))),
            mcp_servers=tuple(run.get("mcpServers") or ()),
            sandbox=str(run.get("sandbox", "pod")),
            inputs=_inputs(environ),
            output_schema=base64.b64decode(environ.get(OUTPUT_SCHEMA_ENV, ""), validate=True)
            or None,
            prompt=Path(environ.get("CODEXRUN_PROMPT", f"{PROMPT_FOLDER}/prompt.md")),
            codex=Path(environ.get("CODEXRUN_CODEX", "/opt/codex/bin/codex")),
            workspace=Path(environ.get(WORKSPACE_ENV, WORKSPACE)),
            home=home,
            codex_home=Path(environ.get("CODEX_HOME", str(home / ".codex"))),
            tmp=Path(environ.get("TMPDIR", "/tmp")),
        )
    except KeyError as missing:
        raise ConfigError(f"{RUN_ENV} lacks {missing}: {OTHER_VERSION}") from missing
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{RUN_ENV}: {error}: {OTHER_VERSION}") from error


def _run(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        run = json.loads(environ[RUN_ENV])
    except KeyError as missing:
        raise ConfigError(
            f"{RUN_ENV} is not set: only codexrun's operator can start this image"
        ) from missing
    except ValueError as error:
        raise ConfigError(f"{RUN_ENV} is not JSON: {error}") from error
    if not isinstance(run, dict):
        raise ConfigError(f"{RUN_ENV} is not a JSON object")
    return run


def _inputs(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        inputs = json.loads(base64.b64decode(environ.get(INPUTS_ENV) or "e30=", validate=True))
    except ValueError as error:
        raise ConfigError(f"{INPUTS_ENV} is not base64-encoded JSON: {error}") from error
    if not isinstance(inputs, dict):
        raise ConfigError(f"{INPUTS_ENV} is not a JSON object")
    return inputs
