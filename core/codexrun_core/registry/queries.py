"""A filter as SQL, so that both databases answer it from an index."""

from dataclasses import fields, replace
from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.tables import SafeText, run_labels, run_words, runs
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import Requirement
from codexrun_core.runs.paging import Cursor
from codexrun_core.runs.record import RunRecord, search_words
from codexrun_core.schemas.inputs import MAX_INPUTS_BYTES

Condition = sa.ColumnElement[bool]
Query = sa.Select[Any]

RUN_COLUMNS = [runs.c[field.name] for field in fields(RunRecord)]
# What inputs that a job type may take can come to: in JSON as it is stored a character of two bytes
# is six.
MAX_LISTED_CHARACTERS = 4 * MAX_INPUTS_BYTES
NEWEST_FIRST = (runs.c.created_at.desc(), runs.c.run_id.desc())


_OTHER = run_labels.alias("other")
# what the indexes of words (Postgres) and of labels can answer alone
INDEXED_FIELDS = ("job_type", "status", "since", "until")


def conditions(run_filter: Filter, dialect: str) -> list[Condition]:
    """Return the conditions of a filter: a row must fulfil all of them."""
    c = runs.c
    result = _indexed_conditions(run_filter, c)
    for column, values in (
        (c.model, run_filter.model),
        (c.requested_by, run_filter.user),
        (c.retry_of, run_filter.retry_of),
        (c.failure_class, run_filter.failure_class),
    ):
        if values:
            result.append(column.in_(values))
    if run_filter.prompt:
        result.append(sa.or_(*map(_prompt, run_filter.prompt)))
    result += _labels_conditions(run_filter.labels, c.seq)
    if run_filter.search.strip():
        result.append(_matches(run_filter.search, dialect))
    return result


def _indexed_conditions(run_filter: Filter, c: Any) -> list[Condition]:
    result: list[Condition] = [
        column.in_(choices)
        for column, choices in ((c.job_type, run_filter.job_type), (c.status, run_filter.status))
        if choices
    ]
    if run_filter.since:
        result.append(c.created_at >= run_filter.since)
    if run_filter.until:
        result.append(c.created_at < run_filter.until)
    return result


def after_values(values: list[Any], columns: list[Any], *, descending: bool = True) -> Condition:
    """Return the condition that a row comes after these values in an order by these columns."""
    position = sa.tuple_(
        *(sa.literal(value, column.type) for value, column in zip(values, columns, strict=True))
    )
    row = sa.tuple_(*columns)
    return row < position if descending else row > position


def after_cursor(cursor: Cursor, c: Any = runs.c) -> Condition:
    """Return the condition that a row comes after the cursor in the list's order."""
    return after_values([cursor.created_at, cursor.run_id], [c.created_at, c.run_id])


LIST_INDEX = "ix_runs_list"
STATUS_INDEX = "ix_runs_status"


def index_for(run_filter: Filter, *, counting: bool = False) -> str | None:
    """Which index SQLite should read. Left alone it reads one filter's index and then a row for
    each of its entries; an index that holds all filters answers without a row. None: its own choice
    is right."""
    used = {
        name
        for name in ("job_type", "status", "prompt", "model", "user", "retry_of", "labels")
        if getattr(run_filter, name)
    }
    if run_filter.search.strip():
        return STATUS_INDEX if counting and used <= {"job_type", "status"} else LIST_INDEX
    return LIST_INDEX if (len(used) > 1 or run_filter.labels) and "retry_of" not in used else None


def with_index(query: Query, index: str | None) -> Query:
    """Return the query, told which index to read on SQLite."""
    return query.with_hint(runs, f"INDEXED BY {index}", "sqlite") if index else query


