"""The real operator's process behind a proxy where every call of a run's life fails in every way,
where it is killed before and after each, and where lists and watches are late, cut, silent or old.

Many lives go on at once, each under a job type of its own, whose every run but one fault of its own
befalls. A few of them, chosen by a seed that is printed, are enough for the suite; `make faults`
takes all (CODEXRUN_FAULTS=all), and CODEXRUN_SEED repeats a choice.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from builders import by, kind_json, prompt_json, run_json, stamp
from fault_choice import SEED, WHOLE
from fault_proxy import (
    ANSWERS,
    KILLS,
    Behind,
    CutBetweenPages,
    Fault,
    FaultProxy,
    ListFault,
    Restored,
    WatchFault,
    cut_after,
    expired_after,
    silent,
    slow_by,
)
from httpapiserver import KINDS, HttpApiserver
from invariants import TERMINAL, Invariants
from job_controllers import JobControllers, failed, succeeded
from kubernetes.aio import client
from operator_process import OperatorProcess

from codexrun_api.mirror.event_buffer import EventBuffer
from codexrun_api.mirror.runs import Mirror
from codexrun_core.kube import watch
from codexrun_core.kube.client import Kube
from codexrun_core.registry import Registry
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import record_of

Json = dict[str, Any]

PATIENCE_SECONDS = 900  # until a wait gives up; a bound, never an assertion
WATCHED = ("codexruns", "codexjobtypes", "configmaps", "jobs", "pods")
# What a real one has for minutes: silence until a watch is opened anew, the pause between lists.
# The lease lasts on a machine where others work too.
SILENCE_SECONDS = 5
CONSTANTS = {
    "codexrun_operator.leader.LEASE_SECONDS": 120,
    "codexrun_operator.leader.RENEW_SECONDS": 90,
    "codexrun_core.kube.watch.SILENCE_SECONDS": SILENCE_SECONDS,
    "codexrun_operator.watch.resync.RESYNC_SECONDS": 5,
}

# How the runs of a life end: `a` and `b` begin, `b` is cancelled while it runs, `c` waits for a
# slot.
ENDS = {
    "a": ("Succeeded", "Completed", 110),
    "b": ("Cancelled", "CancelRequested", 110),
    "c": ("Failed", "SilentDeath", 110),
}
# So many calls that change something there are in such a life.
CALLS = {"a": 5, "b": 9, "c": 6, "jobtype": 1}


@dataclass(frozen=True)
class Strike:
    """One fault of one life: the `number`th call about run `who` (a, b, c) or the job type."""

    fault: Fault
    who: str
    number: int

    def __str__(self) -> str:
        return f"{self.who} {self.number}: {self.fault}"


EVERY_CALL = [(who, number) for who, count in CALLS.items() for number in range(1, count + 1)]
# Its Job and the write of its end, or two writes, whatever else happens; a process that is killed
# or behind makes one write of two.
SURE_CALLS = [call for call in EVERY_CALL if call[0] != "jobtype" and call[1] <= 2]


def strikes(faults: Iterable[Fault]) -> list[Strike]:
    """Return each fault for every call; or for two calls, one of which is sure to come."""
    chance = random.Random(SEED)
    return [
        Strike(fault, who, number)
        for fault in faults
        for who, number in (
            EVERY_CALL
            if WHOLE
            else dict.fromkeys([chance.choice(SURE_CALLS), chance.choice(EVERY_CALL)])
        )
    ]


class Lives:
    """A small cluster with lives of three runs each, the operator behind a proxy, and the api's
    mirror beside it."""

    def __init__(
        self, apiserver: HttpApiserver, proxy: FaultProxy, operator: OperatorProcess, registry: Any
    ) -> None:
        self.apiserver = apiserver
        self.proxy = proxy
        self.operator = operator
        self.registry: Registry = registry
        self.invariants = Invariants(apiserver)
        self.names: list[str] = []
        apiserver.on_change.append(self._cancel)

    def add(self, count: int) -> None:
        """So many lives; their runs have waited for five minutes."""
        for number in range(count):
            name = f"life{number:03}"
            self.names.append(name)
            item = kind_json(concurrencyLimit=2)
            item["metadata"] = {"name": name}
            self.apiserver.put("codexjobtypes", item)
            for age, who in enumerate(ENDS):
                self._add_run(name, who, age)

    def _add_run(self, life: str, who: str, age: int) -> None:
        created = datetime.now(UTC) - timedelta(minutes=5) + timedelta(seconds=age)
        item = run_json(jobType=life)
        item["metadata"] = {"name": f"{life}-{who}", "creationTimestamp": stamp(created)}
        self.apiserver.put("codexruns", item)

    def _cancel(self, plural: str, _: Json | None, after: Json | None) -> None:
        """Each `b` is cancelled once it runs."""
        if plural != "codexruns" or after is None or "cancel" in after["spec"]:
            return
        if after["metadata"]["name"].endswith("-b") and after["status"]["phase"] == "Running":
            asyncio.get_running_loop().call_soon(self._cancel_now, after["metadata"]["name"])

    def _cancel_now(self, name: str) -> None:
        run = self.apiserver.objects["codexruns"][name]
        cancelled = {**run, "spec": {**run["spec"], "cancel": by()}}
        self.apiserver.put("codexruns", cancelled)

    # -- what is to come of it -------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """Return what is still to come, in words."""
        left = [
            f"{name} is {run['status']['phase']}"
            for name, run in self.apiserver.objects["codexruns"].items()
            if run["status"]["phase"] not in TERMINAL
        ]
        left += [f"slots of {life}" for life in self.names if self.invariants.slots_taken(life)]
        return left + [
            f"pod {name} is held"
            for name, pod in self.apiserver.objects["pods"].items()
            if pod["metadata"].get("finalizers")
        ]

    async def until_ended(self) -> None:
        await self.until(lambda: not self.unfinished())

    async def until(self, holds: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not holds():
                    await self.apiserver.changed()
        except TimeoutError:
            log = self.operator.log.read_text()[-6000:]
            pytest.fail(f"never came to it: {self.unfinished()[:20]}; the operator's log:\n{log}")

    async def check(self) -> None:
        """All has ended as it would have without a fault, and the registry says the same."""
        assert self.invariants.broken == []
        for life in self.names:
            assert self.ends(life) == ENDS, self.story(life)
            # The third has its turn last, whatever befalls the Jobs of the first two.
            assert self.turns(life)[-1] == f"{life}-c", self.story(life)
        await self._rows_are_the_same()

    def ends(self, life: str) -> dict[str, tuple[str, str, int]]:
        statuses = {
            who: self.apiserver.objects["codexruns"][f"{life}-{who}"]["status"] for who in ENDS
        }
        return {
            who: (
                status["phase"],
                status["reason"],
                (status.get("usage") or {}).get("totalTokens", 0),
            )
            for who, status in statuses.items()
        }

    def turns(self, life: str) -> list[str]:
        """Return the runs of a life in the order in which a Job was first asked for."""
        asked = [
            call.about
            for call in self.proxy.calls
            if (call.verb, call.plural) == ("create", "jobs") and call.about.startswith(life)
        ]
        return list(dict.fromkeys(asked))

    def story(self, life: str) -> str:
        """Return all calls of a life, and what befell it."""
        calls = [str(call) for call in self.proxy.calls if life in call.about]
        struck = [f"{call}: {fault}" for call, fault in self.proxy.struck if life in call.about]
        return f"{struck} among {calls}"

    async def _rows_are_the_same(self) -> None:
        for item in self.apiserver.objects["codexruns"].values():
            run = CodexRun.model_validate(item)
            record = record_of(run)
            async with asyncio.timeout(PATIENCE_SECONDS):
                row = await self.registry.get(run.metadata.uid)
                while row is None or row.status != record.status:
                    await asyncio.sleep(0.1)
                    row = await self.registry.get(run.metadata.uid)
            assert (row.reason, row.cost_tokens) == (record.reason, record.cost_tokens)


@asynccontextmanager
async def lives(
    folder: Path,
    count: int,
    *,
    agent_seconds: float | None = None,
    prepare: Callable[[FaultProxy], object] = lambda proxy: None,
) -> AsyncIterator[Lives]:
    """So many lives, before the operator's first start."""
    apiserver = HttpApiserver()
    runner = await apiserver.serve()
    apiserver.put("configmaps", prompt_json())
    async with (
        FaultProxy(apiserver.server).serve() as proxy,
        await Registry.open(f"sqlite:///{folder}/registry.db") as registry,
    ):
        await registry.migrate()
        prepare(proxy)
        operator = OperatorProcess(proxy.url, folder, constants=CONSTANTS)
        proxy.kill = operator.kill
        made = Lives(apiserver, proxy, operator, registry)
        made.add(count)

        def report_of(run: str) -> Json | None:
            return {"a": succeeded(), "b": None, "c": failed()}[run[-1]]

        controllers = JobControllers(apiserver, report_of, agent_seconds=agent_seconds)
        api = client.ApiClient(client.Configuration(host=proxy.url))
        mirror = Mirror(Kube(api, "codexrun", lambda: None), registry, EventBuffer())
        tasks = [
            asyncio.create_task(work)
            for work in (controllers.run(), mirror.run(), operator.keep_running())
        ]
        try:
            with mock.patch.object(watch, "SILENCE_SECONDS", SILENCE_SECONDS):
                yield made
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await operator.stop()
            await api.close()
            await runner.cleanup()


