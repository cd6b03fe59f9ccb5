"""The file of an export: JSON lines that a person can read. Pure.

    {"format": "codexrun-registry", "version": 1, "schema": "0004"}
    {"run": {"run_id": "...", "name": "...", ...}, "events": [{"event_id": "...", ...}, ...]}
    ...
    {"end": {"runs": 2}}

Fields are those of `RunRecord` and `RunEvent`; times are RFC 3339 in UTC. One that has its default
may be left out. The last line tells a whole file from one that was broken off.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from codexrun_core.registry.rows import RunEvent
from codexrun_core.resources.field_problems import FieldProblem, explain_field
from codexrun_core.runs.record import RunRecord

FORMAT = "codexrun-registry"
VERSION = 1
MAX_LINE_BYTES = 16 * 1024 * 1024  # a row has some hundred KiB at most

T = TypeVar("T", RunRecord, RunEvent)

_RUNS: TypeAdapter[RunRecord] = TypeAdapter(RunRecord)
_EVENTS: TypeAdapter[RunEvent] = TypeAdapter(RunEvent)


class BadExport(ValueError):
    """A line is not of an export that this version can read; the message names it."""


@dataclass(frozen=True)
class Entry:
    """A run with the transitions that were recorded of it."""

    run: RunRecord
    events: Sequence[RunEvent] = ()


def head_line(schema: str) -> bytes:
    """Return the first line. schema: the revision of the database that it comes from."""
    return _line({"format": FORMAT, "version": VERSION, "schema": schema})


def entry_line(entry: Entry) -> bytes:
    """Return the line of a run."""
    return _line({"run": _plain(entry.run), "events": [_plain(event) for event in entry.events]})


def end_line(runs: int) -> bytes:
    """Return the last line."""
    return _line({"end": {"runs": runs}})


class Reader:
    """Reads the lines of an export one by one, and knows after the last whether it was whole."""

    def __init__(self) -> None:
        self.runs = 0
        self.ended = False
        self._number = 0

    def read(self, line: bytes) -> Entry | None:
        """Return the run of a line; None for the first and the last one.

        Raises:
            BadExport: it is no line of an export, or not of this version's.
        """
        self._number += 1
        if self.ended:
            raise self._bad(
                "the file continues after the line that ends an export; the file was changed, or is"
                " several exports"
            )
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise self._bad("not JSON; the file was changed or truncated") from None
        if not isinstance(value, dict):
            raise self._bad(
                "not a JSON object; the file was changed, or was not written by codexrun export"
            )
        if self._number == 1:
            self._check_head(value)
            return None
        if "end" in value:
            self._check_end(value["end"])
            return None
        return self._entry(value)

    def _check_head(self, head: dict[str, Any]) -> None:
        if head.get("format") != FORMAT:
            raise self._bad(
                f'"format" is not "{FORMAT}"; this is not a file written by codexrun export'
            )
        if head.get("version") != VERSION:
            raise self._bad(
                f"the file has format version {head.get('version')!r}, but this codexrun reads"
                f" only format version {VERSION}; import the file with the version of codexrun that"
                " wrote it"
            )

    def _check_end(self, end: Any) -> None:
        runs = end.get("runs") if isinstance(end, dict) else None
        if runs != self.runs:
            raise self._bad(
                f"end.runs is {runs!r}, but the file contains {self.runs} runs; export the runs"
                " again"
            )
        self.ended = True

    def _entry(self, value: dict[str, Any]) -> Entry:
        if unknown := sorted(set(value) - {"run", "events"}):
            raise self._bad(
                f'"{unknown[0]}" is not a valid field of this line; only run and events are allowed'
            )
        run = self._record("run", value.get("run"), RunRecord, _RUNS.validate_python)
        given = value.get("events", [])
        if not isinstance(given, list):
            raise self._bad('"events" is not a list')
        events = [
            self._record(f"events[{number}]", event, RunEvent, _EVENTS.validate_python)
            for number, event in enumerate(given)
        ]
        if any(event.run_id != run.run_id for event in events):
            raise self._bad("the events belong to a run other than run.run_id")
        self.runs += 1
        return Entry(run, events)

    def _record(self, place: str, value: Any, kind: type[T], validate: Callable[[Any], T]) -> T:
        if not isinstance(value, dict):
            raise self._bad(f"{place} is not an object")
        known = {field.name for field in fields(kind)}
        if unknown := sorted(set(value) - known):
            raise self._bad(
                f"{place}.{unknown[0]} is unknown to this version of codexrun; import the file with"
                " the version of codexrun that wrote it, or a later one"
            )
        try:
            record = validate(value)
        except ValidationError as error:
            problem: FieldProblem = error.errors(include_url=False)[0]
            inside = {**problem, "loc": (place, *problem["loc"])}
            raise self._bad(explain_field(inside, place)) from None
        for name in known:
            moment = getattr(record, name)
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise self._bad(f"{place}.{name} has no time zone; add Z for UTC")
        return record

    def _bad(self, problem: str) -> BadExport:
        return BadExport(f"line {self._number}: {problem}")


def _plain(record: RunRecord | RunEvent) -> dict[str, Any]:
    """Return the fields that have not their default, in their order."""
    values = asdict(record)
    return {
        field.name: value.isoformat().replace("+00:00", "Z")
        if isinstance(value := values[field.name], datetime)
        else value
        for field in fields(record)
        if field.default is MISSING or values[field.name] != field.default
    }


def _line(value: dict[str, Any]) -> bytes:
    dump = partial(json.dumps, value, separators=(", ", ": "))
    try:
        return dump(ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a character, which JSON can escape
        return dump().encode() + b"\n"
