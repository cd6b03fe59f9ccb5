"""Calls of an operator that fail in every way between it and the cluster's own apiserver.

In `make test` each fault strikes one call of one run, chosen by a seed that is printed among the
calls that always come; with CODEXRUN_FAULTS=all (`make faults`) each fault strikes each call.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from fault_choice import SEED, WHOLE
from fault_proxy import ANSWERS, KILLS, Behind, Fault, late_by, silent
from lab import Json, Lab
from own_operator import no_operator
from proxied import operator_behind_proxy, process_behind, proxy_of
from slot_observer import SlotObserver

PATIENCE = 600  # seconds until a wait gives up; a bound, never an assertion
CALLS = 5  # of a run that succeeds: its Job, three writes of its status, and an Event
# Its Job and a write of its status; one that is killed or behind makes one write of several.
SURE_CALLS = 2
SUCCEEDED_LATE = {fault.name: fault for fault in ANSWERS}["applied after the client gave up"]


def strikes(faults: Sequence[Fault]) -> list[tuple[Fault, int]]:
    chance = random.Random(SEED)
    return [
        (fault, number)
        for fault in faults
        for number in (range(1, CALLS + 1) if WHOLE else [chance.randint(1, SURE_CALLS)])
    ]


async def all_succeed(lab: Lab, runs: Sequence[Json]) -> list[Json]:
    ended = [await asyncio.to_thread(lab.ended, run, patience=PATIENCE) for run in runs]
    statuses = [run["status"] for run in ended]
    assert {status["phase"] for status in statuses} == {"Succeeded"}, statuses
    return statuses


@pytest.fixture(scope="module")
def lab(own_lab: Lab) -> Lab:
    return own_lab


@pytest.mark.parametrize("faults", [ANSWERS, KILLS], ids=["answered", "killed"])
async def test_runs_succeed_whatever_becomes_of_a_call(
    lab: Lab, faults: tuple[Fault, ...], tmp_path: Path
) -> None:
    """Each run has a job type of its own: a Job that is refused holds those of its job type."""
    chosen = strikes(faults)
    print(f"CODEXRUN_SEED={SEED}")  # shown with a failure
    async with operator_behind_proxy(lab, tmp_path) as (proxy, operator):
        runs = []
        for fault, number in chosen:
            job_type = lab.job_type(concurrencyLimit=1, limits={"startSeconds": 600})
            run = lab.run(job_type, "message", stem="struck")
            proxy.faults[run["metadata"]["name"], number] = fault
            runs.append(run)
        running = asyncio.create_task(operator.keep_running())
        try:
            statuses = await all_succeed(lab, runs)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
        print(f"{len(proxy.struck)} of {len(chosen)} faults struck, {operator.starts} processes")
        assert {fault for _, fault in proxy.struck} == {fault for fault, _ in chosen}
        assert len({status["usage"]["totalTokens"] for status in statuses}) == 1
        for run in runs:
            assert len(lab.jobs(run)) == 1, run["metadata"]["name"]


@pytest.mark.faults
async def test_a_job_that_comes_after_its_run_was_deleted_is_ended(
    lab: Lab, tmp_path: Path
) -> None:
    """The apiserver carries a creation out that its client has given up, when the run is gone and
    its slot was given to the next."""
    job_type = lab.job_type(concurrencyLimit=1)
    async with operator_behind_proxy(lab, tmp_path) as (proxy, operator):
        first = lab.run(job_type, "sleep-100", stem="late")
        name = first["metadata"]["name"]
        # Sent again after five seconds, and answered as never: both come late.
        for number in (1, 2):
            proxy.faults[name, number] = SUCCEEDED_LATE
        await operator.start()
        async with asyncio.timeout(PATIENCE):
            await proxy.until(lambda: bool(proxy.struck))
        second = lab.run(job_type, "message", stem="next")
        lab.kubectl("delete", "cxr", name, "--wait=false")
        await all_succeed(lab, [second])
        await asyncio.to_thread(lab.until_no_live_job, first)
        await asyncio.to_thread(lab.until_gone, first)


@pytest.mark.faults
async def test_a_pod_that_came_and_went_between_two_lists_is_no_lost_pod(
    lab: Lab, tmp_path: Path
) -> None:
    """A new operator lists pods before there is one, its watch of pods tells nothing, and Jobs are
    listed when the pod has ended."""
    job_type = lab.job_type(concurrencyLimit=1)
    async with operator_behind_proxy(lab, tmp_path) as (proxy, operator):
        run = lab.run(job_type, "message", stem="between")
        proxy.faults[run["metadata"]["name"], 1] = KILLS[1]
        await operator.start()
        await operator.ended()  # killed when its Job had been made
        proxy.watches = {"pods": silent}
        proxy.lists = {"jobs": late_by(20)}
        await operator.start()
        (status,) = await all_succeed(lab, [run])
        assert status["usage"]["complete"] is True


@pytest.mark.faults
@pytest.mark.parametrize("plural", ["codexruns", "codexjobtypes", "configmaps", "jobs", "pods"])
@pytest.mark.parametrize("how", ["silent", "10 s behind"])
async def test_runs_succeed_although_the_watch_of_one_kind_is_behind_or_silent(
    lab: Lab, plural: str, how: str, tmp_path: Path
) -> None:
    job_type = lab.job_type(concurrencyLimit=2)
    async with operator_behind_proxy(lab, tmp_path) as (proxy, operator):
        proxy.watches = {plural: silent if how == "silent" else Behind(10, 10)}
        with SlotObserver(lab, job_type) as outside:
            await operator.start()
            runs = [lab.run(job_type, "message", stem="behind") for _ in range(5)]
            statuses = await all_succeed(lab, runs)
            assert {status["usage"]["complete"] for status in statuses} == {True}
            assert outside.most <= 2
            assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}


@pytest.mark.faults
async def test_a_standby_whose_connection_answers_nothing_leads_soon_after_it_answers_again(
    lab: Lab, tmp_path: Path
) -> None:
    """A request about the lease has a time of its own: a standby does not wait for one that is
    never answered."""
    folders = [tmp_path / name for name in ("leader", "standby")]
    for folder in folders:
        folder.mkdir()
    with no_operator(lab) as settings:
        async with proxy_of(lab) as one, proxy_of(lab) as other:
            leader = process_behind(lab, one, folders[0], **settings)
            named = {**settings, "CODEXRUN_POD_NAME": "operator-standby"}
            standby = process_behind(lab, other, folders[1], **named)
            try:
                await leader.start()
                first = lab.run(lab.job_type(), "message")
                await all_succeed(lab, [first])
                other.unanswered = {"leases"}
                await standby.start()
                async with asyncio.timeout(PATIENCE):
                    await other.until(lambda: other.in_vain > 0)
                await leader.kill()
                other.unanswered = set()
                # By itself: nothing ends it, and nothing starts it again.
                await all_succeed(lab, [lab.run(lab.job_type(), "message")])
                assert standby.starts == 1
            finally:
                await leader.stop()
                await standby.stop()
