"""Mask the values of the job type's Secret variables in everything that is printed. Pure."""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping  # noqa: UP035 - the runner's floor is Python 3.9

STARS = "***"
MIN_LINE_CHARS = 8  # a shorter line of a secret of several lines (such as "}") is not masked


class Mask:
    """Replaces each value, its JSON-escaped forms and the lines of a longer one by stars."""

    def __init__(self, values: Iterable[str]) -> None:
        """`values`: the secrets as the environment has them; empty ones are ignored."""
        forms: set[str] = set()
        for value in values:
            lines = [line for line in value.splitlines() if len(line.strip()) >= MIN_LINE_CHARS]
            for text in (value, value.strip(), *lines):
                forms |= {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
        # The longest first, or a shorter one inside of it would leave its rest.
        self._forms = sorted((form for form in forms if form.strip()), key=len, reverse=True)

    @classmethod
    def of(cls, names: Iterable[str], environ: Mapping[str, str]) -> Mask:
        """Build the mask for the variables `names`."""
        return cls(environ.get(name, "") for name in names)

    def text(self, text: str) -> str:
        """Mask a text."""
        for form in self._forms:
            text = text.replace(form, STARS)
        return text

    def raw(self, data: bytes) -> bytes:
        """Mask a file's bytes, whatever their encoding."""
        if not self._forms:
            return data
        return self.text(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def value(self, value: Any) -> Any:
        """Mask all strings of a JSON value, keys too."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        return value
