"""What a new operator does first: nothing, until it has seen each of the five kinds; then the best
run starts."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from builders import UID, kind_json, prompt_json, run_json
from fake_kube import FakeKube

from codexrun_core.errors import EtcdRestored, Unavailable
from codexrun_core.kube import watch
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_operator import __main__ as main
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.settings import PodSettings, Settings
from codexrun_operator.watch import resync as resyncing
from codexrun_operator.watch.keys import run_key
from codexrun_operator.watch.resync import Resync

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
SETTINGS = Settings(
    namespace="codexrun", pod_name="op-0", lease="codexrun-operator", log_level="INFO", pods=PODS
)
KINDS = ("runs", "job_types", "config_maps", "jobs", "pods")


class SlowLists(FakeKube):
    """A list of a kind is answered once its gate is open; `failing` says how often with an error
    before."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = {getattr(self, kind): asyncio.Event() for kind in KINDS}
        self.failing: dict[str, int] = {}

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        if self.failing.get(path):
            self.failing[path] -= 1
            raise Unavailable("the apiserver is starting")
        if gate := self.gates.get(path):
            await gate.wait()
        async for page in super().pages(path, **selectors):
            yield page

    async def watch(
        self, path: str, version: str, *, silence: float, **selectors: str
    ) -> AsyncIterator[Json]:
        await asyncio.Event().wait()
        yield {}


