"""The operator as a process, with its own election, watches and kopf, against a small apiserver
over HTTP."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from builders import by, kind_json, prompt_json, run_json, stamp
from httpapiserver import HttpApiserver, failure
from job_controllers import JobControllers, pod_of, succeeded, with_end
from operator_process import OperatorProcess
from refusals import REFUSALS

Json = dict[str, Any]
PATIENCE = 120  # seconds until a wait gives up; a bound, never an assertion


@pytest.fixture
async def apiserver() -> AsyncIterator[HttpApiserver]:
    """With the prompt of job type "hello"."""
    apiserver = HttpApiserver()
    apiserver.put("configmaps", prompt_json())
    runner = await apiserver.serve()
    yield apiserver
    await runner.cleanup()


@asynccontextmanager
async def operator(apiserver: HttpApiserver, folder: Path) -> AsyncIterator[Path]:
    """A process that runs; yields its log."""
    process = OperatorProcess(apiserver.server, folder)
    await process.start()
    try:
        yield process.log
    finally:
        await process.stop()


async def until(apiserver: HttpApiserver, holds: Callable[[], bool], log: Path) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await apiserver.changed()
    except TimeoutError:
        pytest.fail(f"never came to it; the operator's log:\n{_last_lines(log)}")


def _last_lines(log: Path) -> str:
    return log.read_text()[-4000:]


def apply(apiserver: HttpApiserver, count: int, phase: str = "Pending", **spec: Any) -> None:
    """Runs that have waited for five minutes."""
    created = datetime.now(UTC) - timedelta(minutes=5)
    for number in range(count):
        item = run_json(phase, **spec)
        item["metadata"] = {
            "name": f"r{number:04}",
            "creationTimestamp": stamp(created + timedelta(seconds=number // 10)),
        }
        apiserver.put("codexruns", item)


def reasons(apiserver: HttpApiserver) -> set[str]:
    return {
        f"{run['status']['phase']}/{run['status']['reason']}"
        for run in apiserver.objects["codexruns"].values()
    }


def job_type(apiserver: HttpApiserver, **spec: Any) -> None:
    item = kind_json(**spec)
    item["metadata"] = {"name": "hello"}
    apiserver.put("codexjobtypes", item)


@pytest.mark.parametrize("trouble", ["late", "forbidden at first"])
async def test_runs_that_waited_for_an_operator_start_although_the_list_of_job_types_is_late(
    apiserver: HttpApiserver, tmp_path: Path, trouble: str
) -> None:
    job_type(apiserver, concurrencyLimit=100)
    apply(apiserver, 20)
    lists = 0

    async def before(verb: str, plural: str, request: web.Request) -> web.Response | None:
        nonlocal lists
        if (verb, plural) != ("list", "codexjobtypes"):
            return None
        lists += 1
        if trouble == "late":
            await asyncio.sleep(1)
        elif lists <= 2:
            return failure(403, "Forbidden", REFUSALS["rbac"][2].replace("create", "list"))
        return None

    apiserver.before = before
    async with operator(apiserver, tmp_path) as log:
        await until(apiserver, lambda: "Pending/Pending" not in reasons(apiserver), log)
        assert reasons(apiserver) == {"Starting/Starting"}
        assert len(apiserver.objects["jobs"]) == 20


async def test_after_a_restart_the_most_urgent_run_starts_first_although_it_is_the_last_by_name(
    apiserver: HttpApiserver, tmp_path: Path
) -> None:
    """More runs than a page of a list holds."""
    job_type(apiserver, concurrencyLimit=1)
    apply(apiserver, 700, "Queued")
    urgent = apiserver.objects["codexruns"]["r0699"]
    apiserver.put("codexruns", {**urgent, "spec": {**urgent["spec"], "priority": 100}})
    async with operator(apiserver, tmp_path) as log:
        await until(apiserver, lambda: bool(apiserver.objects["jobs"]), log)
        (job,) = apiserver.objects["jobs"].values()
        assert job["metadata"]["labels"]["codexrun.dev/run"] == "r0699"


async def test_a_job_that_is_denied_for_a_while_is_shown_and_then_runs(
    apiserver: HttpApiserver, tmp_path: Path
) -> None:
    job_type(apiserver, concurrencyLimit=2)
    apply(apiserver, 6)
    status, reason, message, _ = REFUSALS["webhook"]
    denied = 0

    async def before(verb: str, plural: str, request: web.Request) -> web.Response | None:
        nonlocal denied
        if (verb, plural) == ("create", "jobs") and denied < 4:
            denied += 1
            return failure(status, reason, message)
        return None

    apiserver.before = before

    def ready() -> Json:
        conditions = (
            apiserver.objects["codexjobtypes"]["hello"].get("status", {}).get("conditions", [{}])
        )
        found: Json = conditions[0]
        return found

    async with operator(apiserver, tmp_path) as log:
        await until(apiserver, lambda: ready().get("reason") == "JobDenied", log)
        assert "require-labels" in ready()["message"]
        await until(apiserver, lambda: len(apiserver.objects["jobs"]) == 2, log)
        started = {
            job["metadata"]["labels"]["codexrun.dev/run"]
            for job in apiserver.objects["jobs"].values()
        }
        assert started == set(sorted(apiserver.objects["codexruns"], key=order(apiserver))[:2])
        await until(apiserver, lambda: ready().get("status") == "True", log)
        assert {reason.partition("/")[0] for reason in reasons(apiserver)} == {"Starting", "Queued"}


async def test_a_success_is_recorded_although_the_watch_of_pods_tells_nothing(
    apiserver: HttpApiserver, tmp_path: Path
) -> None:
    """That of Jobs says that it is over: the pod, and what it has used, are asked for."""
    job_type(apiserver, concurrencyLimit=1)
    apply(apiserver, 1)

    async def before(verb: str, plural: str, request: web.Request) -> web.Response | None:
        if (verb, plural) == ("watch", "pods"):
            await asyncio.Event().wait()
        return None

    apiserver.before = before
    async with operator(apiserver, tmp_path) as log:
        await until(apiserver, lambda: "Starting/Starting" in reasons(apiserver), log)
        (job,) = apiserver.objects["jobs"].values()
        apiserver.put("pods", with_end(pod_of(job), succeeded()))
        complete = {"conditions": [{"type": "Complete", "status": "True"}]}
        apiserver.put("jobs", {**job, "status": complete})
        await until(apiserver, lambda: "Starting/Starting" not in reasons(apiserver), log)
        (run,) = apiserver.objects["codexruns"].values()
        assert reasons(apiserver) == {"Succeeded/Completed"}
        assert run["status"]["usage"]["totalTokens"] == 110


@asynccontextmanager
async def kubernetes(apiserver: HttpApiserver) -> AsyncIterator[None]:
    """Job controller, kubelet and garbage collector work; agents end only when they are stopped."""
    working = asyncio.create_task(JobControllers(apiserver, lambda run: None).run())
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def until_phases(apiserver: HttpApiserver, log: Path, **counts: int) -> None:
    """Wait until so many runs are in each phase."""

    def holds() -> bool:
        runs = apiserver.objects["codexruns"].values()
        return Counter(run["status"]["phase"] for run in runs) == counts

    await until(apiserver, holds, log)


def cancel_one(apiserver: HttpApiserver) -> None:
    """Cancel a run that is Running."""
    runs = apiserver.objects["codexruns"].values()
    run = next(run for run in runs if run["status"]["phase"] == "Running")
    apiserver.put("codexruns", {**run, "spec": {**run["spec"], "cancel": by()}})


def delete_all(apiserver: HttpApiserver, plural: str) -> None:
    """Delete the objects of a kind, as the deletion of their namespace does."""
    for name in list(apiserver.objects[plural]):
        if plural == "pods":
            apiserver.mark_deleted(plural, name)
        else:
            apiserver.remove(plural, name)


@pytest.mark.parametrize("first", ["jobs", "pods", "codexruns", "the operator"])
async def test_a_namespace_that_is_deleted_becomes_empty_whatever_goes_first(
    apiserver: HttpApiserver, tmp_path: Path, first: str
) -> None:
    """One run is queued, one runs and one is being stopped. The operator goes when it has answered
    to what went first, and with it whoever could take a finalizer off."""
    job_type(apiserver, concurrencyLimit=2)
    apply(apiserver, 3)
    process = OperatorProcess(apiserver.server, tmp_path)
    await process.start()
    try:
        async with kubernetes(apiserver):
            await until_phases(apiserver, process.log, Running=2, Queued=1)
        cancel_one(apiserver)
        await until_phases(apiserver, process.log, Stopping=1, Running=1, Queued=1)
        if first != "the operator":
            delete_all(apiserver, first)
        if first in ("jobs", "pods"):
            await until_phases(apiserver, process.log, Stopping=2, Queued=1)
    finally:
        await process.stop()
    for plural in ("jobs", "pods", "codexruns"):
        delete_all(apiserver, plural)
    async with kubernetes(apiserver):
        await until(apiserver, lambda: not apiserver.objects["pods"], process.log)


async def test_a_stop_that_an_operator_began_is_finished_by_the_next_with_what_was_used(
    apiserver: HttpApiserver, tmp_path: Path
) -> None:
    """As after `helm uninstall`: the containers end while no operator is there."""
    job_type(apiserver, concurrencyLimit=1)
    apply(apiserver, 1)
    async with operator(apiserver, tmp_path) as log:
        async with kubernetes(apiserver):
            await until_phases(apiserver, log, Running=1)
        cancel_one(apiserver)
        await until_phases(apiserver, log, Stopping=1)
    async with kubernetes(apiserver):
        (pod,) = apiserver.objects["pods"]
        await until(
            apiserver, lambda: apiserver.objects["pods"][pod]["status"]["phase"] == "Failed", log
        )
        async with operator(apiserver, tmp_path) as log:
            await until_phases(apiserver, log, Cancelled=1)
    (run,) = apiserver.objects["codexruns"].values()
    assert run["status"]["usage"]["totalTokens"] == 110
    assert not apiserver.objects["pods"]


def order(apiserver: HttpApiserver) -> Callable[[str], tuple[str, str]]:
    """By age, then uid."""

    def key(name: str) -> tuple[str, str]:
        metadata = apiserver.objects["codexruns"][name]["metadata"]
        return metadata["creationTimestamp"], metadata["uid"]

    return key
