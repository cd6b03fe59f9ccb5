"""The cluster in small, and what else may happen to it: old lists of Jobs and pods, kinds that
cannot be read or listed, edits by others, a wall clock that is set, thousands that wait."""

import contextlib
import copy
import uuid
from datetime import datetime, timedelta
from typing import Any
from unittest import mock

from builders import kind_json, prompt_json, run_json
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from small_cluster import TERMINAL, Json, Past, SmallCluster, as_it_is, is_over

from codexrun_core import times
from codexrun_core.errors import Refused, Unavailable
from codexrun_core.resources import CodexRun, RunStatus
from codexrun_operator import metrics
from codexrun_operator.act import cleanup, job_types, reconcile, status_writer
from codexrun_operator.watch import resync
from codexrun_operator.watch.resync import Resync

CLOCKS = (cleanup, job_types, reconcile, status_writer, resync)
FORBIDDEN = Refused(403, "Forbidden", "jobs is forbidden: User cannot list")
CROWD = "crowd"
MAX_OLD_LISTS = 3
TOKENS_OF_A_RUN = 130  # input, cached, output and reasoning, as gate_report() has them


class HostileCluster(SmallCluster):
    """At every instant besides: what has ended stays as it was, nobody is rejected, what is stored
    is what was decided, no run ends before its pod, and no run's tokens are counted twice."""

    def __init__(self) -> None:
        self.ended: dict[str, Json] = {}  # run uid -> its last status
        self.wrong: list[str] = []  # in words
        self.old: list[Past] = []  # Jobs and pods as they were
        self.with_usage: set[str] = set()
        self.ahead = timedelta()  # of the wall clock
        self.patches = [mock.patch.object(module, "now", self.now) for module in CLOCKS]
        for patch in self.patches:
            patch.start()
        self.tokens_before = self.tokens()
        super().__init__()

    def close(self) -> None:
        for patch in self.patches:
            patch.stop()
        super().close()

    def now(self) -> datetime:
        return times.now() + self.ahead

    @staticmethod
    def tokens() -> float:
        """Return how many tokens the operators of this process have counted for the job type."""
        return sum(
            sample.value
            for metric in metrics.TOKENS.collect()
            for sample in metric.samples
            if sample.labels.get("job_type") == "hello" and sample.name.endswith("_total")
        )

    def restart(self, shuffle: Any = None) -> None:
        super().restart(shuffle)
        self.old = []
        writer = self.reconciler._statuses
        write = writer.write

        async def write_checked(run: CodexRun, status: RunStatus) -> None:
            version = self.kube.version
            try:
                await write(run, status)
            finally:
                if self.kube.version > version:
                    self.stored(run, status)

        writer.write = write_checked  # type: ignore[method-assign]

    def stored(self, run: CodexRun, status: RunStatus) -> None:
        """Hold what is stored against what was decided."""
        name, uid = run.metadata.name, run.metadata.uid
        item = self.kube.objects.get(f"{self.kube.runs}/{name}")
        if item is None or item["metadata"]["uid"] != uid:
            return
        if item["status"] != status.dump():
            self.wrong.append(f"{name}: {item['status']} is stored, not {status.dump()}")
        if not status.phase.terminal:
            return
        if status.usage:
            self.with_usage.add(uid)
        for pod in self.pod_objects(phase="Running"):
            if pod["metadata"]["labels"]["codexrun.dev/run-uid"] == uid:
                self.wrong.append(f"{name} is {status.phase}, and its pod runs")

    # -- rules -----------------------------------------------------------------------------------

    @rule()
    def look(self) -> None:
        """What there is before may be told after it."""
        self.old = [*self.old[-MAX_OLD_LISTS:], as_it_is(self.kube)]
        super().look()

    @precondition(lambda self: self.old)
    @rule(data=st.data(), of_jobs=st.booleans())
    def an_older_list_of_jobs_or_pods_arrives(self, data: st.DataObject, of_jobs: bool) -> None:
        """As a new watch tells it: each object, and then which there are."""
        past = self.old.pop(data.draw(st.integers(0, len(self.old) - 1)))
        cache = self.reconciler.cache
        path, update, replace = (
            (self.kube.jobs, cache.update_job, cache.replace_jobs)
            if of_jobs
            else (self.kube.pods, cache.update_pod, cache.replace_pods)
        )
        items = copy.deepcopy(past.items(path))
        for item in items:
            update(item)
        replace({item["metadata"]["uid"] for item in items}, past.version)
        self.work()

    @rule(what=st.sampled_from(["job type", "prompt"]), readable=st.booleans())
    def something_cannot_be_read_or_can_again(self, what: str, readable: bool) -> None:
        self.kube.version += 1
        if what == "prompt":
            prompt = prompt_json(version=self.kube.version)
            if not readable:
                prompt["data"] = "none"
            with contextlib.suppress(Exception):
                self.reconciler.cache.update_prompt(prompt)
            return
        item = kind_json(concurrencyLimit=self.limit, version=self.kube.version)
        item["metadata"]["generation"] = self.kube.version
        if not readable:
            item["spec"]["concurrencyLimit"] = "many"
        stored = self.kube.put("codexjobtypes", item)
        with contextlib.suppress(ValueError):
            self.reconciler.cache.update_job_type(stored)

    @rule(
        verb=st.sampled_from(["list", "get"]),
        plural=st.sampled_from(["codexruns", "codexjobtypes", "jobs", "pods"]),
    )
    def a_kind_is_not_answered(self, verb: str, plural: str) -> None:
        """A list that is due is refused; a GET of a run or a Job fails when it comes."""
        if verb == "get":
            self.kube.fail("get", f"/{plural}", Unavailable("HTTP 500"))
            return
        self.kube.fail("list", f"/{plural}", FORBIDDEN)
        asked = Resync(self.kube, self.reconciler.cache, self.reconciler.queue).sync()
        with contextlib.suppress(Refused):
            self.loop.run_until_complete(asked)

    @precondition(lambda self: self.items(self.kube.runs))
    @rule(data=st.data(), what=st.sampled_from(["run", "suspended Job", "label of a Job"]))
    def somebody_edits(self, data: st.DataObject, what: str) -> None:
        """A run, and no watch tells; a Job that is resumed, or labelled as of another job type."""
        if what == "run":
            item = data.draw(st.sampled_from(self.items(self.kube.runs)))
            self.kube.version += 1
            edited = copy.deepcopy(item)
            edited["metadata"]["annotations"] = {"team": str(self.kube.version)}
            edited["metadata"]["resourceVersion"] = str(self.kube.version)
            self.kube.objects[f"{self.kube.runs}/{item['metadata']['name']}"] = edited
            return
        resumes = what == "suspended Job"
        jobs = [job for job in self.items(self.kube.jobs) if not resumes or self.suspended(job)]
        if not jobs:
            return
        job = data.draw(st.sampled_from(jobs))
        if resumes:
            job["spec"]["suspend"] = False
            job.pop("status", None)
        else:
            labels = {**job["metadata"]["labels"], "codexrun.dev/job-type": "other"}
            job["metadata"]["labels"] = labels
        self.change(f"{self.kube.jobs}/{job['metadata']['name']}", job)

    @staticmethod
    def suspended(job: Json) -> bool:
        return bool(job["spec"].get("suspend")) and not is_over(job)

    @rule(hours=st.sampled_from([-30, -1, 1, 30]))
    def the_wall_clock_is_set(self, hours: int) -> None:
        self.ahead += timedelta(hours=hours)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def what_has_ended_stays_as_it_was(self) -> None:
        for item in self.items(self.kube.runs):
            uid = item["metadata"]["uid"]
            last = self.ended.get(uid)
            assert last is None or item["status"] == last
            if item["status"]["phase"] in TERMINAL:
                self.ended[uid] = copy.deepcopy(item["status"])

    @invariant()
    def nobody_is_rejected(self) -> None:
        assert "Rejected" not in {item["status"]["phase"] for item in self.items(self.kube.runs)}

    @invariant()
    def what_is_stored_was_decided(self) -> None:
        assert not self.wrong

    @invariant()
    def no_tokens_are_counted_twice(self) -> None:
        assert self.tokens() - self.tokens_before <= TOKENS_OF_A_RUN * len(self.with_usage)

    @invariant()
    def who_waits_says_for_what(self) -> None:
        for item in self.items(self.kube.runs):
            assert item["status"]["reason"]

    def finish_everything(self) -> None:
        self.something_cannot_be_read_or_can_again("job type", True)
        self.something_cannot_be_read_or_can_again("prompt", True)
        self.disperse()
        super().finish_everything()
        # Nobody else asks after the last step.
        self.what_has_ended_stays_as_it_was()
        self.nobody_is_rejected()
        self.what_is_stored_was_decided()
        self.no_tokens_are_counted_twice()

    def disperse(self) -> None:
        """Who of a crowd still waits goes home."""
        for item in self.items(self.kube.runs):
            name = item["metadata"]["name"]
            if name.startswith(CROWD) and item["status"]["phase"] == "Queued":
                self.remove(f"{self.kube.runs}/{name}")


class CrowdedCluster(HostileCluster):
    """With as many in the queue as `most` at the beginning; they come after all others."""

    most = 200

    @initialize(limit=st.integers(1, 3), data=st.data())
    def begin(  # type: ignore[override]
        self, limit: int, data: st.DataObject | None = None
    ) -> None:
        super().begin(limit=limit)
        if data is not None:
            for number in range(data.draw(st.integers(self.most // 2, self.most))):
                self.queue_up(number)

    def queue_up(self, number: int) -> None:
        item = run_json(
            "Queued",
            reason="ConcurrencyLimit",
            uid=str(uuid.UUID(int=2**127 + number)),
            name=f"{CROWD}-{number}",
            priority=-2,
            version=self.kube.version,
            age=500 - number / 10,
        )
        self.change(f"{self.kube.runs}/{CROWD}-{number}", self.kube.put("codexruns", item))
