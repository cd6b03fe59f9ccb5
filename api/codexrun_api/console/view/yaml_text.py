"""Objects as text for people. Pure; the time that YAML takes is why it is made outside the event
loop."""

import json
from typing import Any

import yaml

MAX_CHARACTERS = 256 * 1024  # of JSON; YAML's writer takes about 30 microseconds for every value


def as_yaml(value: Any, *, sort_keys: bool = False) -> str:
    """Return YAML, or for what is very large the beginning of its JSON, with a comment that says
    so."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=sort_keys, default=str)
    if len(text) > MAX_CHARACTERS:
        return (
            f"# {len(text):,} characters of JSON; only the first {MAX_CHARACTERS:,} are shown"
            f"\n{text[:MAX_CHARACTERS]}"
        )
    return str(yaml.safe_dump(value, sort_keys=sort_keys, allow_unicode=True, width=120))
