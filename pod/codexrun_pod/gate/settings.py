"""The gate's settings, from the environment that the operator sets, and its paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codexrun_core.codex.tools import DEFAULT_TOOLS
from codexrun_core.pod_contract import (
    GATE_ENV,
    GATE_STATE_FOLDER,
    IDENTITY_TOKEN_FILE,
    IDENTITY_TOKEN_FOLDER,
    INGEST_TOKEN_FILE,
    INGEST_TOKEN_FOLDER,
    MODEL_CA_FILE,
    MODEL_CA_FOLDER,
    MODEL_KEY_FILE,
    MODEL_KEY_FOLDER,
    OUTPUT_SCHEMA_ENV,
    TERMINATION_LOG,
)
from codexrun_pod import termination
from codexrun_pod.gate.cost import Price, pico_of_cents
from codexrun_pod.gate.endpoint import Endpoint
from codexrun_pod.gate.policy.output import schema_from
from codexrun_pod.gate.policy.verdicts import DEFAULT_MAX_OUTPUT_TOKENS

# Of an operator that does not say.
DEFAULT_STALL_SECONDS = 600.0
DEFAULT_MAX_WAIT_SECONDS = 120.0
CA_FILE = Path(MODEL_CA_FOLDER, MODEL_CA_FILE)
IDENTITY_TOKEN = Path(IDENTITY_TOKEN_FOLDER, IDENTITY_TOKEN_FILE)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """How the token of the pod's ServiceAccount is exchanged for one of the provider. parameters:
    what the provider wants beside it, such as identity_provider_id; encoding: json, or form;
    token_file: renewed by the kubelet in place."""

    token_url: str
    token_file: Path
    parameters: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "json"

    @classmethod
    def from_json(cls, config: Mapping[str, Any], token_file: Path) -> Identity:
        """Read the operator's configuration.

        Raises:
            KeyError: tokenURL is missing.
        """
        parameters = config.get("parameters") or {}
        return cls(
            token_url=str(config["tokenURL"]),
            token_file=token_file,
            parameters={str(name): str(value) for name, value in parameters.items()},
            encoding=str(config.get("encoding", "json")),
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One attempt's gate.

    tools: the job type's allowedTools; efforts: its allowedEfforts, None for any, as an older
    operator says. max_tokens: input plus output of all responses; max_pico:
    what they may cost, in pico-dollars; None for no cap. max_output_tokens: what the model can
    answer at most. stall_seconds: how long a request waits for one that the agent has left.
    max_wait_seconds: how long the run may wait in all for a provider that limits it. prices: by
    model; a model that is missing has an unknown price. ingest: URL of the api's ingest port,
    None where there is no api. output_schema: the job type's, of the final message. identity: in
    place of a key.
    """

    run_id: str
    job_type: str
    attempt: int
    endpoint: Endpoint
    port: int
    models: frozenset[str]
    tools: frozenset[str]
    efforts: frozenset[str] | None = None
    max_tokens: int | None = None
    max_pico: int | None = None
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS
    stall_seconds: float = DEFAULT_STALL_SECONDS
    max_wait_seconds: float = DEFAULT_MAX_WAIT_SECONDS
    prices: Mapping[str, Price] = field(default_factory=dict)
    price_table: str | None = None
    ingest: str | None = None
    output_schema: Mapping[str, Any] | None = None
    identity: Identity | None = None
    key_file: Path = Path(MODEL_KEY_FOLDER, MODEL_KEY_FILE)
    ingest_token: Path = Path(INGEST_TOKEN_FOLDER, INGEST_TOKEN_FILE)
    state_dir: Path = Path(GATE_STATE_FOLDER)
    termination_log: str = TERMINATION_LOG


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read CODEXRUN_GATE (JSON); CODEXRUN_GATE_{KEY,CA,STATE,INGEST_TOKEN,IDENTITY}
    and CODEXRUN_TERMINATION_LOG move the paths.

    Raises:
        ValueError: CODEXRUN_GATE is missing, no JSON, or lacks a field; the message names it.
    """
    try:
        config = json.loads(environ[GATE_ENV])
        return Settings(
            run_id=str(config["runId"]),
            job_type=str(config["jobType"]),
            attempt=int(config["attempt"]),
            endpoint=Endpoint.from_json(config, Path(environ.get("CODEXRUN_GATE_CA", CA_FILE))),
            port=int(config["port"]),
            models=frozenset(config["models"]),
            tools=frozenset(config.get("allowedTools", DEFAULT_TOOLS)),
            efforts=frozenset(efforts) if (efforts := config.get("allowedEfforts")) else None,
            max_tokens=config.get("maxTokens"),
            max_pico=None
            if config.get("maxCostCents") is None
            else pico_of_cents(int(config["maxCostCents"])),
            max_output_tokens=int(config.get("maxOutputTokens", DEFAULT_MAX_OUTPUT_TOKENS)),
            stall_seconds=float(config.get("stallSeconds", DEFAULT_STALL_SECONDS)),
            max_wait_seconds=float(config.get("maxWaitSeconds", DEFAULT_MAX_WAIT_SECONDS)),
            prices={
                model: Price.from_json(price)
                for model, price in (config.get("prices") or {}).items()
            },
            price_table=config.get("priceTable"),
            ingest=config.get("ingestURL") or None,
            output_schema=schema_from(environ.get(OUTPUT_SCHEMA_ENV, "")),
            identity=Identity.from_json(
                identity, Path(environ.get("CODEXRUN_GATE_IDENTITY", IDENTITY_TOKEN))
            )
            if (identity := config.get("identity"))
            else None,
            key_file=Path(environ.get("CODEXRUN_GATE_KEY", Settings.key_file)),
            ingest_token=Path(environ.get("CODEXRUN_GATE_INGEST_TOKEN", Settings.ingest_token)),
            state_dir=Path(environ.get("CODEXRUN_GATE_STATE", Settings.state_dir)),
            termination_log=termination.log_path(environ),
        )
    except KeyError as missing:
        raise ValueError(f"{GATE_ENV}: {missing} is missing") from missing
    except (TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{GATE_ENV}: {error}") from error
