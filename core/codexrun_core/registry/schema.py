"""The schema of the database, and how it is brought to this version's: one chain of migrations, and
one process at a time on it.

Migrations are additive, so that `helm rollback` works: the version before runs on what a newer one
has migrated.
"""

import io
from collections.abc import Callable
from typing import Any, cast

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from codexrun_core.errors import Unavailable
from codexrun_core.registry.tables import metadata

# "codexrun": advisory locks share one number space per database
LOCK_KEY = 0x636F646578_72756E % 2**63


class SchemaError(Unavailable):
    """The registry's schema is not this version's, and nothing was done. The message says which way
    out there is."""


def head() -> str:
    """Return the revision of the schema that this version works with."""
    return cast(str, ScriptDirectory.from_config(_config()).get_current_head())


def check(connection: sa.Connection) -> None:
    """Refuse a database with a schema that this version cannot work on.

    Raises:
        SchemaError: it is older, it is newer by more than additions, or there is none.
    """
    revision = _current_revision(connection)
    newest = head()
    if revision == newest:
        return
    if revision is None:
        raise SchemaError(
            f"registry: the database has no schema yet; migrate it to schema {newest} (the REST API"
            " does so when it starts)"
        )
    if not _is_known(revision):
        obstacles = _obstacles(connection)
        if not obstacles:
            return
        raise SchemaError(
            f"registry: a newer codexrun has migrated the database to schema {revision!r}, which"
            f" this version cannot use ({'; '.join(obstacles)}). Install the version that migrated"
            " the database, or a later one, or restore the backup made before the upgrade"
        )
    raise SchemaError(
        f"registry: schema {revision} is older than {newest}, which this version needs; migrate the"
        " database (the REST API does so when it starts)"
    )


def upgrade(connection: sa.Connection) -> bool:
    """Bring the database to this version's schema, within the caller's transaction and under a
    lock; return whether there was an older one.

    A newer schema that only adds to this version's stays as it is.

    Raises:
        SchemaError: it is newer by more than additions.
    """
    _lock(connection)
    revision = _current_revision(connection)
    if revision is not None and not _is_known(revision):
        check(connection)
        return False
    _run(connection, lambda config: command.upgrade(config, "head"))
    return revision not in (None, head())


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Bring the database back to an older schema ("base": none at all), under the same lock."""
    _lock(connection)
    _run(connection, lambda config: command.downgrade(config, revision))


def compare(connection: sa.Connection) -> None:
    """Hold the tables against the chain, as `alembic check` does; it raises where a migration is
    missing."""
    _run(connection, command.check)


def _config() -> Config:
    config = Config(stdout=io.StringIO())  # a library prints nothing
    config.set_main_option("script_location", "codexrun_core.registry:migrations")
    return config


def _run(connection: sa.Connection, action: Callable[[Config], None]) -> None:
    config = _config()
    config.attributes["connection"] = connection
    action(config)


def _lock(connection: sa.Connection) -> None:
    """Hold the migrations' lock until the end of the transaction. SQLite's writers begin with BEGIN
    IMMEDIATE, which is the lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})


def _current_revision(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_known(revision: str) -> bool:
    return any(
        script.revision == revision
        for script in ScriptDirectory.from_config(_config()).walk_revisions()
    )


def _obstacles(connection: sa.Connection) -> list[str]:
    """Return what keeps this version from working on a newer schema, by table and column; nothing
    where that one only adds.

    Other versions' tables and indexes are not looked at. Triggers cannot be judged: they are the
    newer version's.
    """
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_name": lambda name, kind, _parents: kind != "table" or name in metadata.tables,
        },
    )
    differences: list[Any] = []
    for difference in compare_metadata(context, metadata):
        # Changes of one column come as a list.
        differences.extend(difference if isinstance(difference, list) else [difference])
    return [words for words in map(_obstacle, differences) if words]


def _obstacle(difference: tuple[Any, ...]) -> str | None:
    """Describe one of Alembic's differences, seen from the database: "remove" is what only the
    database has."""
    operation = difference[0]
    if operation in ("remove_index", "add_index", "remove_table"):
        return None  # indexes decide how fast, not whether
    if operation == "remove_column":
        column: sa.Column[Any] = difference[3]
        if column.nullable or column.server_default is not None:
            return None
        return f"{column.table.name}.{column.name} is mandatory and unknown to this version"
    if operation == "add_table":
        return f"{difference[1].name} is missing"
    if operation == "add_column":
        return f"{difference[2]}.{difference[3].name} is missing"
    if operation.startswith("modify_"):
        return (
            f"{difference[2]}.{difference[3]} has a different {operation.removeprefix('modify_')}"
        )
    constraint: sa.Constraint = difference[1]
    change = "is missing" if operation.startswith("add_") else "is unknown to this version"
    return f"{constraint.table.name}: constraint {constraint.name} {change}"
