"""Does the final message fit the job type's outputSchema? Validated here, where all of it passes
and none of it is trusted."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codexrun_core.pod_contract import OUTPUT_SCHEMA_ENV, UNUSABLE_SCHEMA
from codexrun_pod.gate import json_text

MAX_MESSAGE_CHARS = 300  # characters
MAX_STEPS = 200_000  # an answer may be long, and nobody else waits for this gate


@dataclass(frozen=True)
class OutputVerdict:
    """The verdict. pointer: RFC 6901, where it does not fit; sha256: of the message that was
    judged."""

    ok: bool
    message: str = ""
    pointer: str = ""
    sha256: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """Return it as the termination message has it."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


NO_MESSAGE = OutputVerdict(ok=False, message="there is no final message")


def validate_output(text: bytes, schema: Mapping[str, Any]) -> OutputVerdict:
    """Validate a final message; may take seconds. Never raises: one that cannot be validated does
    not fit."""
    # Late: most runs have no outputSchema, and these take memory that the gate's limit is small
    # for.
    from codexrun_core.schemas.json_schema import InvalidSchemaError, violations
    from codexrun_core.schemas.nesting import TOO_DEEP

    digest = hashlib.sha256(text).hexdigest()
    try:
        value = json_text.parse(text)
        problems = violations(schema, value, MAX_STEPS)
    except InvalidSchemaError as error:
        return OutputVerdict(
            False, f"{UNUSABLE_SCHEMA}: {error}"[:MAX_MESSAGE_CHARS], error.pointer, digest
        )
    except RecursionError:
        return OutputVerdict(False, TOO_DEEP, "", digest)
    except ValueError as error:
        return OutputVerdict(
            False, f"cannot be read as JSON: {error}"[:MAX_MESSAGE_CHARS], "", digest
        )
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return OutputVerdict(
            False,
            problems[0].words[:MAX_MESSAGE_CHARS] + more,
            problems[0].pointer[:MAX_MESSAGE_CHARS],
            digest,
        )
    return OutputVerdict(True, sha256=digest)


def schema_from(text: str) -> dict[str, Any] | None:
    """Read the schema from the environment: base64 of JSON; None for a job type without.

    Raises:
        ValueError: it is something else.
    """
    if not text:
        return None
    schema = json.loads(base64.b64decode(text, validate=True))
    if not isinstance(schema, dict):
        raise ValueError(
            f"{OUTPUT_SCHEMA_ENV} is not a JSON object: the operator and the gate's image do not"
            " match; upgrade the chart"
        )
    return schema
