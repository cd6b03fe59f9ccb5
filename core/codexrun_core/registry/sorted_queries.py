"""A sorted list as SQL. Without a filter, or by labels alone, an index has its order; else all that
match are sorted."""

from typing import Any

import sqlalchemy as sa

from codexrun_core.registry.queries import (
    LIST_INDEX,
    Condition,
    Query,
    after_values,
    conditions,
    matching_ids,
    with_index,
)
from codexrun_core.registry.tables import runs
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.paging import Cursor
from codexrun_core.runs.sorting import NEVER_NULL, NEWEST, Sort


def order(sort: Sort) -> tuple[Any, ...]:
    """Return the order of rows: NULL comes last both ways."""
    return (*_nulls_last(sort), *_directions(sort, _columns(sort)))


def page_ids(
    run_filter: Filter, sort: Sort, cursor: Cursor | None, dialect: str, limit: int
) -> list[Query]:
    """Return the queries of the page's ids; the next one is needed where those before found too
    few."""
    if sort == NEWEST:
        return [matching_ids(run_filter, cursor, dialect, limit)]
    where = conditions(run_filter, dialect)
    in_order = run_filter == Filter(labels=run_filter.labels)
    if sort.key in NEVER_NULL or not in_order:
        index = _index(sort) if in_order and sort.key != "created" else LIST_INDEX
        position = [_after(sort, cursor)] if cursor else []
        ids = (
            with_index(sa.select(runs.c.run_id), index)
            .where(*where, *position)
            .order_by(*order(sort))
        )
        return [ids.limit(limit)]
    # Each in the index's own order: an order that puts the unknown last both ways no index has.
    among_unknown = cursor if cursor and cursor.value is None else None
    parts = [*([] if among_unknown else [_not_null(sort, cursor)]), _null(sort, among_unknown)]
    return [_in_index(sort, [*where, *part], limit) for part in parts]


def _in_index(sort: Sort, where: list[Condition], limit: int) -> Query:
    ids = with_index(sa.select(runs.c.run_id), _index(sort)).where(*where)
    return ids.order_by(*_directions(sort, _columns(sort))).limit(limit)


def _not_null(sort: Sort, cursor: Cursor | None) -> list[Condition]:
    condition = runs.c[sort.column].is_not(None)
    return (
        [condition, after_values(_values(sort, cursor), _columns(sort), descending=sort.descending)]
        if cursor
        else [condition]
    )


def _null(sort: Sort, cursor: Cursor | None) -> list[Condition]:
    condition = runs.c[sort.column].is_(None)
    return (
        [
            condition,
            after_values(_values(NEWEST, cursor), _columns(NEWEST), descending=sort.descending),
        ]
        if cursor
        else [condition]
    )


def _after(sort: Sort, cursor: Cursor) -> Condition:
    if sort.key in NEVER_NULL:
        return after_values(_values(sort, cursor), _columns(sort), descending=sort.descending)
    if cursor.value is None:
        return sa.and_(*_null(sort, cursor))
    return sa.or_(sa.and_(*_not_null(sort, cursor)), *_null(sort, None))


def _columns(sort: Sort) -> list[Any]:
    first = [] if sort.key == "created" else [runs.c[sort.column]]
    return [*first, runs.c.created_at, runs.c.run_id]


def _values(sort: Sort, cursor: Cursor) -> list[Any]:
    first = [] if sort.key == "created" else [cursor.value]
    return [*first, cursor.created_at, cursor.run_id]


def _directions(sort: Sort, columns: list[Any]) -> list[Any]:
    return [column.desc() if sort.descending else column.asc() for column in columns]


def _nulls_last(sort: Sort) -> list[Any]:
    return [] if sort.key in NEVER_NULL else [runs.c[sort.column].is_(None)]


def _index(sort: Sort) -> str:
    return f"ix_runs_{sort.column}"
