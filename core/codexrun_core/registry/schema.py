"""Which schema does the database have, and how does it get ours? One chain, and one process at a time on it."""

import io
from collections.abc import Callable
from typing import cast

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

LOCK = 0x636F646578_72756E % 2**63  # "codexrun": advisory locks share one number space per database


class SchemaError(Exception):
    """The registry's schema is not this version's. The message says which way out there is."""


def head() -> str:
    """The schema this version works with."""
    return cast(str, ScriptDirectory.from_config(_config()).get_current_head())


def check(connection: sa.Connection) -> None:
    """Refuse a database with another schema.

    Raises:
        SchemaError: it is older or newer, or has none.
    """
    found, ours = _current(connection), head()
    if found == ours:
        return
    if found is None:
        raise SchemaError(f"registry: the database has no schema yet; migrate it to {ours} (the api does so at its start)")
    if not _known(found):
        raise SchemaError(
            f"registry: schema {found!r} is not known to this version, whose newest is {ours}; a newer codexrun has "
            "migrated the database: install that version or a later one, or restore the backup made before the upgrade"
        )
    raise SchemaError(
        f"registry: schema {found} is older than {ours}, which this version needs; migrate it (the api does so at its start)"
    )


def upgrade(connection: sa.Connection) -> None:
    """Bring the database to this version's schema, within the caller's transaction and under a lock.

    Raises:
        SchemaError: it is newer.
    """
    _lock(connection)
    found = _current(connection)
    if found is not None and not _known(found):
        check(connection)
    _on(connection, lambda config: command.upgrade(config, "head"))


def downgrade(connection: sa.Connection, revision: str) -> None:
    """Bring the database back to an older schema ("base": none at all), under the same lock."""
    _lock(connection)
    _on(connection, lambda config: command.downgrade(config, revision))


def compare(connection: sa.Connection) -> None:
    """Hold the tables against the chain, as `alembic check` does; it raises where a migration is missing."""
    _on(connection, command.check)


def _config() -> Config:
    config = Config(stdout=io.StringIO())  # a library prints nothing
    config.set_main_option("script_location", "codexrun_core.registry:migrations")
    return config


def _on(connection: sa.Connection, action: Callable[[Config], None]) -> None:
    config = _config()
    config.attributes["connection"] = connection
    action(config)


def _lock(connection: sa.Connection) -> None:
    """Until the end of the transaction. SQLite's writers begin with BEGIN IMMEDIATE, which is the lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _known(revision: str) -> bool:
    return any(script.revision == revision for script in ScriptDirectory.from_config(_config()).walk_revisions())
