"""What the operator knows, kept current by the watches: runs, job types, prompts, Jobs, pods, and who holds which slot."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from codexrun_core.lifecycle import Phase
from codexrun_core.prices import Prices, built_in
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.stored_prompts import LABEL as PROMPT_LABEL
from codexrun_core.stored_prompts import VERSION_LABEL as PROMPT_VERSION_LABEL
from codexrun_core.stored_prompts import StoredPrompt as Prompt
from codexrun_operator.admission import Place, Slots, next_in_line
from codexrun_operator.judge import prompt_version
from codexrun_operator.plan import Seen
from codexrun_operator.seen import JOB_TYPE_LABEL, RUN_UID_LABEL, Job, Pod, job_from, pod_from

Json = dict[str, Any]


@dataclass
class Creating:
    """A Job whose creation was sent; `confirmed` when the apiserver has answered. It holds a slot until the watch shows it."""

    job_type: str
    body: Json
    confirmed: bool = False
    looks: int = 0  # without seeing it since


@dataclass
class State:
    """`changed(key)` is called for every run (by uid), job type ("jobtype/<name>"), Job without a run ("orphan/<Job uid>") and
    pod held for a run that is over ("evidence/<run uid>") that has to be looked at again."""

    changed: Callable[[str], None]
    prices: Callable[[], Prices] = field(default=lambda: built_in().on(date.max))  # that hold now
    runs: dict[str, CodexRun] = field(default_factory=dict)
    job_types: dict[str, CodexJobType] = field(default_factory=dict)
    prompts: dict[tuple[str, str], Prompt] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)  # by run uid, like all below
    pods: dict[str, Pod] = field(default_factory=dict)
    creating: dict[str, Creating] = field(default_factory=dict)
    witnessed: set[str] = field(default_factory=set)
    holders: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # job type -> run uids
    waiting: dict[str, dict[str, Place]] = field(default_factory=lambda: defaultdict(dict))
    orphans: dict[str, str] = field(default_factory=dict)  # Job uid -> name: ours, and controlled by no run

    # -- what the watches tell -------------------------------------------------------------------

    def run_seen(self, raw: Json, gone: bool = False) -> None:
        """A CodexRun came, changed, or left the watch (deleted, or terminal: this operator wrote that)."""
        uid = raw["metadata"]["uid"]
        if gone:
            self.forget(uid)
            return
        run = CodexRun.model_validate(raw)
        known = self.runs.get(uid)
        if known and _version(known) >= _version(run):
            return
        if run.status.phase.terminal:
            self.forget(uid)
            return
        self.runs[uid] = run
        if run.status.phase is Phase.QUEUED:
            # In the queue from the first sight on: maxQueued holds after a restart too, whoever is looked at first.
            self.waiting[run.spec.job_type].setdefault(uid, place(run))
        self.changed(uid)

    def forget(self, uid: str) -> None:
        """The run needs nothing any more; its Job and pod may still hold the slot."""
        run = self.runs.pop(uid, None)
        if run:
            self.leave(run)
            self._count(uid, run.spec.job_type)
        self.witnessed.discard(uid)
        if pod := self.pods.get(uid):
            if pod.gone:
                del self.pods[uid]
            elif pod.held:
                self.changed(f"evidence/{uid}")
        if uid in self.creating:
            self.changed(uid)

    def job_type_seen(self, raw: Json, gone: bool = False) -> None:
        name, uid = raw["metadata"]["name"], raw["metadata"]["uid"]
        known = self.job_types.get(name)
        if gone:
            if known is None or known.metadata.uid != uid:
                return  # replaced by another of its name, whose event was faster
            del self.job_types[name]
        else:
            job_type = CodexJobType.model_validate(raw)
            if known and _version(known) >= _version(job_type):
                return
            self.job_types[name] = job_type
            if known and (known.metadata.uid, known.metadata.generation) == (uid, job_type.metadata.generation):
                return
            self.changed(f"jobtype/{name}")
        self._look_at_unstarted(run for run in self.runs.values() if run.spec.job_type == name)

    def prompt_seen(self, raw: Json, gone: bool = False) -> None:
        """A prompt version's ConfigMap."""
        metadata = raw["metadata"]
        labels = metadata.get("labels") or {}
        key = (labels.get(PROMPT_LABEL, ""), labels.get(PROMPT_VERSION_LABEL, ""))
        if gone:
            self.prompts.pop(key, None)
        else:
            self.prompts[key] = Prompt.read(raw)
        users = {name for name, job_type in self.job_types.items() if job_type.spec.prompt.name == key[0]}
        for name in users:
            self.changed(f"jobtype/{name}")
        self._look_at_unstarted(run for run in self.runs.values() if run.spec.job_type in users)

    def job_seen(self, raw: Json, gone: bool = False) -> None:
        uid, job_type = _labels(raw)
        if not uid:
            return  # not one of ours, whoever labelled it
        job = job_from(raw)
        if gone:
            self.orphans.pop(job.uid, None)
            if (known := self.jobs.get(uid)) and known.uid != job.uid:
                return  # another Job of this run is there
            self.jobs.pop(uid, None)
            self.creating.pop(uid, None)
            if uid in self.runs:
                self.witnessed.add(uid)
        else:
            self.jobs[uid] = job
            self.creating.pop(uid, None)
            if not job.owned and not job.gone and not job.deleting:
                self.orphans[job.uid] = job.name
                self.changed(f"orphan/{job.uid}")
        self._count(uid, job_type)
        self.changed(uid)

    def pod_seen(self, raw: Json, gone: bool = False) -> None:
        uid, job_type = _labels(raw)
        if not uid:
            return
        pod = pod_from(raw, gone=gone)
        if (known := self.pods.get(uid)) and known.uid != pod.uid and (gone or not (pod.owned or known.gone)):
            return  # another pod of this run is there; one that only bears its labels takes its place from nobody
        if gone and uid not in self.runs:
            self.pods.pop(uid, None)
        else:
            # A tombstone stays until the run is over: it carries the containers' last words.
            self.pods[uid] = pod
            if pod.held and not gone and uid not in self.runs:
                self.changed(f"evidence/{uid}")
        self._count(uid, job_type)
        self.changed(uid)

    def _look_at_unstarted(self, runs: Iterable[CodexRun]) -> None:
        for run in sorted(runs, key=place):
            if run.metadata.uid not in self.jobs:
                self.changed(run.metadata.uid)

    # -- slots -----------------------------------------------------------------------------------

    def slots(self, job_type: CodexJobType) -> Slots:
        spec = job_type.spec
        return Slots(limit=spec.concurrency_limit, holders=len(self.holders[job_type.metadata.name]), suspended=spec.suspended)

    def reserve(self, run: CodexRun, body: Json) -> None:
        """Count the slot before the Job's creation is sent."""
        self.creating[run.metadata.uid] = Creating(run.spec.job_type, body)
        self.waiting[run.spec.job_type].pop(run.metadata.uid, None)
        self._count(run.metadata.uid, run.spec.job_type)

    def give_back(self, uid: str) -> None:
        """The Job was surely not created."""
        if creating := self.creating.pop(uid, None):
            self._count(uid, creating.job_type)

    def wait(self, run: CodexRun) -> None:
        """Put the run in the queue, or to its new place there."""
        waiting, uid, new = self.waiting[run.spec.job_type], run.metadata.uid, place(run)
        if waiting.get(uid) != new:
            waiting[uid] = new
            self._serve(run.spec.job_type)

    def leave(self, run: CodexRun) -> None:
        """The run waits for no slot any more; one that was free for it is the next one's."""
        if self.waiting[run.spec.job_type].pop(run.metadata.uid, None):
            self._serve(run.spec.job_type)

    def _serve(self, job_type: str) -> None:
        """Look at the runs for which a slot is free."""
        if kind := self.job_types.get(job_type):
            for waiter in next_in_line(self.waiting[job_type].values(), self.slots(kind)):
                self.changed(waiter.uid)

    def _count(self, uid: str, job_type: str) -> None:
        """Keep `holders` true for this run; a slot that becomes free goes to the next in line."""
        job, pod = self.jobs.get(uid), self.pods.get(uid)
        holds = uid in self.creating or (job is not None and not job.gone) or (pod is not None and pod.holds_slot)
        holders = self.holders[job_type]
        if holds:
            holders.add(uid)
        elif uid in holders:
            holders.discard(uid)
            self._serve(job_type)

    # -- the planner's view ----------------------------------------------------------------------

    def view(self, uid: str) -> Seen | None:
        """All that is known about one run, or None if it is over."""
        run = self.runs.get(uid)
        if run is None:
            return None
        job_type = self.job_types.get(run.spec.job_type)
        prompt = self.prompts.get((job_type.spec.prompt.name, prompt_version(run, job_type))) if job_type else None
        waiting = self.waiting[run.spec.job_type]
        return Seen(
            run=run,
            prices=self.prices(),
            queued=len(waiting) - (uid in waiting),
            job_type=job_type,
            prompt=prompt,
            creating=uid in self.creating,
            job=self.jobs.get(uid),
            pod=self.pods.get(uid),
            witnessed=uid in self.witnessed,
        )


def place(run: CodexRun) -> Place:
    assert run.metadata.creation_timestamp is not None
    return Place(-run.spec.priority, run.metadata.creation_timestamp, run.metadata.uid)


def _labels(raw: Json) -> tuple[str, str]:
    labels = raw["metadata"].get("labels") or {}
    return labels.get(RUN_UID_LABEL, ""), labels.get(JOB_TYPE_LABEL, "")


def _version(resource: CodexRun | CodexJobType) -> int:
    """Resource versions of one resource type compare as integers (KEP-5504)."""
    return int(resource.metadata.resource_version or 0)
