"""A filter as SQL, so that both databases answer it from an index."""

import sqlalchemy as sa

from codexrun_core.registry.filters import Filter
from codexrun_core.registry.record import words
from codexrun_core.registry.tables import WORDS_VECTOR, Words, run_words, runs

Condition = sa.ColumnElement[bool]


def conditions(chosen: Filter, dialect: str) -> list[Condition]:
    """What a row must fulfil, all of it."""
    c = runs.c
    found: list[Condition] = [
        column.in_(values)
        for column, values in (
            (c.job_type, chosen.job_type),
            (c.status, chosen.status),
            (c.model, chosen.model),
            (c.requested_by, chosen.user),
            (c.retry_of, chosen.retry_of),
        )
        if values
    ]
    if chosen.prompt:
        found.append(sa.or_(*map(_prompt, chosen.prompt)))
    if chosen.since:
        found.append(c.created_at >= chosen.since)
    if chosen.until:
        found.append(c.created_at < chosen.until)
    if chosen.search.strip():
        found.append(_matches(chosen.search, dialect))
    return found


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
    query = " & ".join(f"'{word}':*" for word in wanted)
    return sa.literal_column(WORDS_VECTOR).bool_op("@@")(sa.cast(sa.bindparam(None, query, Words), _TSQUERY))


class _TsQuery(sa.types.UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tsquery"


_TSQUERY = _TsQuery()
