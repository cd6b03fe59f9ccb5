"""POST /cleanup: what ended long ago goes, folder first and row last, in batches, and nothing else
ever does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from apistand import Stand, services_over
from artifacts import store_artifact
from fake_cluster import FakeCluster

from codexrun_api.app import create_app
from codexrun_api.archive.archive import Archive
from codexrun_api.runs import retention
from codexrun_api.settings import Settings
from codexrun_core.errors import Unavailable
from codexrun_core.runs.record import RunRecord

LONG_AGO = datetime.now(UTC) - timedelta(days=15)


class Kept(Stand):
    """An api with rows and folders of old runs."""

    @property
    def archive(self) -> Archive:
        return self.services.archive  # type: ignore[return-value]

    async def run(
        self, number: int, status: str = "succeeded", *, folder: bool = True, **more: Any
    ) -> str:
        """A run of two weeks ago and a day; its id."""
        run_id = f"00000000-0000-4000-8000-{number:012d}"
        record = RunRecord(
            run_id,
            f"run-{number}",
            "codexrun",
            "hello",
            status,
            LONG_AGO,
            LONG_AGO,
            finished_at=LONG_AGO,
        )
        await self.registry.record(replace(record, **more))
        if folder:
            self.archive.append_attempt(run_id, 1, 0, b"a line\n")
            store_artifact(self.archive, run_id, "final-message.md", b"done")
        return run_id

    async def clean_up(self, **wish: Any) -> dict[str, Any]:
        answer = await self.http.post("/cleanup", json=wish)
        assert answer.status_code == 200, answer.text
        return {key: value for key, value in answer.json().items() if key != "before"}

    async def left(self, run_id: str) -> tuple[bool, bool]:
        """Whether row and folder are there."""
        return await self.registry.get(run_id) is not None, self.archive.holds(run_id)


@pytest.fixture
async def kept(settings: Settings) -> AsyncIterator[Kept]:
    kube = FakeCluster()
    async with services_over(settings, kube) as services:
        made = Kept(kube, services.registry, create_app(services))
        async with made.http:
            yield made


async def test_what_ended_more_than_fourteen_days_ago_goes_with_its_folder(kept: Kept) -> None:
    old = await kept.run(1)
    bare = await kept.run(2, folder=False)
    young = await kept.run(3, finished_at=datetime.now(UTC) - timedelta(days=13))
    assert await kept.clean_up() == {"dry_run": False, "removed": 2, "folders": 1}
    assert [await kept.left(run_id) for run_id in (old, bare, young)] == [
        (False, False),
        (False, False),
        (True, True),
    ]
    assert await kept.registry.events(old) == []
    assert await kept.clean_up() == {"dry_run": False, "removed": 0, "folders": 0}


async def test_a_dry_run_counts_the_same_and_removes_nothing(kept: Kept) -> None:
    old = await kept.run(1)
    bare = await kept.run(2, folder=False)
    assert await kept.clean_up(older_than="14d", dry_run=True) == {
        "dry_run": True,
        "removed": 2,
        "folders": 1,
    }
    assert [await kept.left(run_id) for run_id in (old, bare)] == [(True, True), (True, False)]


@pytest.mark.parametrize("status", ["pending", "queued", "starting", "running", "stopping"])
async def test_a_run_that_has_not_ended_stays_however_old_it_is(kept: Kept, status: str) -> None:
    live = await kept.run(1, status, finished_at=None)
    assert (await kept.clean_up(older_than="2100-01-01T00:00:00Z", force=True))["removed"] == 0
    assert await kept.left(live) == (True, True)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "rejected", "deleted"])
async def test_a_run_that_has_ended_goes_however_it_did(kept: Kept, status: str) -> None:
    ended = await kept.run(1, status, finished_at=None)
    assert (await kept.clean_up())["removed"] == 1
    assert await kept.left(ended) == (False, False)


async def test_it_is_done_in_batches(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_RUNS", 2)
    for number in range(5):
        await kept.run(number)
    remove = kept.registry.remove
    batches = []

    async def noted(run_ids: list[str]) -> int:
        batches.append(len(run_ids))
        assert not any(map(kept.archive.holds, run_ids)), "a row must outlive its folder"
        return await remove(run_ids)

    kept.registry.remove = noted  # type: ignore[method-assign]
    assert await kept.clean_up() == {"dry_run": False, "removed": 5, "folders": 5}
    assert batches == [2, 2, 1]


async def test_a_crash_between_folder_and_row_leaves_a_row_that_the_next_call_removes(
    kept: Kept,
) -> None:
    old = await kept.run(1)
    remove = kept.registry.remove

    async def away(_: list[str]) -> int:
        raise Unavailable("registry: away")

    kept.registry.remove = away  # type: ignore[method-assign]
    assert (await kept.http.post("/cleanup")).status_code == 503
    assert await kept.left(old) == (True, False)
    kept.registry.remove = remove  # type: ignore[method-assign]
    assert await kept.clean_up() == {"dry_run": False, "removed": 1, "folders": 0}
    assert await kept.left(old) == (False, False)


async def test_a_folder_that_cannot_go_keeps_its_row(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await kept.run(1)

    def stuck(_: str) -> bool:
        raise PermissionError("read-only volume")

    monkeypatch.setattr(kept.archive, "remove", stuck)
    assert (await kept.http.post("/cleanup")).status_code == 500
    assert await kept.left(old) == (True, True)


async def test_what_a_crash_left_of_a_removed_folder_goes_at_the_next_start(
    kept: Kept, settings: Settings
) -> None:
    old = await kept.run(1)
    (settings.archive / "runs" / old).rename(settings.archive / "partial" / "half-removed")
    Archive(settings.archive).open()
    assert list((settings.archive / "partial").iterdir()) == []
    assert await kept.left(old) == (True, False)


@pytest.mark.parametrize("wrong", ["soon", "-1d", "", 14])
async def test_a_wrong_age_is_refused_and_removes_nothing(kept: Kept, wrong: object) -> None:
    old = await kept.run(1)
    answer = await kept.http.post("/cleanup", json={"older_than": wrong})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert await kept.left(old) == (True, True)


@pytest.mark.parametrize("short", ["0s", "59m", "3599s", "2100-01-01T00:00:00Z"])
async def test_less_than_an_hour_is_refused_unless_it_is_forced(kept: Kept, short: str) -> None:
    old = await kept.run(1)
    answer = await kept.http.post("/cleanup", json={"older_than": short})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/older_than"
    assert "set force" in answer.json()["detail"]
    assert await kept.left(old) == (True, True)
    assert (await kept.clean_up(older_than=short, dry_run=True))["removed"] == 1
    assert (await kept.clean_up(older_than=short, force=True))["removed"] == 1


async def test_an_hour_is_long_enough(kept: Kept) -> None:
    now = datetime.now(UTC)
    await kept.run(1)
    young = await kept.run(2, finished_at=now - timedelta(minutes=50))
    assert (await kept.clean_up(older_than="61m"))["removed"] == 1
    assert await kept.left(young) == (True, True)


async def test_the_log_says_who_removed_how_much(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    await kept.run(1)
    with caplog.at_level("INFO"):
        await kept.clean_up()
    (line,) = [each for each in caplog.records if each.getMessage() == "runs.removed"]
    about = line.__dict__["fields"]
    assert (about["user"], about["runs"], about["folders"]) == ("shared", 1, 1)
