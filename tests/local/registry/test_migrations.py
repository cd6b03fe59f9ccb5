"""The chain goes up and down on both databases, matches the tables, and refuses what it does not
know."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from registry_rows import later, row, run_id

from codexrun_core.registry import Registry, SchemaError, schema
from codexrun_core.registry.schema import head
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector


async def on(registry: Registry, action: Callable[[sa.Connection], None]) -> None:
    await registry._in_transaction(action)


async def tables(registry: Registry) -> set[str]:
    return await registry._reading(lambda connection: set(sa.inspect(connection).get_table_names()))


async def test_up_down_and_up_again(url: str) -> None:
    async with await Registry.open(url) as registry:
        await registry.migrate()
        assert {"runs", "run_events"} <= await tables(registry)
        await registry.record(row())
        await on(registry, lambda connection: schema.downgrade(connection, "base"))
        assert await tables(registry) == {"alembic_version"}
        await registry.migrate()
        await registry.record(row())
        assert await registry.counts(Filter(search="run")) == {"running": 1}


async def test_a_search_finds_the_same_rows_after_each_revision(url: str) -> None:
    """The word index of Postgres moved: what was there goes along, both ways."""
    async with await Registry.open(url) as registry:
        await registry.migrate()
        await registry.record(row(0, name="kept-run"))
        await on(registry, lambda connection: schema.downgrade(connection, "0001"))
        await registry.migrate()
        await registry.record(row(1, "succeeded", name="later-run"))
        assert await registry.counts(Filter(search="run")) == {"running": 1, "succeeded": 1}
        assert [run.name for run in (await registry.page(Filter(search="kept"))).runs] == [
            "kept-run"
        ]
        await registry.remove([run_id(0)])
        assert await registry.counts(Filter(search="kept")) == {}


async def test_rows_of_before_labels_and_orders_are_kept_and_filled_when_seen_again(
    url: str,
) -> None:
    """Milliseconds are told as they would be today; labels come with the mirror's next list, also
    to a run that has ended."""
    times = {
        "started_at": later(1) + timedelta(microseconds=900_600),
        "finished_at": later(62) + timedelta(microseconds=1_400),
    }
    ended = row(0, "succeeded", resource_version=7, labels={"team": "a"}, **times)
    async with await Registry.open(url) as registry:
        await registry.migrate()
        await registry.record(replace(ended, labels={}))
        await registry.record(row(1))
        await on(registry, lambda connection: schema.downgrade(connection, "0002"))
        await registry.migrate()
        found = await registry._reading(
            lambda c: c.execute(sa.text("SELECT lasted_ms FROM runs ORDER BY created_at")).all()
        )
        assert [value for (value,) in found] == [ended.lasted_ms, None] == [60_100, None]
        assert (await registry.get(ended.run_id)).labels == {}  # type: ignore[union-attr]
        await registry.record(ended)
        assert await registry.counts(Filter(labels=parse_selector("team=a"))) == {"succeeded": 1}


async def test_outcomes_that_an_earlier_version_did_not_know_are_filled_when_seen_again(
    url: str,
) -> None:
    """The rest of how a run ended stays as it was recorded."""
    ended = row(
        0,
        "succeeded",
        resource_version=7,
        result='{"ok": true}',
        result_truncated=False,
        output={"ok": True},
        commit_id="a" * 40,
        warnings=["files of Git LFS"],
    )
    async with await Registry.open(url) as registry:
        await registry.migrate()
        await registry.record(ended)
        await on(registry, lambda connection: schema.downgrade(connection, "0006"))
        await registry.migrate()
        unfilled = await registry.get(ended.run_id)
        assert unfilled == replace(
            ended, result_truncated=None, output=None, commit_id=None, warnings=[]
        )
        await registry.record(replace(ended, resource_version=6))
        assert await registry.get(ended.run_id) == unfilled, "an older state fills nothing"
        await registry.record(replace(ended, result="another message", resource_version=9))
        assert await registry.get(ended.run_id) == ended


async def test_the_tables_are_what_the_chain_makes(registry: Registry) -> None:
    """`alembic check`: no difference that a migration would have to make."""
    await on(registry, schema.compare)


async def test_a_forgotten_migration_would_be_noticed(registry: Registry) -> None:
    await on(
        registry,
        lambda connection: (
            connection.exec_driver_sql("ALTER TABLE runs ADD COLUMN forgotten TEXT") and None
        ),
    )
    with pytest.raises(Exception, match="forgotten"):
        await on(registry, schema.compare)


async def test_migrating_again_changes_nothing(registry: Registry) -> None:
    await registry.record(row())
    await registry.migrate()
    assert await registry.get(run_id(0))


async def test_many_migrate_at_once(url: str) -> None:
    opened = [await Registry.open(url) for _ in range(5)]
    try:
        await asyncio.gather(*(registry.migrate() for registry in opened))
        assert await opened[0].record(row())
        assert await opened[-1].get(run_id(0))
    finally:
        for registry in opened:
            await registry.close()


CALLS: list[Callable[[Registry], Awaitable[object]]] = [
    lambda registry: registry.check(),
    lambda registry: registry.get("x"),
    lambda registry: registry.record(row()),
    lambda registry: registry.page(Filter()),
]


async def test_without_a_schema_every_call_says_so(url: str) -> None:
    async with await Registry.open(url) as registry:
        for call in CALLS:
            with pytest.raises(SchemaError, match="no schema yet; migrate it"):
                await call(registry)


async def test_an_older_schema_is_a_clear_error_until_migrated(
    registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = head()
    monkeypatch.setattr(schema, "head", lambda: "9998")
    async with await Registry.open(url) as other:
        for call in CALLS:
            with pytest.raises(SchemaError, match=f"schema {ours} is older than 9998"):
                await call(other)


ADDITIONS = [
    pytest.param("", id="nothing that a table shows"),
    pytest.param("ALTER TABLE runs ADD COLUMN later_note TEXT", id="a column that may be empty"),
    pytest.param(
        "ALTER TABLE runs ADD COLUMN later_flag INTEGER NOT NULL DEFAULT 0",
        id="a mandatory column with a default",
    ),
    pytest.param(
        "CREATE TABLE later_things (id INTEGER PRIMARY KEY, words TEXT NOT NULL)", id="a table"
    ),
    pytest.param("CREATE INDEX ix_runs_later ON runs (effort)", id="an index"),
    pytest.param("DROP INDEX ix_runs_model", id="an index less, which is slow and no more"),
]


async def become_later(registry: Registry, change: str) -> None:
    """As a newer version's migration 9999 would leave the database."""

    def migrate(connection: sa.Connection) -> None:
        if change:
            connection.exec_driver_sql(change)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    await on(registry, migrate)


