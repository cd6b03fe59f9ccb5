"""Rows against runs, in generated courses: runs come, move, end and go, seen or unseen; the
registry fails at any of its calls, before or after it has done the work, or the process ends there;
retention removes rows. Once all is quiet, rows are what the cluster says, and every recorded
transition was followed."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from apistand import empty_registry
from fake_cluster import FakeCluster
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from codexrun_api.mirror.event_buffer import EventBuffer
from codexrun_api.mirror.runs import Mirror
from codexrun_core.errors import Unavailable
from codexrun_core.registry import Registry
from codexrun_core.resources.phases import ENDED_STATUSES, LIVE_PHASES, Phase

FAR = datetime(2100, 1, 1, tzinfo=UTC)
RUNS = st.integers(0, 2)
# At which call of the registry, whether its work is done by then, and whether the process lives on.
FAULTS = st.tuples(st.integers(1, 12), st.booleans(), st.sampled_from(["away", "killed"]))
STEPS = st.one_of(
    st.tuples(st.just("create"), st.none()),
    st.tuples(st.just("move"), RUNS),
    st.tuples(st.just("end"), RUNS),
    st.tuples(st.just("label"), RUNS),
    st.tuples(st.just("delete"), RUNS),
    st.tuples(st.just("watch"), st.booleans()),
    st.tuples(st.just("work"), st.none() | FAULTS),
    st.tuples(st.just("work"), FAULTS),
    st.tuples(st.just("clean_up"), st.none()),
    st.tuples(st.just("restart"), st.none()),
)

END = ("end", 0)
WORK = ("work", None)


class Killed(BaseException):
    """The process has ended."""


class Unreliable(Registry):
    """Fails at one of its calls, as `fault` says."""

    fault: tuple[int, bool, str] | None = None

    async def _all(self, query: Any, **values: Any) -> list[Any]:
        return await self._call(super()._all(query, **values))

    async def _write(self, work: Any) -> Any:
        return await self._call(super()._write(work))

    async def _call(self, call: Any) -> Any:
        if self.fault is None:
            return await call
        number, done, how = self.fault
        if number > 1:
            self.fault = (number - 1, done, how)
            return await call
        self.fault = None
        if done:
            await call
        else:
            call.close()
        raise Killed if how == "killed" else Unavailable("registry: away")


class World:
    def __init__(self, registry: Unreliable) -> None:
        self.kube = FakeCluster()
        self.registry = registry
        self.uids: list[str] = []
        self.removed: set[str] = set()
        self.followed: set[str] = set()
        self.watching = True

    async def restart(self, _: None = None) -> None:
        self.mirror = Mirror(self.kube, self.registry, EventBuffer())
        self.mirror.writer.listen(lambda move: self.followed.add(move.event_id))
        await self.watch(True)
        self.mirror.writer.compare(self.mirror.comparison)

    async def watch(self, watching: bool) -> None:
        """Cut the watch, or list anew."""
        self.watching = watching
        if watching:
            await self.mirror.watcher._list()

    async def create(self, _: None) -> None:
        body = {"metadata": {"name": f"run-{len(self.uids)}"}, "spec": {"jobType": "hello"}}
        raw = self.kube.put(self.kube.runs, body)
        self.uids.append(raw["metadata"]["uid"])
        self._tell(raw)

    async def move(self, number: int) -> None:
        if raw := self._run(number):
            phase = Phase(raw.get("status", {}).get("phase", "Pending"))
            if not phase.terminal and phase is not LIVE_PHASES[-1]:
                following = LIVE_PHASES[LIVE_PHASES.index(phase) + 1]
                self._tell(self.kube.status(f"run-{number}", following))

    async def end(self, number: int) -> None:
        if (raw := self._run(number)) and "finishedAt" not in raw.get("status", {}):
            at = "2026-01-31T12:00:30Z"
            self._tell(self.kube.status(f"run-{number}", "Failed", finishedAt=at))

    async def label(self, number: int) -> None:
        if self._run(number):
            labels = {"metadata": {"labels": {"changed": str(self.kube.version)}}}
            self._tell(self.kube.patch(f"{self.kube.runs}/run-{number}", labels))

    async def delete(self, number: int) -> None:
        if self._run(number):
            self.kube.remove(f"{self.kube.runs}/run-{number}")
            self._tell(self.kube.log[-1][2]["object"], gone=True)

    async def work(self, fault: tuple[int, bool, str] | None) -> None:
        self.registry.fault = fault
        try:
            await self.mirror.writer.drain()
        except Unavailable:
            self.mirror.writer.compare(self.mirror.comparison)
        except Killed:
            self.registry.fault = None
            await self.restart()
        self.registry.fault = None

    async def clean_up(self, _: None) -> None:
        run_ids = await self.registry.expired(FAR)
        await self.registry.remove(run_ids)
        self.removed |= set(run_ids)

    async def check(self) -> None:
        """Hold all against the cluster, in this process and in the next."""
        if not self.watching:
            await self.watch(True)
        await self._check()
        await self.restart()
        await self._check()

    async def _check(self) -> None:
        await self.work(None)
        await self.work(None)
        assert self.mirror.writer.lag == 0
        assert await self.registry.pending_transitions(1) == []
        for number, uid in enumerate(self.uids):
            raw = self._run(number)
            row = await self.registry.get(uid)
            if uid in self.removed:
                assert row is None, "retention is for good"
            elif raw:
                assert row is not None
                phase = raw.get("status", {}).get("phase", "Pending").lower()
                assert (row.status, row.deleted_at) == (phase, None)
            elif row:
                assert row.status in ENDED_STATUSES
                assert row.deleted_at is not None
            recorded = {event.event_id for event in await self.registry.events(uid)}
            assert recorded <= self.followed, "what was recorded was followed"
        there = {raw["metadata"]["uid"] for raw in self.kube.items(self.kube.runs)}
        assert set(await self.registry.removed("codexrun")) <= there
        assert set(self.mirror.runs) | set(self.mirror.ended) == there

    def _run(self, number: int) -> dict[str, Any] | None:
        return self.kube.objects.get(f"{self.kube.runs}/run-{number}")

    def _tell(self, raw: dict[str, Any], *, gone: bool = False) -> None:
        if self.watching:
            self.mirror.seen(raw, gone)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(STEPS, min_size=5, max_size=25))
@example([END, WORK, ("clean_up", None), ("label", 0)])  # a late event
@example([END, WORK, ("clean_up", None), ("delete", 0)])
@example([END, WORK, ("clean_up", None), ("restart", None)])
@example([WORK, END, ("work", (2, True, "away")), WORK])  # the answer was lost
@example([WORK, END, ("work", (2, True, "killed"))])
@example([WORK, END, ("work", (3, True, "killed"))])  # pending, and nobody was told
@example([WORK, END, WORK, ("watch", False), ("delete", 0), ("restart", None)])
@example([WORK, ("watch", False), END, ("delete", 0), ("watch", True)])
async def test_rows_are_what_the_cluster_says_whatever_failed(
    tmp_path: Path, steps: list[tuple[str, Any]]
) -> None:
    database = tmp_path / f"{uuid.uuid4()}.db"
    database.write_bytes(empty_registry())
    async with await Unreliable.open(f"sqlite:///{database}") as registry:
        await registry.check()
        world = World(registry)
        await world.restart()
        for _ in range(2):
            await world.create(None)
        for name, argument in steps:
            await getattr(world, name)(argument)
        await world.check()