def rounds(faults: tuple[Fault, ...]) -> list[Any]:
    """Return what one process goes through: a sample of every fault, or all of one."""
    together = [(fault,) for fault in faults] if WHOLE else [faults]
    return [
        pytest.param(strikes(those), id=str(those[0]) if WHOLE else "a sample")
        for those in together
    ]


def befall(lives: Lives, chosen: list[Strike]) -> None:
    """Each life its own."""
    print(f"CODEXRUN_SEED={SEED}")  # shown with a failure
    for life, strike in zip(lives.names, chosen, strict=True):
        about = f"jobtype/{life}" if strike.who == "jobtype" else f"{life}-{strike.who}"
        lives.proxy.faults[about, strike.number] = strike.fault


def told(lives: Lives, chosen: list[Strike]) -> None:
    """Print what befell; no fault that was to come has come to nothing."""
    struck = {str(fault) for _, fault in lives.proxy.struck}
    missed = len(lives.proxy.faults)
    print(
        f"{len(chosen)} lives, {len(lives.proxy.struck)} faults struck, {missed} calls never came,"
        f" {len(lives.proxy.calls)} calls in all,"
        f" {lives.operator.starts} processes"
    )
    assert struck == {str(strike.fault) for strike in chosen}


@pytest.mark.parametrize("chosen", rounds(ANSWERS))
async def test_whatever_a_call_is_answered_all_ends_as_without_it(
    chosen: list[Strike], tmp_path: Path
) -> None:
    async with lives(tmp_path, len(chosen)) as cluster:
        befall(cluster, chosen)
        await cluster.until_ended()
        await cluster.check()
        told(cluster, chosen)