async def revision(registry: Registry) -> str:
    query = sa.text("SELECT version_num FROM alembic_version")
    return str(await registry._reading(lambda connection: connection.scalar(query)))


@pytest.mark.parametrize("change", ADDITIONS)
async def test_a_newer_schema_that_only_adds_is_worked_on_and_stays_as_it_is(
    registry: Registry, url: str, change: str
) -> None:
    """What `helm rollback` needs: the version before runs on the migrated registry."""
    await registry.record(row(0))
    await become_later(registry, change)
    async with await Registry.open(url) as other:
        await other.migrate()
        for call in CALLS:
            await call(other)
        await other.record(row(1, "succeeded", name="written-by-the-version-before"))
        assert await other.counts(Filter(search="run")) == {"running": 1}
        assert await other.counts(Filter(search="before")) == {"succeeded": 1}
        await other.remove([run_id(1)])
    assert await revision(registry) == "9999"


RENAME = "ALTER TABLE runs RENAME COLUMN effort TO reasoning_effort"
OBSTACLES = [
    pytest.param(RENAME, r"runs\.effort is missing", None, id="a column renamed"),
    pytest.param(
        "ALTER TABLE runs DROP COLUMN error", r"runs\.error is missing", None, id="a column gone"
    ),
    pytest.param(
        "ALTER TABLE run_events RENAME TO moves",
        r"run_events is missing",
        None,
        id="a table renamed",
    ),
    pytest.param(
        "ALTER TABLE run_labels ADD COLUMN later_flag INTEGER NOT NULL",
        r"run_labels\.later_flag is mandatory and unknown to this version",
        "postgresql",
        id="a mandatory column without a default",
    ),
    pytest.param(
        "ALTER TABLE runs ALTER COLUMN turns TYPE TEXT",
        r"runs\.turns has a different type",
        "postgresql",
        id="another type",
    ),
    pytest.param(
        "ALTER TABLE runs DROP CONSTRAINT uq_runs_run_id",
        r"runs: constraint uq_runs_run_id is missing",
        "postgresql",
        id="a constraint gone that a write relies on",
    ),
]


@pytest.mark.parametrize(("change", "says", "only"), OBSTACLES)
async def test_a_newer_schema_that_takes_something_away_is_a_clear_error_and_stays_as_it_is(
    registry: Registry, url: str, change: str, says: str, only: str | None
) -> None:
    if only and only != registry.dialect:
        pytest.skip(f"{registry.dialect} has no such statement")
    await become_later(registry, change)
    async with await Registry.open(url) as other:
        for call in (*CALLS, lambda registry: registry.migrate()):
            with pytest.raises(SchemaError, match=says) as refused:
                await call(other)
            assert "schema '9999', which this version cannot use" in str(refused.value)
            assert ("Install the version that migrated the database, or a later one") in str(
                refused.value
            )
    assert await revision(registry) == "9999"


async def test_a_migration_that_fails_leaves_nothing_behind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both databases make tables within a transaction."""

    def up_and_fail(connection: sa.Connection) -> None:
        schema.upgrade(connection)
        raise RuntimeError("half way")

    async with await Registry.open(url) as registry:
        with pytest.raises(RuntimeError):
            await on(registry, up_and_fail)
        assert await tables(registry) == set()
        await registry.migrate()
