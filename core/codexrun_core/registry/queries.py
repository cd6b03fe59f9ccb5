"""A filter as SQL, so that both databases answer it from an index."""

from dataclasses import fields, replace
from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.tables import SafeText, run_labels, run_words, runs
from codexrun_core.runs.filters import Cursor, Filter
from codexrun_core.runs.labels import Requirement
from codexrun_core.runs.record import RunRecord, search_words

Condition = sa.ColumnElement[bool]
Query = sa.Select[Any]

RUN_COLUMNS = [runs.c[field.name] for field in fields(RunRecord)]
NEWEST_FIRST = (runs.c.created_at.desc(), runs.c.run_id.desc())


_OTHER = run_labels.alias("other")
INDEXED_FIELDS = (
    "job_type",
    "status",
    "since",
    "until",
)  # what the indexes of words (Postgres) and of labels can answer alone


def conditions(chosen: Filter, dialect: str) -> list[Condition]:
    """What a row must fulfil, all of it."""
    c = runs.c
    found = _narrow(chosen, c)
    for column, values in (
        (c.model, chosen.model),
        (c.requested_by, chosen.user),
        (c.retry_of, chosen.retry_of),
    ):
        if values:
            found.append(column.in_(values))
    if chosen.prompt:
        found.append(sa.or_(*map(_prompt, chosen.prompt)))
    found += _labelled(chosen.labels, c.seq)
    if chosen.search.strip():
        found.append(_matches(chosen.search, dialect))
    return found


def _narrow(chosen: Filter, c: Any) -> list[Condition]:
    found: list[Condition] = [
        column.in_(of)
        for column, of in ((c.job_type, chosen.job_type), (c.status, chosen.status))
        if of
    ]
    if chosen.since:
        found.append(c.created_at >= chosen.since)
    if chosen.until:
        found.append(c.created_at < chosen.until)
    return found


def after_values(values: list[Any], columns: list[Any], *, descending: bool = True) -> Condition:
    """What comes after these values in an order by these columns."""
    there = sa.tuple_(
        *(sa.literal(value, column.type) for value, column in zip(values, columns, strict=True))
    )
    here = sa.tuple_(*columns)
    return here < there if descending else here > there


def after_cursor(last: Cursor, c: Any = runs.c) -> Condition:
    """Behind this run in the list's order."""
    return after_values([last.created_at, last.run_id], [c.created_at, c.run_id])


LIST_INDEX, STATUS_INDEX = "ix_runs_list", "ix_runs_status"


def index_for(chosen: Filter, *, counting: bool = False) -> str | None:
    """Which index SQLite should read. Left alone it reads one filter's index and then a row for
    each of its entries; an index that holds all filters answers without a row. None: its own choice
    is right."""
    used = {
        name
        for name in ("job_type", "status", "prompt", "model", "user", "retry_of", "labels")
        if getattr(chosen, name)
    }
    if chosen.search.strip():
        return STATUS_INDEX if counting and used <= {"job_type", "status"} else LIST_INDEX
    return LIST_INDEX if (len(used) > 1 or chosen.labels) and "retry_of" not in used else None


def with_index(query: Query, index: str | None) -> Query:
    """The query, told which index to read on SQLite."""
    return query.with_hint(runs, f"INDEXED BY {index}", "sqlite") if index else query


def rows_by_id(ids: Query, order: tuple[Any, ...] = NEWEST_FIRST) -> Query:
    """Whole rows of these ids, in the list's order. Ids come from an index alone; only rows that
    are shown are read."""
    return (
        sa.select(*RUN_COLUMNS)
        .where(runs.c.run_id.in_(sa.select(ids.subquery().c.run_id)))
        .order_by(*order)
    )


def first_ids(where: list[Condition], index: str | None, most: int) -> Query:
    """The newest ids that fulfil all of it."""
    return (
        with_index(sa.select(runs.c.run_id), index)
        .where(*where)
        .order_by(*NEWEST_FIRST)
        .limit(most)
    )


def matching_ids(chosen: Filter, last: Cursor | None, dialect: str, most: int) -> Query:
    """The newest ids of the filter, from behind `last`."""
    if label := _one_label(chosen):
        of = run_labels.c
        where = [*_with_label(label, chosen), *([after_cursor(last, of)] if last else [])]
        return (
            sa.select(of.run_id)
            .where(*where)
            .order_by(of.created_at.desc(), of.run_id.desc())
            .limit(most)
        )
    wanted = search_words(chosen.search)
    if dialect == "sqlite" or not wanted:
        where = [*conditions(chosen, dialect), *([after_cursor(last)] if last else [])]
        return first_ids(where, index_for(chosen), most)
    # All hits first: left alone Postgres guesses how many there are, and may read the whole list
    # for a word that none has.
    c: Any = (run_words if _answers_alone(chosen) else runs).c
    where = [*_hits(chosen, wanted), *([after_cursor(last, c)] if last else [])]
    hits = sa.select(c.run_id, c.created_at).where(*where).cte("hits").prefix_with("MATERIALIZED")
    return (
        sa.select(hits.c.run_id)
        .order_by(hits.c.created_at.desc(), hits.c.run_id.desc())
        .limit(most)
    )