def _if_not_large(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return a column of JSON, empty where it is larger than it may be: read, 1 MiB of it is some
    35 MiB of objects, and a list has hundreds of rows."""
    large = sa.func.length(sa.cast(column, sa.Text)) > MAX_LISTED_CHARACTERS
    empty = sa.literal({}, type_=column.type)
    return sa.case((large, empty), else_=column).label(column.name)


LISTED_COLUMNS = [
    _if_not_large(column) if column.name in ("params", "spec") else column for column in RUN_COLUMNS
]


def rows_by_id(ids: Query, order: tuple[Any, ...] = NEWEST_FIRST) -> Query:
    """Return the query of the rows of these ids, in the list's order, without inputs that no job
    type takes. Ids come from an index alone; only rows that are shown are read."""
    return (
        sa.select(*LISTED_COLUMNS)
        .where(runs.c.run_id.in_(sa.select(ids.subquery().c.run_id)))
        .order_by(*order)
    )


def first_ids(where: list[Condition], index: str | None, limit: int) -> Query:
    """Return the query of the newest ids that fulfil all conditions."""
    return (
        with_index(sa.select(runs.c.run_id), index)
        .where(*where)
        .order_by(*NEWEST_FIRST)
        .limit(limit)
    )


def matching_ids(run_filter: Filter, cursor: Cursor | None, dialect: str, limit: int) -> Query:
    """Return the query of the newest ids of the filter, after `cursor`."""
    if label := _one_label(run_filter):
        columns = run_labels.c
        where = [
            *_with_label(label, run_filter),
            *([after_cursor(cursor, columns)] if cursor else []),
        ]
        return (
            sa.select(columns.run_id)
            .where(*where)
            .order_by(columns.created_at.desc(), columns.run_id.desc())
            .limit(limit)
        )
    words = search_words(run_filter.search)
    if dialect == "sqlite" or not words:
        where = [*conditions(run_filter, dialect), *([after_cursor(cursor)] if cursor else [])]
        return first_ids(where, index_for(run_filter), limit)
    # All hits first: left alone Postgres guesses how many there are, and may read the whole list
    # for a word that none has.
    c: Any = (run_words if _answers_alone(run_filter) else runs).c
    where = [*_hit_conditions(run_filter, words), *([after_cursor(cursor, c)] if cursor else [])]
    hits = sa.select(c.run_id, c.created_at).where(*where).cte("hits").prefix_with("MATERIALIZED")
    return (
        sa.select(hits.c.run_id)
        .order_by(hits.c.created_at.desc(), hits.c.run_id.desc())
        .limit(limit)
    )


def count_by_status(run_filter: Filter, dialect: str) -> Query:
    """Return the query of how many runs of the filter there are of each status."""
    if label := _one_label(run_filter):
        column = run_labels.c.status
        return (
            sa.select(column, sa.func.count())
            .where(*_with_label(label, run_filter))
            .group_by(column)
        )
    words = search_words(run_filter.search)
    if dialect == "postgresql" and words and _answers_alone(run_filter):
        status = run_words.c.status
        return (
            sa.select(status, sa.func.count())
            .where(*_hit_conditions(run_filter, words))
            .group_by(status)
        )
    query = (
        sa.select(runs.c.status, sa.func.count())
        .where(*conditions(run_filter, dialect))
        .group_by(runs.c.status)
    )
    return with_index(query, index_for(run_filter, counting=True))


def _answers_alone(run_filter: Filter, extra_field: str = "search") -> bool:
    return not any(
        getattr(run_filter, field.name)
        for field in fields(Filter)
        if field.name not in (*INDEXED_FIELDS, extra_field)
    )


def _one_label(run_filter: Filter) -> Requirement | None:
    """Return a label that the runs must have, where the index of labels answers alone: a run has a
    key once."""
    labels = sorted(
        (label for label in run_filter.labels if label.positive),
        key=lambda label: (len(label.values) != 1, label),
    )
    return labels[0] if labels and _answers_alone(run_filter, "labels") else None


def inverted_filter(run_filter: Filter) -> Filter | None:
    """Return the filter with its only label turned round, where that is one that runs must not
    have. Two counts from indexes are faster than looking at each run for what it has not."""
    if (
        len(run_filter.labels) != 1
        or run_filter.labels[0].positive
        or not _answers_alone(run_filter, "labels")
    ):
        return None
    return replace(run_filter, labels=(replace(run_filter.labels[0], positive=True),))


def _with_label(label: Requirement, run_filter: Filter) -> list[Condition]:
    others = tuple(requirement for requirement in run_filter.labels if requirement != label)
    return [
        *_label_conditions(label),
        *_indexed_conditions(run_filter, run_labels.c),
        *_labels_conditions(others, run_labels.c.seq),
    ]


def _labels_conditions(labels: tuple[Requirement, ...], seq: Any) -> list[Condition]:
    result = []
    for label in labels:
        rows = sa.select(_OTHER.c.seq).where(*_label_conditions(label, _OTHER.c))
        result.append(seq.in_(rows) if label.positive else seq.not_in(rows))
    return result


def _label_conditions(label: Requirement, c: Any = run_labels.c) -> list[Condition]:
    # Equality where it is one value: the index then has the list's order.
    if len(label.values) == 1:
        return [c.key == label.key, c.value == label.values[0]]
    if label.values:
        return [c.key == label.key, c.value.in_(label.values)]
    return [c.key == label.key]


def _hit_conditions(run_filter: Filter, words: list[str]) -> list[Condition]:
    return (
        [_tsquery_matches(words), *_indexed_conditions(run_filter, run_words.c)]
        if _answers_alone(run_filter)
        else conditions(run_filter, "postgresql")
    )


def word_conditions(search: str) -> list[Condition]:
    """Return conditions that answer as the word index does, from the row itself."""
    padded = sa.literal(" ") + runs.c.words
    return [padded.contains(f" {word}") for word in search_words(search)]


def _prompt(prompt: str) -> Condition:
    name, _, version = prompt.partition("@")
    if version:
        return sa.and_(runs.c.prompt_name == name, runs.c.prompt_version == version)
    return runs.c.prompt_name == name


def _matches(search: str, dialect: str) -> Condition:
    """Return the condition that every word begins a word of the row. Words are letters and digits
    alone, so that quoting them is safe."""
    words = search_words(search)
    if not words:
        return sa.false()
    if dialect == "sqlite":
        query = " AND ".join(f'"{word}" *' for word in words)
        return runs.c.seq.in_(
            sa.select(run_words.c.rowid).where(run_words.c.run_words.op("MATCH")(query))
        )
    return runs.c.seq.in_(sa.select(run_words.c.seq).where(_tsquery_matches(words)))


def _tsquery_matches(words: list[str]) -> Condition:
    """Return the same condition for `run_words` on Postgres."""
    query = " & ".join(f"'{word}':*" for word in words)
    return run_words.c.words.bool_op("@@")(sa.cast(sa.bindparam(None, query, SafeText), _TSQUERY))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tsquery"


_TSQUERY = _TsQuery()
