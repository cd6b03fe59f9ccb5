"""Run by Alembic, on the connection that schema.py opened and locked."""

from typing import Any

from alembic import context

from codexrun_core.registry.tables import metadata, run_words


def ours(name: str | None, kind: str, _parents: Any) -> bool:
    """The word index is no model's: it differs by database, and FTS5 keeps tables of its own."""
    return kind != "table" or name is None or not name.startswith(run_words.name)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_name=ours,
    compare_type=True,
    render_as_batch=True,  # SQLite cannot alter most of a table
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
