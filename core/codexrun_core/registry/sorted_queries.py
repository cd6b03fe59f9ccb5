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
from codexrun_core.runs.filters import Cursor, Filter
from codexrun_core.runs.sorting import NEVER_NULL, NEWEST, Sort


def order(sort: Sort) -> tuple[Any, ...]:
    """Of rows: what is not known comes last both ways."""
    return (*_unknown_last(sort), *_by(sort, _columns(sort)))


def page_ids(
    chosen: Filter, sort: Sort, last: Cursor | None, dialect: str, most: int
) -> list[Query]:
    """Queries of the page's ids; the next one is needed where those before found too few."""
    if sort == NEWEST:
        return [matching_ids(chosen, last, dialect, most)]
    where = conditions(chosen, dialect)
    in_order = chosen == Filter(labels=chosen.labels)
    if sort.key in NEVER_NULL or not in_order:
        index = _index(sort) if in_order and sort.key != "created" else LIST_INDEX
        place = [_behind(sort, last)] if last else []
        ids = (
            with_index(sa.select(runs.c.run_id), index).where(*where, *place).order_by(*order(sort))
        )
        return [ids.limit(most)]
    # Each in the index's own order: an order that puts the unknown last both ways no index has.
    among_unknown = last if last and last.value is None else None
    parts = [*([] if among_unknown else [_known(sort, last)]), _unknown(sort, among_unknown)]
    return [_in_index(sort, [*where, *part], most) for part in parts]


def _in_index(sort: Sort, where: list[Condition], most: int) -> Query:
    ids = with_index(sa.select(runs.c.run_id), _index(sort)).where(*where)
    return ids.order_by(*_by(sort, _columns(sort))).limit(most)


def _known(sort: Sort, last: Cursor | None) -> list[Condition]:
    known = runs.c[sort.column].is_not(None)
    return (
        [known, after_values(_values(sort, last), _columns(sort), descending=sort.descending)]
        if last
        else [known]
    )


def _unknown(sort: Sort, last: Cursor | None) -> list[Condition]:
    unknown = runs.c[sort.column].is_(None)
    return (
        [unknown, after_values(_values(NEWEST, last), _columns(NEWEST), descending=sort.descending)]
        if last
        else [unknown]
    )


def _behind(sort: Sort, last: Cursor) -> Condition:
    if sort.key in NEVER_NULL:
        return after_values(_values(sort, last), _columns(sort), descending=sort.descending)
    if last.value is None:
        return sa.and_(*_unknown(sort, last))
    return sa.or_(sa.and_(*_known(sort, last)), *_unknown(sort, None))


def _columns(sort: Sort) -> list[Any]:
    first = [] if sort.key == "created" else [runs.c[sort.column]]
    return [*first, runs.c.created_at, runs.c.run_id]


def _values(sort: Sort, last: Cursor) -> list[Any]:
    first = [] if sort.key == "created" else [last.value]
    return [*first, last.created_at, last.run_id]


def _by(sort: Sort, columns: list[Any]) -> list[Any]:
    return [column.desc() if sort.descending else column.asc() for column in columns]


def _unknown_last(sort: Sort) -> list[Any]:
    return [] if sort.key in NEVER_NULL else [runs.c[sort.column].is_(None)]


def _index(sort: Sort) -> str:
    return f"ix_runs_{sort.column}"
