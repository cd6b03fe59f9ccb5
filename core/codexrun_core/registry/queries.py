"""A filter as SQL, so that both databases answer it from an index."""

from dataclasses import fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.filters import Filter
from codexrun_core.registry.record import RunRecord, words
from codexrun_core.registry.tables import Words, run_words, runs

Condition = sa.ColumnElement[bool]
Rows = sa.Select[Any]

COLUMNS = [runs.c[field.name] for field in fields(RunRecord)]
NEWEST_FIRST = (runs.c.created_at.desc(), runs.c.run_id.desc())


NARROW = ("job_type", "status", "since", "until", "search")  # what the word index of Postgres answers alone


def conditions(chosen: Filter, dialect: str) -> list[Condition]:
    """What a row must fulfil, all of it."""
    c = runs.c
    found = _narrow(chosen, c)
    for column, values in ((c.model, chosen.model), (c.requested_by, chosen.user), (c.retry_of, chosen.retry_of)):
        if values:
            found.append(column.in_(values))
    if chosen.prompt:
        found.append(sa.or_(*map(_prompt, chosen.prompt)))
    if chosen.search.strip():
        found.append(_matches(chosen.search, dialect))
    return found


def _narrow(chosen: Filter, c: Any) -> list[Condition]:
    found: list[Condition] = [column.in_(of) for column, of in ((c.job_type, chosen.job_type), (c.status, chosen.status)) if of]
    if chosen.since:
        found.append(c.created_at >= chosen.since)
    if chosen.until:
        found.append(c.created_at < chosen.until)
    return found


def older(last: tuple[datetime, str], c: Any = runs.c) -> Condition:
    """Behind this run in the list's order."""
    created, run_id = last
    there = sa.tuple_(sa.literal(created, c.created_at.type), sa.literal(run_id, c.run_id.type))
    return sa.tuple_(c.created_at, c.run_id) < there


LIST, BY_STATUS = "ix_runs_list", "ix_runs_status"


def index_for(chosen: Filter, *, counting: bool = False) -> str | None:
    """Which index SQLite should read. Left alone it reads one filter's index and then a row for each of its entries; an index
    that holds all filters answers without a row. None: its own choice is right."""
    used = {name for name in ("job_type", "status", "prompt", "model", "user", "retry_of") if getattr(chosen, name)}
    if chosen.search.strip():
        return BY_STATUS if counting and used <= {"job_type", "status"} else LIST
    return LIST if len(used) > 1 and "retry_of" not in used else None


def reading(query: Rows, index: str | None) -> Rows:
    """The query, told which index to read on SQLite."""
    return query.with_hint(runs, f"INDEXED BY {index}", "sqlite") if index else query


def rows_of(ids: Rows) -> Rows:
    """Whole rows of these ids, in the list's order. Ids come from an index alone; only rows that are shown are read."""
    return sa.select(*COLUMNS).where(runs.c.run_id.in_(sa.select(ids.subquery().c.run_id))).order_by(*NEWEST_FIRST)


def first_ids(where: list[Condition], index: str | None, most: int) -> Rows:
    """The newest ids that fulfil all of it."""
    return reading(sa.select(runs.c.run_id), index).where(*where).order_by(*NEWEST_FIRST).limit(most)


def matching_ids(chosen: Filter, last: tuple[datetime, str] | None, dialect: str, most: int) -> Rows:
    """The newest ids of the filter, from behind `last`."""
    wanted = words(chosen.search)
    if dialect == "sqlite" or not wanted:
        where = [*conditions(chosen, dialect), *([older(last)] if last else [])]
        return first_ids(where, index_for(chosen), most)
    # All hits first: left alone Postgres guesses how many there are, and may read the whole list for a word that none has.
    c: Any = run_words.c if _answers_alone(chosen) else runs.c
    where = [*_hits(chosen, wanted), *([older(last, c)] if last else [])]
    hits = sa.select(c.run_id, c.created_at).where(*where).cte("hits").prefix_with("MATERIALIZED")
    return sa.select(hits.c.run_id).order_by(hits.c.created_at.desc(), hits.c.run_id.desc()).limit(most)


def counted(chosen: Filter, dialect: str) -> Rows:
    """How many there are of each status."""
    wanted = words(chosen.search)
    if dialect == "postgresql" and wanted and _answers_alone(chosen):
        status = run_words.c.status
        return sa.select(status, sa.func.count()).where(*_hits(chosen, wanted)).group_by(status)
    query = sa.select(runs.c.status, sa.func.count()).where(*conditions(chosen, dialect)).group_by(runs.c.status)
    return reading(query, index_for(chosen, counting=True))


def _answers_alone(chosen: Filter) -> bool:
    return not any(getattr(chosen, field.name) for field in fields(Filter) if field.name not in NARROW)


def _hits(chosen: Filter, wanted: list[str]) -> list[Condition]:
    return [_holds(wanted), *_narrow(chosen, run_words.c)] if _answers_alone(chosen) else conditions(chosen, "postgresql")


def begins(search: str) -> list[Condition]:
    """The same as the word index answers, told from the row itself."""
    padded = sa.literal(" ") + runs.c.words
    return [padded.contains(f" {word}") for word in words(search)]


def _prompt(wanted: str) -> Condition:
    name, _, version = wanted.partition("@")
    if version:
        return sa.and_(runs.c.prompt_name == name, runs.c.prompt_version == version)
    return runs.c.prompt_name == name


def _matches(search: str, dialect: str) -> Condition:
    """Every word begins a word of the row. Words are letters and digits alone, so that quoting them is safe."""
    wanted = words(search)
    if not wanted:
        return sa.false()
    if dialect == "sqlite":
        query = " AND ".join(f'"{word}" *' for word in wanted)
        return runs.c.seq.in_(sa.select(run_words.c.rowid).where(run_words.c.run_words.op("MATCH")(query)))
    return runs.c.seq.in_(sa.select(run_words.c.seq).where(_holds(wanted)))


def _holds(wanted: list[str]) -> Condition:
    """For `run_words` on Postgres."""
    query = " & ".join(f"'{word}':*" for word in wanted)
    return run_words.c.words.bool_op("@@")(sa.cast(sa.bindparam(None, query, Words), _TSQUERY))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tsquery"


_TSQUERY = _TsQuery()
