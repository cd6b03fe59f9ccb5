"""A whole cluster in small: State and Reconciler against an apiserver in memory, in any order of
events.

At every instant no more runs hold a slot than the limit says, no run gets a second Job or a second
agent, a free slot never waits for somebody to look, and everything ends once all pods have ended.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from builders import (
    NOON,
    agent_report,
    by,
    gate_report,
    kind_json,
    prompt_json,
    run_json,
    signalled,
    stamp,
)
from fake_kube import FakeKube, copied
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from codexrun_core.errors import Refused, Unavailable
from codexrun_core.resources import CodexRun
from codexrun_core.runs.label_keys import EVIDENCE_FINALIZER
from codexrun_core.unreadable import one_object
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.decide.holds import MAX_PAUSE_SECONDS
from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Key, Kind
from codexrun_operator.watch.resync import Resync

Json = dict[str, Any]
PODS = PodSettings(control_image="c", agent_image="a", upstream_url="http://m/v1")
TERMINAL = ("Succeeded", "Failed", "Cancelled", "Rejected")


class Past(FakeKube):
    """What a list or a GET is answered with that was asked now, and whose answer comes later."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = asyncio.Event()

    async def pages(self, path: str, **selectors: str) -> AsyncIterator[Json]:
        await self.answered.wait()
        async for page in super().pages(path, **selectors):
            yield page


def as_it_is(kube: FakeKube) -> Past:
    """All of it now but what has ended."""
    past = Past()
    past.version = kube.version
    live = {
        path: item
        for path, item in kube.objects.items()
        if item.get("status", {}).get("phase") not in TERMINAL
    }
    past.objects = copied(live)
    return past


def is_over(job: Json) -> bool:
    conditions = job.get("status", {}).get("conditions", [])
    return any(condition["type"] in ("Complete", "Failed") for condition in conditions)


class Killed(Exception):
    """The operator's process ends at this very moment."""