def count_by_status(chosen: Filter, dialect: str) -> Query:
    """How many there are of each status."""
    if label := _one_label(chosen):
        of = run_labels.c.status
        return sa.select(of, sa.func.count()).where(*_with_label(label, chosen)).group_by(of)
    wanted = search_words(chosen.search)
    if dialect == "postgresql" and wanted and _answers_alone(chosen):
        status = run_words.c.status
        return sa.select(status, sa.func.count()).where(*_hits(chosen, wanted)).group_by(status)
    query = (
        sa.select(runs.c.status, sa.func.count())
        .where(*conditions(chosen, dialect))
        .group_by(runs.c.status)
    )
    return with_index(query, index_for(chosen, counting=True))


def _answers_alone(chosen: Filter, what: str = "search") -> bool:
    return not any(
        getattr(chosen, field.name)
        for field in fields(Filter)
        if field.name not in (*INDEXED_FIELDS, what)
    )


def _one_label(chosen: Filter) -> Requirement | None:
    """A label that the runs must have, where the index of labels answers alone: a run has a key
    once."""
    wanted = sorted(
        (one for one in chosen.labels if one.wanted), key=lambda one: (len(one.values) != 1, one)
    )
    return wanted[0] if wanted and _answers_alone(chosen, "labels") else None


def inverted_filter(chosen: Filter) -> Filter | None:
    """Where the only label is one that runs must not have: the same with it. Two counts from
    indexes are faster than looking at each run for what it has not."""
    if len(chosen.labels) != 1 or chosen.labels[0].wanted or not _answers_alone(chosen, "labels"):
        return None
    return replace(chosen, labels=(replace(chosen.labels[0], wanted=True),))


def _with_label(label: Requirement, chosen: Filter) -> list[Condition]:
    others = tuple(one for one in chosen.labels if one != label)
    return [*_is(label), *_narrow(chosen, run_labels.c), *_labelled(others, run_labels.c.seq)]


def _labelled(wanted: tuple[Requirement, ...], seq: Any) -> list[Condition]:
    found = []
    for one in wanted:
        held = sa.select(_OTHER.c.seq).where(*_is(one, _OTHER.c))
        found.append(seq.in_(held) if one.wanted else seq.not_in(held))
    return found


def _is(one: Requirement, c: Any = run_labels.c) -> list[Condition]:
    # Equality where it is one value: the index then has the list's order.
    values = (
        [c.value == one.values[0]]
        if len(one.values) == 1
        else [c.value.in_(one.values)]
        if one.values
        else []
    )
    return [c.key == one.key, *values]


def _hits(chosen: Filter, wanted: list[str]) -> list[Condition]:
    return (
        [_holds(wanted), *_narrow(chosen, run_words.c)]
        if _answers_alone(chosen)
        else conditions(chosen, "postgresql")
    )


def word_conditions(search: str) -> list[Condition]:
    """The same as the word index answers, told from the row itself."""
    padded = sa.literal(" ") + runs.c.words
    return [padded.contains(f" {word}") for word in search_words(search)]


def _prompt(wanted: str) -> Condition:
    name, _, version = wanted.partition("@")
    if version:
        return sa.and_(runs.c.prompt_name == name, runs.c.prompt_version == version)
    return runs.c.prompt_name == name


def _matches(search: str, dialect: str) -> Condition:
    """Every word begins a word of the row. Words are letters and digits alone, so that quoting them
    is safe."""
    wanted = search_words(search)
    if not wanted:
        return sa.false()
    if dialect == "sqlite":
        query = " AND ".join(f'"{word}" *' for word in wanted)
        return runs.c.seq.in_(
            sa.select(run_words.c.rowid).where(run_words.c.run_words.op("MATCH")(query))
        )
    return runs.c.seq.in_(sa.select(run_words.c.seq).where(_holds(wanted)))


def _holds(wanted: list[str]) -> Condition:
    """For `run_words` on Postgres."""
    query = " & ".join(f"'{word}':*" for word in wanted)
    return run_words.c.words.bool_op("@@")(sa.cast(sa.bindparam(None, query, SafeText), _TSQUERY))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tsquery"


_TSQUERY = _TsQuery()