@pytest.fixture
async def operator(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[main.Operator]:
    """Of 20 runs that waited while no operator was there; it leads, and kopf tells nothing."""

    async def nothing(_: main.Operator) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(main, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(main.Operator, "_inform", nothing)
    monkeypatch.setattr(resyncing, "FIRST_RESYNC_SECONDS", 0)
    monkeypatch.setattr(watch, "RETRY_SECONDS", (0,))
    kube = SlowLists()
    kube.put("codexjobtypes", kind_json(concurrencyLimit=20))
    kube.objects[f"{kube.config_maps}/prompt-hello-v1"] = prompt_json()
    for number in range(5):
        kube.put(
            "codexruns",
            run_json(uid=f"{number:08}-2222-4333-8444-555555555555", name=f"r{number}", age=3600),
        )
    made = main.Operator(SETTINGS, kube, None, asyncio.Event())  # type: ignore[arg-type]
    work = asyncio.create_task(made.work())
    yield made
    work.cancel()
    await asyncio.wait((work,))


async def turns() -> None:
    """Let everything that can go on go on; nothing here waits for a clock, and a start takes nine
    turns."""
    for _ in range(50):
        await asyncio.sleep(0)


async def all_start(kube: FakeKube) -> None:
    """Wait for it; nobody is turned away meanwhile."""
    phases = {"Pending"}
    while phases != {"Starting"}:
        await asyncio.sleep(0)
        phases = {run["status"]["phase"] for run in kube.items(kube.runs)}
        assert phases <= {"Pending", "Starting"}


@pytest.mark.parametrize("order", list(itertools.permutations(KINDS)), ids=",".join)
async def test_nothing_is_decided_before_each_kind_was_listed(
    operator: main.Operator, order: tuple[str, ...]
) -> None:
    kube = operator.reconciler.kube
    assert isinstance(kube, SlowLists)
    for kind in order:
        await turns()
        assert kube.calls == []
        kube.gates[getattr(kube, kind)].set()
    await all_start(kube)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_list_that_fails_first_only_delays(operator: main.Operator, kind: str) -> None:
    kube = operator.reconciler.kube
    assert isinstance(kube, SlowLists)
    kube.failing[getattr(kube, kind)] = 2
    for gate in kube.gates.values():
        gate.set()
    await all_start(kube)


async def test_an_operator_ends_when_etcd_was_restored_under_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(_: main.Operator) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(main, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(main.Operator, "_inform", nothing)
    monkeypatch.setattr(resyncing, "RESYNC_SECONDS", 0)
    kube = SlowLists()
    for gate in kube.gates.values():
        gate.set()
    kube.put("codexruns", run_json())
    operator = main.Operator(SETTINGS, kube, None, asyncio.Event())  # type: ignore[arg-type]
    work = asyncio.create_task(operator.work())
    await operator.resync.synced.wait()
    kube.version -= 1
    with pytest.raises(ExceptionGroup) as ended:
        await work
    assert ended.group_contains(EtcdRestored)


# -- missing, and unreadable ---------------------------------------------------------------------


class Looking:
    """A Reconciler with a clock of the test's own."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.seconds = 5000.0
        self.reconciler = Reconciler(self.kube, PODS, workers=1, clock=lambda: self.seconds)
        self.cache = self.reconciler.cache
        self.later: dict[str, float] = {}
        self.reconciler.queue.add_later = self.later.__setitem__  # type: ignore[method-assign]

    async def look(self) -> tuple[str, str]:
        await self.reconciler.reconcile(run_key(UID))
        status = self.kube.objects[self.kube.path_of("codexruns", "hello")]["status"]
        return status["phase"], status["reason"]


@pytest.fixture
async def looking() -> Looking:
    looking = Looking()
    looking.cache.update_run(looking.kube.put("codexruns", run_json(age=86_400)))
    return looking


async def test_missing_is_counted_from_when_this_process_first_saw_it(looking: Looking) -> None:
    seen = []
    for seconds in (0, 2, 2, 55, 1):
        looking.seconds += seconds
        seen.append(await looking.look())
    waits = ("Pending", "JobTypeNotFound")
    assert seen == [
        ("Pending", "Pending"),
        ("Pending", "Pending"),
        waits,
        waits,
        ("Rejected", "JobTypeNotFound"),
    ]


async def test_what_is_missing_next_has_its_own_minute(looking: Looking) -> None:
    await looking.look()
    looking.seconds += 59
    looking.cache.update_job_type(kind_json())
    await looking.look()
    looking.seconds += 59
    assert await looking.look() == ("Pending", "PromptNotFound")
    looking.cache.update_prompt(prompt_json())
    assert await looking.look() == ("Starting", "Starting")
    assert looking.cache.missing == {}


async def test_a_job_type_that_cannot_be_read_is_waited_for_and_never_missing(
    looking: Looking,
) -> None:
    looking.cache.update_prompt(prompt_json())
    with pytest.raises(ValueError, match="model"):
        looking.cache.update_job_type(kind_json(model=""))
    for _ in range(3):
        looking.seconds += 3600
        assert await looking.look() == ("Pending", "Unreadable")
    looking.cache.update_job_type(kind_json(version=4, generation=2))
    assert await looking.look() == ("Starting", "Starting")


async def test_an_edit_that_cannot_be_read_takes_what_was_known_away(looking: Looking) -> None:
    """The old one holds no more: its image or its limits may be just what was changed."""
    looking.cache.update_prompt(prompt_json())
    looking.cache.update_job_type(kind_json())
    with pytest.raises(ValueError, match="model"):
        looking.cache.update_job_type(kind_json(version=4, generation=2, model=""))
    assert await looking.look() == ("Pending", "Unreadable")
    looking.cache.update_job_type(kind_json(version=5, model=""), gone=True)
    looking.seconds += 5
    await looking.look()
    looking.seconds += 5
    assert await looking.look() == ("Pending", "JobTypeNotFound")


async def test_a_prompt_that_cannot_be_read_is_waited_for_and_never_missing(
    looking: Looking,
) -> None:
    looking.cache.update_job_type(kind_json())
    with pytest.raises(AttributeError):
        looking.cache.update_prompt(prompt_json() | {"data": {"prompt.md": 7}})
    looking.seconds += 3600
    assert await looking.look() == ("Pending", "Unreadable")
    looking.cache.update_prompt(prompt_json(version=3))
    assert await looking.look() == ("Starting", "Starting")


async def test_whatever_one_object_raises_the_rest_of_the_list_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looking = Looking()
    for number, bad in enumerate(("run", "kind", None)):
        looking.kube.put("codexruns", run_json(uid=f"uid-{number}", name=bad or "good"))
        looking.kube.put("codexjobtypes", kind_json(name=bad or "good", uid=f"kind-{number}"))
    for resource, bad in ((CodexRun, "run"), (CodexJobType, "kind")):
        real = resource.model_validate

        def reads(raw: Json, real: Any = real, bad: str = bad) -> Any:
            if raw["metadata"]["name"] == bad:
                raise RecursionError("maximum recursion depth exceeded")
            return real(raw)

        monkeypatch.setattr(resource, "model_validate", reads)
    resync = Resync(looking.kube, looking.cache, looking.reconciler.queue)
    await resync.sync()
    assert resync.synced.is_set()
    assert looking.cache.runs.keys() == {"uid-1", "uid-2"}
    assert looking.cache.job_types.keys() == {"run", "good"}
