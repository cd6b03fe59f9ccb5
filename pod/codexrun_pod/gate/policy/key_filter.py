"""Keeps the model's key out of what goes back to the agent. Pure.

An upstream may quote the header that it was sent: in an error, a header of its own, or an event.
The agent must not learn the key, and neither may logs and the run's status.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

STARS = "***"
# Of an upstream without a key of its own people give any word; replacing that would break answers.
MIN_KEY_CHARS = 8
SHORT_ESCAPED = '"\\/'  # printable ASCII before which JSON has a backslash: RFC 8259, section 7


class KeyFilter:
    """Replaces a key by stars, also where JSON, a URL or HTML has escaped characters of it."""

    def __init__(self, key: str | None) -> None:
        """key: printable ASCII; None, or one too short to be a secret, replaces nothing."""
        self._pattern: re.Pattern[str] | None = None
        if key and len(key) >= MIN_KEY_CHARS:
            self._pattern = re.compile("".join(map(_forms, key)))

    def text(self, text: str) -> str:
        """Return a text without the key."""
        return text if self._pattern is None else self._pattern.sub(_stars, text)

    def raw(self, data: bytes) -> bytes:
        """Return bytes of any encoding that has ASCII in it without the key."""
        if self._pattern is None:
            return data
        return self.text(data.decode("latin-1")).encode("latin-1")

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers without the key; one that has it in its name is left out."""
        return {
            name: self.text(value) for name, value in headers.items() if self.text(name) == name
        }


def _stars(match: re.Match[str]) -> str:
    """Return what stands for the key. A backslash that it begins with may be the second of an
    escaped backslash: that stays, or the first would escape a star, which is no JSON."""
    text, start = match.string, match.start()
    first = start
    while first > 0 and text[first - 1] == "\\":
        first -= 1
    is_second = text[start] == "\\" and (start - first) % 2 == 1
    return f"\\{STARS}" if is_second else STARS


def _forms(char: str) -> str:
    """Return the pattern of a character as such, and escaped: as JSON may; in a URL; in HTML."""
    code = f"{ord(char):02x}"
    either_case = "".join(f"[{digit}{digit.upper()}]" for digit in code)
    entity = rf"&#x{either_case};|&#{ord(char)};|{re.escape(html.escape(char))}"
    backslash = r"\\?" if char in SHORT_ESCAPED else ""
    return rf"(?:\\u00{either_case}|%{either_case}|{entity}|{backslash}{re.escape(char)})"
