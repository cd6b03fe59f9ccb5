"""The contract of a run's pod: what operator, gate, runner, clone step and api have agreed on.

Names of environment variables, paths, port, audience, artifacts with their limits, and the keys of
the termination messages. Agents' images are built by teams and stay old, and pods run through an
upgrade: a value never changes. Standard library only, Python 3.9 compatible, for the runner imports
it.
"""

from __future__ import annotations

from typing import Dict, FrozenSet  # noqa: UP035 - the runner's floor is Python 3.9

MIB = 1024 * 1024

# Environment variables that the operator sets: JSON, but base64 of JSON for inputs and schema.
RUN_ENV = "CODEXRUN_RUN"
INPUTS_ENV = "CODEXRUN_INPUTS"
GATE_ENV = "CODEXRUN_GATE"
CLONE_ENV = "CODEXRUN_CLONE"
OUTPUT_SCHEMA_ENV = "CODEXRUN_OUTPUT_SCHEMA"

# How the gate's verdict on a final message begins where the schema, not the message, is wrong.
UNUSABLE_SCHEMA = "the job type's outputSchema cannot be used"

# Environment variables that move a path of a pod, for runs outside of one.
WORKSPACE_ENV = "CODEXRUN_WORKSPACE"
TERMINATION_LOG_ENV = "CODEXRUN_TERMINATION_LOG"

# Paths in the containers.
RUNNER = "/opt/codexrun/bin/runner"
WORKSPACE = "/workspace"
AGENT_HOME = "/home/agent"
PROMPT_FOLDER = "/etc/codexrun/prompt"
CODEX_FOLDER = "/etc/codex"
GIT_CREDENTIALS_FOLDER = "/var/run/codexrun/git"
GIT_CA_FOLDER = "/var/run/codexrun/git-ca"
GIT_CA_FILE = "ca.crt"
GATE_FILES_FOLDER = "/var/run/codexrun"  # of the gate's container: those of the next four
MODEL_KEY_FOLDER = "/var/run/codexrun/model"
MODEL_KEY_FILE = "api-key"
IDENTITY_TOKEN_FOLDER = "/var/run/codexrun/identity"  # noqa: S105 - a path
IDENTITY_TOKEN_FILE = "token"  # noqa: S105 - a path
MODEL_CA_FOLDER = "/var/run/codexrun/ca"
MODEL_CA_FILE = "ca.crt"
INGEST_TOKEN_FOLDER = "/var/run/codexrun/ingest"  # noqa: S105 - a path
INGEST_TOKEN_FILE = "token"  # noqa: S105 - a path
GATE_STATE_FOLDER = "/var/lib/codexrun-gate"
# Of the state folder; the container's preStop hook makes it: a stop has begun.
GATE_STOPPING_FILE = "stopping"
TERMINATION_LOG = "/dev/termination-log"

# In /workspace: the lines that the clone step has written, for the runner, which takes them away.
CLONE_LOG = ".git/codexrun-clone.jsonl"

GATE_PORT = 8390  # on the pod's loopback
INGEST_AUDIENCE = "codexrun-api"  # of the token that the gate shows to the api

# What leaves a run's pod besides model traffic, and how much of it at most.
MAX_LOG_BYTES = 64 * MIB  # of one attempt
LOG_CHUNK_BYTES = 64 * 1024  # in one request
FINAL_MESSAGE = "final-message.md"
PATCH = "workspace.patch"
ROLLOUT = "rollout.jsonl"
# the final message, where it keeps the job type's outputSchema: the gate's word, not the agent's
OUTPUT = "output.json"
# A larger one is not kept, since half of a patch or of a rollout is of no use.
MAX_ARTIFACT_BYTES: Dict[str, int] = {  # noqa: UP006
    FINAL_MESSAGE: MIB,
    PATCH: 16 * MIB,
    ROLLOUT: 32 * MIB,
    OUTPUT: MIB,
}
AGENT_ARTIFACTS: FrozenSet[str] = frozenset(MAX_ARTIFACT_BYTES) - {OUTPUT}  # noqa: UP006


class ReportKey:
    """Keys of the termination messages. Each message has its format's version and who wrote it."""

    VERSION = "v"
    SOURCE = "src"  # runner, gate, clone
    # of a failure, a stop, an error
    CLASS = "class"
    MESSAGE = "message"
    STATUS = "status"  # of an HTTP answer
    RESET_AT = "resetAt"  # of a rate limit
    RETRYABLE = "retryable"  # the same run has a chance later; else the class says
    ADVICE = "advice"  # what to do; else the class says

    # The runner's, and FAILURE the clone step's and that of a gate that cannot start too.
    STATE = "state"  # starting, running, done
    STARTED_AT = "startedAt"
    DURATION_MS = "durationMs"
    EXIT_CODE = "exitCode"  # Codex's
    THREAD_ID = "threadId"
    TURNS = "turns"
    COMMANDS = "commands"
    TURN_COMPLETED = "turnCompleted"
    TURN_FAILED = "turnFailed"
    FINAL_MESSAGE = "finalMessage"
    FINAL_MESSAGE_BYTES = "finalMessageBytes"  # of the whole one
    MASKED = "masked"  # names of variables whose values were masked in it
    STOPPED = "stopped"  # why the runner ended Codex
    FAILURE = "failure"

    # The clone step's.
    COMMIT = "commit"

    # The clone step's and the runner's: what people should know of the run, a list of texts.
    WARNINGS = "warnings"

    # The gate's.
    REQUESTS = "requests"
    COMPLETED = "completed"  # responses of the model
    USAGE = "usage"
    COST_MICRO_USD = "costMicroUSD"  # of the usage
    AT_MOST_TOKENS = "atMostTokens"  # of the usage, where it is not exact
    PRICE_TABLE = "priceTable"
    COMPLETE = "complete"  # whether the usage is exact
    UNPRICED = "unpriced"  # what was used and has no price, where that is not the model
    STOP = "stop"
    LAST_ERROR = "lastError"
    CUT_SHORT = "cutShort"
    DROPPED_KEYS = "droppedKeys"  # of requests, since Codex does not send them
    LOG_BYTES = "logBytes"
    LOG_COMPLETE = "logComplete"
    OUTPUT = "output"
    OUTPUT_OK = "ok"
    OUTPUT_POINTER = "pointer"
    OUTPUT_SHA256 = "sha256"