@pytest.mark.parametrize("chosen", rounds(KILLS))
async def test_wherever_the_operator_is_killed_all_ends_as_without_it(
    chosen: list[Strike], tmp_path: Path
) -> None:
    async with lives(tmp_path, len(chosen)) as cluster:
        befall(cluster, chosen)
        await cluster.until_ended()
        await cluster.check()
        told(cluster, chosen)
        assert cluster.operator.starts > 1


async def test_a_life_without_a_fault_makes_the_calls_that_faults_strike(tmp_path: Path) -> None:
    async with lives(tmp_path, 1) as cluster:
        await cluster.until_ended()
        await cluster.check()
        (life,) = cluster.names
        counts = {who: cluster.proxy.numbers(f"{life}-{who}") for who in ENDS}
        counts["jobtype"] = cluster.proxy.numbers(f"jobtype/{life}")
        assert counts == CALLS, cluster.story(life)


# -- lists and watches ---------------------------------------------------------------------------


def watching(fault: Callable[[], WatchFault], *plurals: str) -> Callable[[FaultProxy], None]:
    def prepare(proxy: FaultProxy) -> None:
        proxy.watches = {plural: fault() for plural in plurals or WATCHED}

    return prepare


def listing(
    fault: Callable[[], ListFault], *plurals: str, page_objects: int = 0
) -> Callable[[FaultProxy], None]:
    def prepare(proxy: FaultProxy) -> None:
        proxy.page_objects = page_objects
        proxy.lists = {plural: fault() for plural in plurals or WATCHED}

    return prepare


READS = {
    "watches are cut after each third event": watching(lambda: cut_after(3)),
    "watches are told 410 after each third event": watching(lambda: expired_after(3)),
    "kinds overtake each other": watching(lambda: Behind(0, 2, random.Random(SEED))),
    **{f"the watch of {plural} is silent": watching(lambda: silent, plural) for plural in WATCHED},
    **{
        f"the watch of {plural} is 10 s behind": watching(lambda: Behind(10, 10), plural)
        for plural in WATCHED
    },
    "lists are as old as three seconds": listing(lambda: slow_by(3)),
    "lists are cut between pages": listing(lambda: CutBetweenPages(4), page_objects=2),
}
FEW = [
    name
    for name in READS
    if WHOLE or not ("silent" in name or "behind" in name) or name.split()[3] in ("pods", "jobs")
]


@pytest.mark.parametrize("name", FEW)
async def test_whatever_lists_and_watches_are_like_all_ends_as_without_it(
    name: str, tmp_path: Path
) -> None:
    """An agent ends by itself after a time: what the operator knows may be behind."""
    seconds = 12 if "10 s" in name else 4
    async with lives(tmp_path, 3, agent_seconds=seconds, prepare=READS[name]) as cluster:
        await cluster.until_ended()
        await cluster.check()


async def test_an_etcd_that_was_put_back_ends_the_operator_and_the_next_one_ends_all(
    tmp_path: Path,
) -> None:
    restored = listing(Restored, "codexruns")
    async with lives(tmp_path, 1, agent_seconds=12, prepare=restored) as cluster:
        await cluster.until_ended()
        await cluster.check()
        assert '"etcd.restored"' in cluster.operator.log.read_text()
        assert cluster.operator.starts > 1


def test_every_kind_that_is_watched_is_one_that_the_apiserver_has() -> None:
    assert set(WATCHED) <= set(KINDS)
