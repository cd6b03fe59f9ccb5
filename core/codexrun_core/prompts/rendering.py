"""How a prompt becomes text: `{{name}}` is replaced, and nothing else is.

Stdlib only and Python 3.9 compatible: the runner imports it in images that teams build on their own
base.
"""

from __future__ import annotations

import json
import re
from typing import Any, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

PLACEHOLDER = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_-]*)\}\}")


class UnknownPlaceholderError(ValueError):
    """The prompt asks for an input that the run does not have; `name` is the placeholder's."""

    def __init__(self, name: str) -> None:
        """`name`: the placeholder, without braces."""
        super().__init__(
            f"the prompt has a placeholder {{{{{name}}}}}, but there is no input with that name;"
            f" set inputs.{name}"
        )
        self.name = name


def placeholders(text: str) -> list[str]:
    """Return the names of the placeholders in `text`, each once, in the order of their first
    appearance."""
    return list(dict.fromkeys(PLACEHOLDER.findall(text)))


def render(text: str, inputs: Mapping[str, Any]) -> str:
    """Return `text` with each placeholder replaced by its input: strings verbatim, other values as
    compact JSON.

    A value is never scanned again, so an input that holds `{{other}}` stays as it is. Inputs
    without a placeholder are ignored here: whether they are allowed is the job type's schema's
    word.

    Raises:
        UnknownPlaceholderError: a placeholder without an input.
        ValueError: a value that JSON does not know (NaN, infinity).
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in inputs:
            raise UnknownPlaceholderError(name)
        return _text(inputs[name])

    return PLACEHOLDER.sub(value, text)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
