"""What a run is about, in one line, for lists. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from codexrun_core.prompts.rendering import PLACEHOLDER

MAX_TITLE_CHARACTERS = 80


def title_of(template: str | None, inputs: Mapping[str, Any]) -> str:
    """Return the job type's titleTemplate filled in; without one the first input that is text or a
    number. Empty where neither says anything.

    An input that the template names and the run does not have is left out.
    """
    if template:
        text = PLACEHOLDER.sub(lambda match: _text(inputs.get(match[1], "")), template)
    else:
        text = next((_text(value) for value in inputs.values() if _tells(value)), "")
    # An input may have 64 KiB; only its beginning can be shown.
    line = " ".join(text[: 10 * MAX_TITLE_CHARACTERS].split())
    if len(line) <= MAX_TITLE_CHARACTERS:
        return line
    return line[: MAX_TITLE_CHARACTERS - 1].rstrip() + "…"


def _tells(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
