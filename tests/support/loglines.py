"""What a line of log must look like."""

import json
from collections.abc import Iterable
from pathlib import Path

import jsonschema

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/log-line.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def wrong_lines(lines: Iterable[str]) -> list[str]:
    """The lines that are none of ours, each with its trouble."""
    return [f"{trouble}: {line[:500]}" for line in lines if (trouble := _trouble(line))]


def _trouble(line: str) -> str | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return "not JSON"
    error = jsonschema.exceptions.best_match(VALIDATOR.iter_errors(parsed))
    return f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" if error else None
