"""What an agent said at the end, as the page shows it: JSON is laid out, what is long is folded.
Pure."""

import json
from dataclasses import dataclass

from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper

MAX_UNFOLDED_CHARACTERS = 4000
MAX_UNFOLDED_LINES = 60


@dataclass(frozen=True)
class FinalMessage:
    """`text` is what is shown: the message itself, or its JSON with one value a line."""

    text: str
    is_json: bool

    @property
    def folded(self) -> bool:
        """Return whether only its beginning is shown at first."""
        return (
            len(self.text) > MAX_UNFOLDED_CHARACTERS or self.text.count("\n") > MAX_UNFOLDED_LINES
        )


def final_message(message: str) -> FinalMessage:
    """Return how a message is shown. JSON is an object or a list; a number is prose."""
    if message.lstrip().startswith(("{", "[")):
        try:
            value = json.loads(message)
        except (ValueError, RecursionError):
            return FinalMessage(message, is_json=False)
        if not is_deeper(value, MAX_SHOWN_LEVELS):
            return FinalMessage(json.dumps(value, indent=2, ensure_ascii=False), is_json=True)
    return FinalMessage(message, is_json=False)