class SmallCluster(RuleBasedStateMachine):
    """Rules are what people and Kubernetes do; `look` lets the operator work. Watches tell at once,
    unless a rule says late. A call that raises Killed ends the operator, and another one comes."""

    make_kube: Callable[[], FakeKube] = FakeKube

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.loop = asyncio.new_event_loop()
        self.kube = self.make_kube()
        self.kube.removed = self.removed
        self.limit = 2
        self.made = 0
        self.created: dict[str, int] = {}  # run uid -> Jobs ever made
        self.agents: dict[str, int] = {}  # Job uid -> pods ever made
        self.late: list[Json] = []  # Jobs that the watch has not told yet
        # what lists and GETs under way may still answer, and the list that was asked
        self.past: list[tuple[Past, asyncio.Task[None]]] = []
        self.too_late: list[str] = []  # runs that were over when a Job was made for them
        self.pods_are_behind = False
        self.seconds = 0.0
        self.restart()

    def teardown(self) -> None:
        try:
            self.finish_everything()
        finally:
            self.close()

    def close(self) -> None:
        self.forget_the_past()
        self.loop.close()
        logging.disable(logging.NOTSET)

    # -- the apiserver's side --------------------------------------------------------------------

    def items(self, path: str) -> list[Json]:
        return [item for key, item in self.kube.objects.items() if key.rpartition("/")[0] == path]

    def tell(self, item: Json, *, gone: bool = False) -> None:
        state = self.reconciler.cache
        copy = {**item}
        if "jobType" in item.get("spec", {}):
            terminal = item["status"]["phase"] in TERMINAL
            state.update_run(copy, gone or terminal)
        elif "template" in item.get("spec", {}):
            if item not in self.late:
                state.update_job(copy, gone)
        elif not self.pods_are_behind:
            state.update_pod(copy, gone)

    def change(self, path: str, item: Json) -> None:
        self.kube.version += 1
        item["metadata"]["resourceVersion"] = str(self.kube.version)
        self.kube.objects[path] = item
        self.tell(item)

    def remove(self, path: str) -> None:
        item = self.kube.objects.pop(path)
        self.late = [job for job in self.late if job["metadata"]["uid"] != item["metadata"]["uid"]]
        self.tell(item, gone=True)

    def removed(self, item: Json) -> None:
        """A deletion took effect. A pod that runs stays until its kubelet has ended it, and the
        Job controller has counted it."""
        if "nodeName" in item["spec"] and item["status"]["phase"] == "Running":
            item["metadata"]["deletionTimestamp"] = stamp(NOON)
            self.change(f"{self.kube.pods}/{item['metadata']['name']}", item)
        else:
            self.tell(item, gone=True)

    def pod_path(self, job: Json) -> str:
        return f"{self.kube.pods}/{job['metadata']['name']}-pod"

    def jobs(self, *, with_pod: bool) -> list[Json]:
        return [
            job
            for job in self.items(self.kube.jobs)
            if (self.pod_path(job) in self.kube.objects) is with_pod
        ]

    def pod_objects(self, *, phase: str | None = None) -> list[Json]:
        return [
            pod for pod in self.items(self.kube.pods) if phase in (None, pod["status"]["phase"])
        ]

    def owner(self, pod: Json) -> Json | None:
        return next(
            (
                job
                for job in self.items(self.kube.jobs)
                if self.pod_path(job).endswith(pod["metadata"]["name"])
            ),
            None,
        )

    def job_over(self, job: Json, kind: str) -> None:
        job["status"] = {
            "conditions": [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"}]
        }
        self.change(f"{self.kube.jobs}/{job['metadata']['name']}", job)

    def controllers(self) -> None:
        """What the Job controller, the kubelet and the garbage collector do after the operator's
        writes."""
        for path, pod in list(self.kube.objects.items()):
            metadata = pod["metadata"]
            if (
                "/pods/" in path
                and pod["spec"].get("activeDeadlineSeconds") == STOP_DEADLINE_SECONDS
                and pod["status"]["phase"] not in ("Succeeded", "Failed")
            ):
                self.end(pod, signalled(), 143)
                job = self.owner(pod)
                if job and not is_over(job) and not job["spec"].get("suspend"):
                    self.job_over(job, "Failed")
            if "/pods/" in path and metadata.get("deletionTimestamp"):
                if pod["status"]["phase"] not in ("Succeeded", "Failed"):
                    self.end(pod, signalled(), 143)
                if not metadata.get("finalizers"):
                    job = self.owner(pod)
                    self.remove(path)
                    # A pod that a suspension has deleted is no failure.
                    if job and not is_over(job) and not job["spec"].get("suspend"):
                        self.job_over(job, "Failed")
                else:
                    self.change(path, pod)
        for path, job in list(self.kube.objects.items()):
            if "/jobs/" not in path:
                continue
            if job["spec"].get("suspend") and not is_over(job):
                if (pod_path := self.pod_path(job)) in self.kube.objects:
                    self.kube.objects[pod_path]["metadata"]["deletionTimestamp"] = stamp(NOON)
                else:
                    # a moment after its creation, or as long after it as a pod takes
                    age = timedelta(minutes=1 if self.agents.get(job["metadata"]["uid"]) else 0)
                    created = datetime.fromisoformat(job["metadata"]["creationTimestamp"])
                    suspended = {
                        "type": "Suspended",
                        "status": "True",
                        "lastTransitionTime": stamp(created + age),
                    }
                    job["status"] = {
                        **job.get("status", {}),
                        "conditions": [suspended],
                        "terminating": 0,
                    }
                    self.change(path, job)
            run = self.kube.objects.get(
                f"{self.kube.runs}/{job['metadata']['labels']['codexrun.dev/run']}"
            )
            if (
                run is None
                or run["metadata"]["uid"] != job["metadata"]["labels"]["codexrun.dev/run-uid"]
            ):
                self.remove(path)
        for path, pod in list(self.kube.objects.items()):
            if (
                "/pods/" in path
                and self.owner(pod) is None
                and not pod["metadata"].get("deletionTimestamp")
            ):
                pod["metadata"]["deletionTimestamp"] = stamp(NOON)
                self.change(path, pod)

    def end(self, pod: Json, report: Json, code: int) -> None:
        def over(name: str, said: Json, exit_code: int) -> Json:
            ended = {
                "exitCode": exit_code,
                "message": json.dumps(said),
                "startedAt": stamp(NOON),
                "finishedAt": stamp(NOON),
            }
            return {"name": name, "state": {"terminated": ended}}

        pod["status"] = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [over("agent", report, code)],
            "initContainerStatuses": [over("gate", gate_report(), 0)],
        }
        self.change(f"{self.kube.pods}/{pod['metadata']['name']}", pod)

    # -- the operator's side ---------------------------------------------------------------------

    def work(self) -> None:
        """Every key that is queued, and every timer as if it had rung."""
        queue = self.reconciler.queue

        async def drain() -> None:
            for _ in range(400):
                self.seconds += MAX_PAUSE_SECONDS
                for key, (_, timer) in list(queue._timers.items()):
                    timer.cancel()
                    del queue._timers[key]
                    if key.kind is not Kind.EXPIRY:
                        queue.add(key)
                keys = list(iter(queue.take, None))
                if not keys:
                    return
                for key in keys:
                    await self.look_at(key)
                    self.see_new_jobs()
                if not self.busy(keys):
                    return

        try:
            self.loop.run_until_complete(drain())
        except Killed:
            self.see_new_jobs()
            self.restart()
            self.work()

    def busy(self, keys: list[Key]) -> bool:
        """Whether anything but the clock is left to move; a second look without any change would
        only repeat itself."""
        now = (self.kube.version, len(self.kube.calls), self.reconciler.queue.depth)
        before = getattr(self, "progress", None)
        self.progress = now
        return before != now

    async def look_at(self, key: Key) -> None:
        try:
            await self.reconciler.reconcile(key)
        except (Unavailable, Refused):
            self.reconciler.queue.add_later(key, 1)

    def see_new_jobs(self) -> None:
        """Only when anything has changed: it is asked after each step."""
        if self.scanned == self.kube.version:
            return
        for verb, path, body in self.kube.calls:
            if verb == "create" and path == self.kube.jobs:
                uid = body["metadata"]["labels"]["codexrun.dev/run-uid"]
                name = body["metadata"]["name"]
                made = self.kube.objects.get(f"{path}/{name}")
                if made is None:
                    continue
                if "creationTimestamp" not in made["metadata"]:
                    # now, or it would have been too late to start before its pod could come
                    made["metadata"]["creationTimestamp"] = stamp(datetime.now(UTC))
                    self.created[uid] = self.created.get(uid, 0) + 1
                    run = self.kube.objects.get(
                        f"{self.kube.runs}/{body['metadata']['labels']['codexrun.dev/run']}"
                    )
                    if (
                        run is None
                        or run["metadata"]["uid"] != uid
                        or run["status"]["phase"] in TERMINAL
                    ):
                        self.too_late.append(name)
                    if self.hold_back:
                        self.late.append(made)
                    else:
                        self.tell(made)
        for item in self.items(self.kube.runs):
            known = self.reconciler.cache.runs.get(item["metadata"]["uid"])
            if (
                known is None
                or known.metadata.resource_version != item["metadata"]["resourceVersion"]
            ):
                self.tell(item)
        for pod in self.pod_objects():
            self.tell(pod)  # a deletion that the operator has begun
        self.kube.calls = [
            call for call in self.kube.calls if call[0] != "create" or call[1] != self.kube.jobs
        ]
        self.scanned = self.kube.version

    # -- rules -----------------------------------------------------------------------------------

    hold_back = False

    @initialize(limit=st.integers(1, 3))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.kube.put("codexjobtypes", kind_json(concurrencyLimit=limit))
        self.restart()

    @rule(priority=st.integers(-1, 1))
    def create_run(self, priority: int) -> None:
        self.made += 1
        uid = str(uuid.UUID(int=self.made * 2**100))
        item = run_json(
            uid=uid,
            name=f"run-{self.made}",
            priority=priority,
            version=self.kube.version,
            age=1000 - self.made,
        )
        self.change(f"{self.kube.runs}/run-{self.made}", self.kube.put("codexruns", item))

    @rule()
    def look(self) -> None:
        self.work()
        self.controllers()

    @rule()
    def a_slow_watch(self) -> None:
        """Jobs that are created now are told later."""
        self.hold_back = True
        self.work()
        self.hold_back = False

    @precondition(lambda self: self.late)
    @rule()
    def the_watch_catches_up(self) -> None:
        late = self.late
        self.late = []
        for job in late:
            self.tell(job)

    @rule()
    def the_watch_of_pods_breaks(self) -> None:
        self.pods_are_behind = True

    @precondition(lambda self: self.pods_are_behind)
    @rule()
    def pods_are_listed_again(self) -> None:
        self.pods_are_behind = False
        pods = self.items(self.kube.pods)
        for pod in pods:
            self.tell(pod)
        uids = {pod["metadata"]["uid"] for pod in pods}
        self.reconciler.cache.replace_pods(uids, self.kube.version)

    @rule(after=st.booleans())
    def a_creation_fails(self, after: bool) -> None:
        self.kube.fail("create", "/jobs", Unavailable("lost"), after=after)

    @rule(
        error=st.sampled_from(
            [Refused(403, "Forbidden", "exceeded quota: jobs"), Refused(422, "Invalid", "no")]
        )
    )
    def a_creation_is_refused(self, error: Refused) -> None:
        self.kube.fail("create", "/jobs", error)

    @rule()
    def something_is_read(self) -> None:
        past = as_it_is(self.kube)
        resync = Resync(past, self.reconciler.cache, self.reconciler.queue)
        asked = self.loop.create_task(resync.sync())
        self.loop.run_until_complete(asyncio.sleep(0))
        self.past.append((past, asked))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def a_list_that_is_older_than_now_is_told(self, data: st.DataObject) -> None:
        past, asked = self.past.pop(data.draw(st.integers(0, len(self.past) - 1)))
        past.answered.set()
        self.loop.run_until_complete(asked)
        self.nobody_is_back()
        self.work()

    @precondition(lambda self: any(past.items(past.runs) for past, _ in self.past))
    @rule(data=st.data())
    def a_get_answer_that_is_older_than_now_is_told(self, data: st.DataObject) -> None:
        item = data.draw(
            st.sampled_from([item for past, _ in self.past for item in past.items(past.runs)])
        )
        self.reconciler.cache.update_run(item)
        self.nobody_is_back()
        self.work()

    def nobody_is_back(self) -> None:
        """What has ended or was deleted is not live here."""
        runs = self.items(self.kube.runs)
        live = {run["metadata"]["uid"] for run in runs if run["status"]["phase"] not in TERMINAL}
        assert self.reconciler.cache.runs.keys() <= live

    @rule(after=st.booleans())
    def a_status_write_fails(self, after: bool) -> None:
        self.kube.fail("replace", "/status", Unavailable("lost"), after=after)

    @precondition(lambda self: self.jobs(with_pod=False))
    @rule(data=st.data())
    def pod_appears(self, data: st.DataObject) -> None:
        fresh = [
            j
            for j in self.jobs(with_pod=False)
            if not j.get("status") and not j["spec"].get("suspend")
        ]
        if fresh:
            self.add_pod(data.draw(st.sampled_from(fresh)))

    def add_pod(self, job: Json) -> None:
        """A pod of the Job, on a node, whose agent runs."""
        metadata = {
            "name": f"{job['metadata']['name']}-pod",
            "uid": f"pod-of-{job['metadata']['uid']}",
            "labels": job["metadata"]["labels"],
        }
        job_uid = job["metadata"]["uid"]
        self.agents[job_uid] = self.agents.get(job_uid, 0) + 1
        pod = {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {"phase": "Running"}}
        running = {"running": {"startedAt": stamp(NOON)}}
        pod["status"]["containerStatuses"] = [{"name": "agent", "state": running}]
        pod["status"]["initContainerStatuses"] = [{"name": "gate", "state": running}]
        self.change(f"{self.kube.pods}/{metadata['name']}", pod)

    @precondition(lambda self: self.pod_objects(phase="Running"))
    @rule(data=st.data(), well=st.booleans())
    def pod_ends(self, data: st.DataObject, well: bool) -> None:
        pod = data.draw(st.sampled_from(self.pod_objects(phase="Running")))
        self.end_by_itself(pod, well=well)

    def end_by_itself(self, pod: Json, *, well: bool) -> None:
        """Its agent has ended, and its Job says so."""
        self.end(
            pod,
            agent_report() if well else agent_report(exitCode=1, turnCompleted=None),
            0 if well else 1,
        )
        if job := self.owner(pod):
            self.job_over(job, "Complete" if well else "Failed")

    @precondition(lambda self: self.items(self.kube.runs))
    @rule(data=st.data(), what=st.sampled_from(["cancel", "delete", "lower", "raise"]))
    def people(self, data: st.DataObject, what: str) -> None:
        item = data.draw(st.sampled_from(self.items(self.kube.runs)))
        path = f"{self.kube.runs}/{item['metadata']['name']}"
        if what == "delete":
            self.remove(path)
        elif what == "cancel":
            item["spec"]["cancel"] = by()
            self.change(path, item)
        else:
            item["spec"]["priority"] = -5 if what == "lower" else 5
            self.change(path, item)

    @precondition(lambda self: self.pod_objects())
    @rule(data=st.data())
    def pod_deleted_by_hand(self, data: st.DataObject) -> None:
        pod = data.draw(st.sampled_from(self.pod_objects()))
        pod["metadata"]["deletionTimestamp"] = stamp(NOON)
        self.change(f"{self.kube.pods}/{pod['metadata']['name']}", pod)

    @precondition(lambda self: self.items(self.kube.jobs))
    @rule(data=st.data())
    def job_deleted_by_hand(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self.items(self.kube.jobs)))
        self.remove(f"{self.kube.jobs}/{job['metadata']['name']}")

    @precondition(lambda self: self.items(self.kube.jobs))
    @rule(data=st.data(), at_once=st.booleans())
    def job_suspended(self, data: st.DataObject, at_once: bool) -> None:
        """By a queue controller that has no room; the Job's own may be faster than the operator."""
        told = [job for job in self.items(self.kube.jobs) if job not in self.late]
        job = data.draw(st.sampled_from([None, *told]))
        if job is None or is_over(job):
            return
        self.suspend(job, suspend=True)
        if at_once:
            self.controllers()

    @precondition(lambda self: self.items(self.kube.jobs))
    @rule()
    def suspended_jobs_are_resumed(self) -> None:
        """There is room again, but the operator has looked meanwhile: it cannot hinder what is
        faster than it."""
        self.work()
        self.controllers()
        for job in self.items(self.kube.jobs):
            if job["spec"].get("suspend") and not is_over(job) and job not in self.late:
                job["status"] = {}
                self.suspend(job, suspend=False)

    def suspend(self, job: Json, *, suspend: bool) -> None:
        job["spec"]["suspend"] = suspend
        job["metadata"]["generation"] = job["metadata"].get("generation", 1) + 1
        self.change(f"{self.kube.jobs}/{job['metadata']['name']}", job)

    @rule(shuffle=st.randoms(use_true_random=False))
    def new_operator(self, shuffle: Any) -> None:
        for item in self.items(self.kube.runs):
            uid = item["metadata"]["uid"]
            if "attempt" not in item["status"] and uid not in self.traces():
                # A Job deleted by hand before any status or pod told of it: nobody can know, and
                # nothing ever ran.
                self.created[uid] = 0
        self.restart(shuffle)

    def traces(self) -> set[str]:
        """Uids of the runs that have a Job or a pod."""
        found = [*self.items(self.kube.jobs), *self.items(self.kube.pods)]
        return {item["metadata"]["labels"]["codexrun.dev/run-uid"] for item in found}

    def forget_the_past(self) -> None:
        for _, asked in self.past:
            asked.cancel()
            self.loop.run_until_complete(asyncio.wait((asked,)))
        self.past = []

    def restart(self, shuffle: Any = None) -> None:
        """A new State, fed with the same objects: Jobs, pods and prompts first, as the process
        does, in any order each."""
        self.late = []
        self.scanned = -1
        self.forget_the_past()
        self.pods_are_behind = False
        self.reconciler = Reconciler(self.kube, PODS, workers=1, clock=lambda: self.seconds)
        state = self.reconciler.cache
        state.update_prompt(prompt_json())
        for path in (self.kube.jobs, self.kube.pods, self.kube.job_types, self.kube.runs):
            items = self.items(path)
            if shuffle:
                shuffle.shuffle(items)
            for item in items:
                if path == self.kube.job_types:
                    with one_object("codexjobtype", item["metadata"]["name"]):
                        state.update_job_type(item)
                else:
                    self.tell(item)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def never_more_than_the_limit(self) -> None:
        assert len(self.reconciler.cache.ledger.holders["hello"]) <= self.limit
        running = [pod for pod in self.pod_objects() if pod["status"]["phase"] == "Running"]
        assert len(running) <= self.limit

    @invariant()
    def no_job_for_a_run_that_is_over(self) -> None:
        assert not self.too_late

    @invariant()
    def never_two_jobs(self) -> None:
        assert all(count <= 1 for count in self.created.values())

    @invariant()
    def never_two_agents(self) -> None:
        assert all(count <= 1 for count in self.agents.values())

    def unsettled(self) -> bool:
        state = self.reconciler.cache
        return bool(
            state.runs
            or state.ledger.holders["hello"]
            or state.ledger.creations
            or [p for p in state.pods.values() if p.held or p.gone]
        )

    def finish_everything(self) -> None:
        """All pods end, nothing else happens: every run ends, every slot is free, and nothing is
        remembered."""
        self.kube._failures.clear()
        self.pods_are_listed_again()
        for _ in range(40 + 4 * self.made):
            self.the_watch_catches_up()
            self.work()
            self.controllers()
            self.suspended_jobs_are_resumed()
            for job in [
                j
                for j in self.jobs(with_pod=False)
                if not j.get("status") and not j["spec"].get("suspend")
            ]:
                metadata = {
                    "name": f"{job['metadata']['name']}-pod",
                    "uid": f"pod-of-{job['metadata']['uid']}",
                }
                pod = {
                    "metadata": {**metadata, "labels": job["metadata"]["labels"]},
                    "spec": {"nodeName": "n"},
                }
                self.end(pod, agent_report(), 0)
                self.job_over(job, "Complete")
            for pod in self.pod_objects(phase="Running"):
                self.end(pod, agent_report(), 0)
                if job := self.owner(pod):
                    self.job_over(job, "Complete")
            if (
                all(run["status"]["phase"] in TERMINAL for run in self.items(self.kube.runs))
                and not self.unsettled()
            ):
                break
        state = self.reconciler.cache
        assert {item["status"]["phase"] for item in self.items(self.kube.runs)} <= set(TERMINAL)
        assert not state.runs
        assert not state.ledger.holders["hello"]
        assert not state.scheduler.queues["hello"]
        assert not state.ledger.creations
        assert not state.witnessed
        assert not [pod for pod in state.pods.values() if pod.gone]
        assert state.pods.keys() <= {
            pod["metadata"]["labels"]["codexrun.dev/run-uid"] for pod in self.pod_objects()
        }
        assert state.jobs.keys() <= {
            j["metadata"]["labels"]["codexrun.dev/run-uid"] for j in self.items(self.kube.jobs)
        }
        self.loop.run_until_complete(Resync(self.kube, state, self.reconciler.queue).sync())
        assert not state.jobs
        assert not state.pods
        for pod in self.pod_objects():
            assert EVIDENCE_FINALIZER not in pod["metadata"].get("finalizers", [])
        for item in self.items(self.kube.runs):
            CodexRun.model_validate(item)
