"""Does the final message fit the job type's outputSchema? Judged here, where all of it passes and
none of it is trusted."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from codexrun_core.pod_contract import OUTPUT_SCHEMA_ENV

LONGEST = 300  # characters
MOST_STEPS = 200_000  # an answer may be long, and nobody else waits for this gate
NAN = "NaN and Infinity are no JSON"


@dataclass(frozen=True)
class Output:
    """The verdict. pointer: RFC 6901, where it does not fit; sha256: of the message that was
    judged."""

    ok: bool
    message: str = ""
    pointer: str = ""
    sha256: str = ""

    @property
    def json(self) -> dict[str, Any]:
        """For the termination message."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


NONE_CAME = Output(ok=False, message="no final message came")


def judge(text: bytes, schema: Mapping[str, Any]) -> Output:
    """Never raises: a message that cannot be judged does not fit. May take seconds."""
    # Late: most runs have no outputSchema, and these take memory that the gate's limit is small
    # for.
    from codexrun_core.schemas.json_schema import InvalidSchemaError, violations
    from codexrun_core.schemas.nesting import TOO_DEEP

    digest = hashlib.sha256(text).hexdigest()
    try:
        value = json.loads(text.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
        wrong = violations(schema, value, MOST_STEPS)
    except InvalidSchemaError as error:
        return Output(False, f"cannot be judged: {error}"[:LONGEST], error.pointer, digest)
    except RecursionError:
        return Output(False, TOO_DEEP, "", digest)
    except ValueError as error:
        return Output(False, f"is not JSON: {error}"[:LONGEST], "", digest)
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        return Output(False, wrong[0].words[:LONGEST] + more, wrong[0].pointer[:LONGEST], digest)
    return Output(True, sha256=digest)


def _no_constant(_: str) -> Any:
    raise ValueError(NAN)


def _finite(text: str) -> float:
    """1e999 is infinite to Python, and no number to the apiserver that has to store it."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(NAN)
    return number


def schema_from(text: str) -> dict[str, Any] | None:
    """From the environment: base64 of JSON; None for a job type without.

    Raises:
        ValueError: it is something else.
    """
    if not text:
        return None
    schema = json.loads(base64.b64decode(text, validate=True))
    if not isinstance(schema, dict):
        raise ValueError(f"{OUTPUT_SCHEMA_ENV} is not an object")
    return schema
