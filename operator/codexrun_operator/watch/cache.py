"""What the operator knows, kept current by the watches: runs, job types, prompts, Jobs, pods, and
who holds which slot."""

import dataclasses
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from codexrun_core import reasons
from codexrun_core.prices.table import Prices, built_in
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_core.refusals import Cause
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs.label_keys import (
    PROMPT_LABEL,
    PROMPT_VERSION_LABEL,
)
from codexrun_operator.decide.message_pace import MessagePace
from codexrun_operator.decide.observed import Job, Pod, job_from, pod_from
from codexrun_operator.decide.plan import Blocked, Snapshot, wants_slot
from codexrun_operator.decide.run_reader import is_readable, read_run
from codexrun_operator.decide.validation import prompt_version
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.ledger import SlotLedger
from codexrun_operator.watch.scheduler import Scheduler, queue_key
from codexrun_operator.watch.store import DELETED_VERSION, Store, version_of
from codexrun_operator.watch.warnings import Warnings

Json = dict[str, Any]


@dataclass
class Cache:
    """All that the operator knows. `enqueue(key)` is called for every object that has to be looked
    at again.

    `clock` is monotonic, in seconds. A method that takes a raw object raises what reading it
    raises, and is otherwise unchanged.
    """

    enqueue: Callable[[Key], None]
    clock: Callable[[], float] = time.monotonic
    prices: Callable[[], Prices] = field(default=lambda: built_in().on(date.max))  # that hold now
    runs: Store[CodexRun] = field(default_factory=Store)  # that have not ended
    # each kind's objects by uid; None is one that cannot be read
    all_job_types: Store[tuple[str, CodexJobType | None]] = field(default_factory=Store)
    all_prompts: Store[tuple[tuple[str, str], Prompt | None]] = field(default_factory=Store)
    all_jobs: Store[Job] = field(default_factory=Store)
    all_pods: Store[Pod] = field(default_factory=Store)
    job_types: dict[str, CodexJobType] = field(default_factory=dict)
    prompts: dict[tuple[str, str], Prompt] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)  # by run uid, like all below
    pods: dict[str, Pod] = field(default_factory=dict)
    # uids of the run's pods that the watch shows no more, until a GET has told what became of them
    unwatched: dict[str, set[str]] = field(default_factory=dict)
    witnessed: set[str] = field(default_factory=set)
    ledger: SlotLedger = field(default_factory=SlotLedger)
    # Job uid -> name: codexrun made it, and no run controls it
    orphans: dict[str, str] = field(default_factory=dict)
    unreadable_job_types: set[str] = field(default_factory=set)
    unreadable_prompts: set[tuple[str, str]] = field(default_factory=set)
    warnings: Warnings = field(default_factory=Warnings)  # Kubernetes' about Jobs and pods
    message_pace: MessagePace = field(default_factory=MessagePace)
    # run uid -> what, and since when (clock)
    missing: dict[str, tuple[str, float]] = field(default_factory=dict)
    runs_listed: bool = False  # before, nobody knows which runs are over

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.enqueue, self.clock, self.job_types, self.ledger)

    # -- what the watches tell -------------------------------------------------------------------

    def update_run(self, raw: Json, gone: bool = False) -> None:
        """A CodexRun came, changed, or left the watch (deleted, or terminal: this operator wrote
        that)."""
        uid = raw["metadata"]["uid"]
        version = version_of(raw)
        if gone:
            self.forget(uid, version)
        elif self.runs.is_news(uid, version):
            self.store_run(read_run(raw))

    def store_run(self, run: CodexRun) -> None:
        """The same of a run that is there and was read."""
        uid = run.metadata.uid
        version = _version(run)
        if not self.runs.is_news(uid, version):
            return  # a list, a GET or an event from before its end, or from before this state
        if run.status.phase.terminal:
            self.forget(uid, version)
            self._enqueue_stray(uid)
            return
        first_sight = uid not in self.runs
        self.runs.apply(uid, version, run)
        if first_sight and (uid in self.jobs or uid in self.pods):
            # Jobs and pods were listed before: their labels said whose slot it is.
            self._recount_holders(uid, run.spec.job_type)
        queue = self.scheduler.queue_of(run.spec.job_type)
        if run.status.phase is Phase.QUEUED and (first_sight or uid in queue):
            # In the queue from the first sight on: maxQueued holds after a restart too, whoever is
            # looked at first.
            self.scheduler.join(run)
        if self._needs_a_look(run):
            self.enqueue(run_key(uid))

    def _needs_a_look(self, run: CodexRun) -> bool:
        """Whether anything can follow from a look at the run; not while it waits in the queue, says
        for what, and its turn has not come."""
        uid = run.metadata.uid
        name = run.spec.job_type
        return (
            run.status.phase is not Phase.QUEUED
            or uid not in self.scheduler.queue_of(name)
            or run.status.reason != self._waiting_reason(name)
            or run.spec.cancel is not None
            or run.metadata.deletion_timestamp is not None
            or uid in self.jobs
            or uid in self.pods
            or self.scheduler.may_start(run)
        )

    def stop_is_due(self, key: Key) -> bool:
        """Return whether the key is a run that was cancelled, and whose stop has not begun: what
        follows from other stops can wait for it."""
        run = self.runs.get(key.name) if key.kind is Kind.RUN else None
        return bool(run and run.spec.cancel and run.status.phase is not Phase.STOPPING)

    def _waiting_reason(self, job_type: str) -> str | None:
        """The reason that every run in the queue is to have; None if each has its own."""
        resource = self.job_types.get(job_type)
        if resource is None:
            return None
        if resource.spec.suspended:
            return reasons.SUSPENDED
        if self.scheduler.holds.of(job_type):
            return reasons.JOB_TYPE_HELD
        return reasons.CONCURRENCY_LIMIT

    def replace_runs(self, uids: Collection[str], version: int) -> None:
        """These are all live runs as of resourceVersion `version`: what is not among them has ended
        or was deleted, whoever missed the news."""
        for uid in self.runs.unlisted(uids, version):
            self.forget(uid, version)
        self.runs_listed = True

    def forget(self, uid: str, version: int = DELETED_VERSION) -> None:
        """The run needs nothing any more, as its resourceVersion `version` says; its Job and pod
        may still hold the slot."""
        run = self.runs.forget(uid, version)
        if run:
            self.scheduler.forget(run)
            self._recount_holders(uid, run.spec.job_type)
        self.witnessed.discard(uid)
        self.missing.pop(uid, None)
        self.message_pace.forget(uid)
        if pod := self.pods.get(uid):
            if pod.gone:
                del self.pods[uid]
            elif pod.held:
                self.enqueue(Key(Kind.EVIDENCE, uid))
        if uid in self.ledger.creations or uid in self.ledger.unproven:
            self.enqueue(run_key(uid))

    def update_job_type(self, raw: Json, gone: bool = False) -> None:
        name = raw["metadata"]["name"]
        uid = raw["metadata"]["uid"]
        version = version_of(raw)
        others = [
            other
            for other, (other_name, _) in self.all_job_types.items()
            if other_name == name and other != uid
        ]
        # Two never have one name at a time: the event of the older one's deletion is late, or was
        # missed.
        successor = any(self.all_job_types.version(other) > version for other in others)
        if not successor:
            for other in others:
                self._job_type_gone(name, other, DELETED_VERSION)
        if gone:
            self._job_type_gone(name, uid, version)
            return
        if successor or not self.all_job_types.is_news(uid, version):
            return
        stored = self.job_types.get(name)
        try:
            job_type = CodexJobType.model_validate(raw)
        except Exception:
            # What was known of it holds no more, and "not there" it is not: its runs wait.
            self.all_job_types.apply(uid, version, (name, None))
            self.job_types.pop(name, None)
            self.unreadable_job_types.add(name)
            self._job_type_changed(name)
            raise
        self.all_job_types.apply(uid, version, (name, job_type))
        self.unreadable_job_types.discard(name)
        self.job_types[name] = job_type
        if stored and (stored.metadata.uid, stored.metadata.generation) == (
            uid,
            job_type.metadata.generation,
        ):
            return
        self.enqueue(Key(Kind.JOB_TYPE, name))
        self._job_type_changed(name)

    def replace_job_types(self, uids: Collection[str], version: int) -> None:
        """These are all job types as of resourceVersion `version`."""
        for uid in self.all_job_types.unlisted(uids, version):
            name, _ = self.all_job_types[uid]
            self._job_type_gone(name, uid, version)

    def _job_type_gone(self, name: str, uid: str, version: int) -> None:
        self.all_job_types.forget(uid, version)
        if any(other == name for other, _ in self.all_job_types.values()):
            return  # replaced by another of its name, whose event was faster
        self.job_types.pop(name, None)
        self.unreadable_job_types.discard(name)
        self._job_type_changed(name)

    def _job_type_changed(self, name: str) -> None:
        self.scheduler.holds.lift(name)
        self._reconsider(name)

    def _reconsider(self, job_type: str) -> None:
        """What the waiting runs of a job type may have lacked has changed. Each has its place again
        before the first is looked at: who had left the queue for it is passed by none."""
        for uid, run in self.runs.items():
            if run.spec.job_type != job_type or run.status.phase is not Phase.QUEUED:
                continue
            begun = uid in self.jobs or uid in self.pods or uid in self.witnessed
            if not (begun or uid in self.ledger.creations):
                self.scheduler.join(run)
        self.enqueue_unstarted(job_type)

    def update_prompt(self, raw: Json, gone: bool = False) -> None:
        """A prompt version's ConfigMap."""
        uid = raw["metadata"]["uid"]
        version = version_of(raw)
        labels = raw["metadata"].get("labels") or {}
        key = (labels.get(PROMPT_LABEL, ""), labels.get(PROMPT_VERSION_LABEL, ""))
        if gone:
            self._prompt_gone(key, uid, version)
            return
        if not self.all_prompts.is_news(uid, version):
            return
        if (stored := self.all_prompts.get(uid)) and stored[0] != key:
            self._prompt_gone(stored[0], uid, version - 1)  # its labels were changed
        prompt = None
        try:
            prompt = Prompt.read(raw)
            self.prompts[key] = prompt
            self.unreadable_prompts.discard(key)
        except Exception:
            self.prompts.pop(key, None)
            self.unreadable_prompts.add(key)
            raise
        finally:
            self.all_prompts.apply(uid, version, (key, prompt))
            self._prompt_changed(key[0])

    def replace_prompts(self, uids: Collection[str], version: int) -> None:
        """These are all ConfigMaps of prompts as of resourceVersion `version`."""
        for uid in self.all_prompts.unlisted(uids, version):
            self._prompt_gone(self.all_prompts[uid][0], uid, version)

    def _prompt_gone(self, key: tuple[str, str], uid: str, version: int) -> None:
        self.all_prompts.forget(uid, version)
        self.prompts.pop(key, None)
        self.unreadable_prompts.discard(key)
        for other, prompt in self.all_prompts.values():
            if other == key and prompt is not None:
                self.prompts[key] = prompt  # another ConfigMap has this prompt version
            elif other == key:
                self.unreadable_prompts.add(key)
        self._prompt_changed(key[0])

    def _prompt_changed(self, prompt: str) -> None:
        for name, job_type in self.job_types.items():
            if job_type.spec.prompt.name == prompt:
                self.enqueue(Key(Kind.JOB_TYPE, name))
                self._reconsider(name)

    def update_job(self, raw: Json, gone: bool = False) -> None:
        job = job_from(raw)
        if known := self.all_jobs.get(job.uid):
            job = job.still(known)
        elif not job.genuine:
            return  # somebody's copy of a run's Job, or codexrun did not make it
        version = version_of(raw)
        if gone:
            self._job_gone(job, version)
            return
        if creation := self.ledger.creations.pop(job.run_uid, None):
            self.scheduler.record_creation(job.run_uid, creation.job_type)
        if self.all_jobs.apply(job.uid, version, job):
            self._job_there(job)

    def read_job(self, raw: Json) -> None:
        """The answer to a GET of a Job that the watch has not shown. Until it does, or the Job has
        ended, its creation counts as not seen: it is asked for again."""
        job = job_from(raw)
        if known := self.all_jobs.get(job.uid):
            job = job.still(known)
        if not (job.genuine and self.all_jobs.revive(job.uid, version_of(raw), job)):
            return
        if not job.holds_slot:
            self.ledger.creations.pop(job.run_uid, None)
        self._job_there(job)

    def _job_there(self, job: Job) -> None:
        uid = job.run_uid
        self.jobs[uid] = job
        if self._drop_ended_job(uid):
            return
        if not job.owned and not job.gone and not job.deleting:
            self.orphans[job.uid] = job.name
            self.enqueue(Key(Kind.ORPHAN, job.uid))
        self._enqueue_stray(uid)
        self._recount_holders(uid, job.job_type)
        self.enqueue(run_key(uid))

    def replace_jobs(self, uids: Collection[str], version: int) -> None:
        """These are all Jobs of runs as of resourceVersion `version`."""
        for uid in self.all_jobs.unlisted(uids, version):
            self._job_gone(self.all_jobs[uid], version)

    def _job_gone(self, job: Job, version: int) -> None:
        self.all_jobs.forget(job.uid, version)
        self.orphans.pop(job.uid, None)
        uid = job.run_uid
        if creation := self.ledger.creations.pop(uid, None):
            self.scheduler.record_creation(uid, creation.job_type)
        if (stored := self.jobs.get(uid)) and stored.uid != job.uid:
            return  # another Job of this run is there
        self.jobs.pop(uid, None)
        if uid in self.runs:
            self.witnessed.add(uid)
        if uid not in self.pods and not job.gone:
            # Its pod may run all the same, and only its watch is behind.
            self.ledger.unproven.add(uid)
        self._recount_holders(uid, job.job_type)
        self.enqueue(run_key(uid))

    def update_pod(self, raw: Json, gone: bool = False) -> None:
        pod = pod_from(raw)
        known = self.all_pods.get(pod.uid)
        if known:
            pod = pod.still(known)
        elif not pod.genuine:
            return  # of a copy of a run's Job, or labelled by somebody else
        version = version_of(raw)
        if gone and not known and pod.run_uid not in self.runs:
            self.all_pods.forget(pod.uid, version)
            return
        if self.all_pods.apply(pod.uid, version, pod):
            self._watched(pod)
            self._pod_there(pod)
        if gone and pod.uid in self.all_pods:
            self._miss_pod(pod)

    def read_pod(self, raw: Json) -> None:
        """The answer to a GET of a pod that the watch does not show: until it does, or the pod is
        gone, it is asked for again."""
        pod = pod_from(raw)
        if known := self.all_pods.get(pod.uid):
            pod = pod.still(known)
        elif not pod.genuine:
            return
        if self.all_pods.revive(pod.uid, version_of(raw), pod):
            self._pod_there(pod)
        if pod.uid in self.all_pods:
            self._unwatch(pod)

    def _pod_there(self, pod: Pod) -> None:
        uid = pod.run_uid
        if (
            (stored := self.pods.get(uid))
            and stored.uid != pod.uid
            and not (pod.owned or stored.gone)
        ):
            # Another pod of this run is there; one that only bears its labels takes its place from
            # nobody.
            return
        self.pods[uid] = pod
        if self._drop_ended_pod(uid):
            return
        if pod.held and uid not in self.runs:
            self.enqueue(Key(Kind.EVIDENCE, uid))
        self._enqueue_stray(uid)
        self._recount_holders(uid, pod.job_type)
        self.enqueue(run_key(uid))

    def replace_pods(self, uids: Collection[str], version: int) -> None:
        """These are all pods of runs as of resourceVersion `version`."""
        for uid in self.all_pods.unlisted(uids, version):
            self._miss_pod(self.all_pods[uid])

    def _miss_pod(self, pod: Pod) -> None:
        """The watch shows the pod no more: it was deleted, or somebody took the label away that the
        watch selects by. It counts as there until a GET says which."""
        self._unwatch(pod)
        self.enqueue(run_key(pod.run_uid))

    def miss_pod(self, uid: str) -> None:
        """An action on the run's pod found nothing: the next look asks for it."""
        pod = self.pods.get(uid)
        if pod is not None and pod.uid in self.all_pods:
            self._unwatch(pod)

    def _unwatch(self, pod: Pod) -> None:
        """Ask for the pod until a watch shows it or it is gone."""
        self.unwatched.setdefault(pod.run_uid, set()).add(pod.uid)

    def _watched(self, pod: Pod) -> None:
        uids = self.unwatched.get(pod.run_uid, set())
        uids.discard(pod.uid)
        if not uids:
            self.unwatched.pop(pod.run_uid, None)

    def unwatched_pods(self, uid: str) -> list[Pod]:
        """Return the pods of the run that are to be asked for."""
        return [self.all_pods[pod] for pod in self.unwatched.get(uid, ()) if pod in self.all_pods]

    def pod_gone(self, pod: Pod) -> None:
        """The apiserver was asked for the pod, and has it no more."""
        pod = dataclasses.replace(self.all_pods.get(pod.uid, pod), gone=True)
        self._watched(pod)
        self.all_pods.forget(pod.uid)
        uid = pod.run_uid
        if (stored := self.pods.get(uid)) and stored.uid != pod.uid:
            return  # another pod of this run is there
        if uid in self.runs:
            # It stays until the run is over: it carries the containers' last words.
            self.pods[uid] = pod
        else:
            self.pods.pop(uid, None)
        self._recount_holders(uid, pod.job_type)
        self.enqueue(run_key(uid))

    def update_warning(self, raw: Json, gone: bool = False) -> None:
        """An Event of type Warning."""
        object_uid = self.warnings.update(raw, gone)
        about = self.all_jobs.get(object_uid or "") or self.all_pods.get(object_uid or "")
        if about is not None:
            self.enqueue(run_key(about.run_uid))

    def drop_ended(self) -> None:
        """Keep no Job and no pod that has ended, of a run that is over: there they stay for a
        day."""
        for uid in list(self.jobs):
            self._drop_ended_job(uid)
        for uid in list(self.pods):
            self._drop_ended_pod(uid)

    def _drop_ended_job(self, uid: str) -> bool:
        """Drop the run's Job, if both are over; return whether it was."""
        job = self.jobs[uid]
        if not self.runs_listed or uid in self.runs or job.holds_slot:
            return False
        del self.jobs[uid]
        self.all_jobs.drop(job.uid)
        self.orphans.pop(job.uid, None)
        self._recount_holders(uid, job.job_type)
        if uid in self.pods:
            self._drop_ended_pod(uid)
        return True

    def _drop_ended_pod(self, uid: str) -> bool:
        """Drop the run's pod, if both are over and nothing holds it; return whether it was.

        While its Job goes on it stays: with thousands of runs the Job controller is minutes behind,
        and a Job without a pod would be a stray.
        """
        pod = self.pods[uid]
        job = self.jobs.get(uid)
        if not self.runs_listed or uid in self.runs or pod.holds_slot or pod.held:
            return False
        if job is not None and job.holds_slot:
            return False
        del self.pods[uid]
        self.all_pods.drop(pod.uid)
        self._watched(pod)
        self._recount_holders(uid, pod.job_type)
        return True

    def enqueue_unstarted(self, job_type: str, *, everyone: bool = False) -> None:
        """Look at the runs of a job type that have no Job, best first, and where something can
        follow from that; at `everyone` if what they wait for is to be told anew, which their reason
        alone does not show."""
        unstarted = [
            run
            for uid, run in self.runs.items()
            if run.spec.job_type == job_type
            and uid not in self.jobs
            and (everyone or self._needs_a_look(run))
        ]
        for run in sorted(unstarted, key=queue_key):
            self.enqueue(run_key(run.metadata.uid))

    def enqueue_strays(self) -> None:
        """Look at every run that is not live here and has a Job or pod that is."""
        for uid in self.jobs.keys() | self.pods.keys():
            self._enqueue_stray(uid)

    def _enqueue_stray(self, uid: str) -> None:
        if self.stray(uid) is not None:
            self.enqueue(Key(Kind.STRAY, uid))

    def stray(self, uid: str) -> str | None:
        """The name of the run, if it is not live here and its Job or pod is; None otherwise.

        A pod whose containers have ended is not: its Job ends some seconds after its run.
        """
        job = self.jobs.get(uid)
        pod = self.pods.get(uid)
        if uid in self.runs:
            return None
        if pod is not None and not (pod.gone or pod.deleting or pod.ended):
            return self.run_name(uid)
        if pod is None and job is not None and job.owned and not (job.finished or job.deleting):
            return job.run
        return None

    def run_name(self, uid: str) -> str | None:
        """The name of a run that has a pod, by its Job or by the pod's label; None if neither
        says."""
        job = self.jobs.get(uid)
        pod = self.pods.get(uid)
        return (job.run if job else "") or (pod.run if pod else "") or None

    # -- slots -----------------------------------------------------------------------------------

    def confirm_creation(self, uid: str) -> None:
        """The apiserver has confirmed the Job's creation."""
        if creation := self.ledger.creations.get(uid):
            creation.confirmed = True
            self.scheduler.record_creation(uid, creation.job_type)

    def doubt_creation(self, uid: str) -> None:
        """The creation's answer was lost: the Job may exist, so that its slot stays taken, and it
        is sent again."""
        creation = self.ledger.creations.get(uid)
        if creation is None or creation.doubtful:
            return  # sent again: the next one who tries waits for that no longer
        creation.doubtful = True
        self.scheduler.record_unknown(uid, creation.job_type)

    def refuse_creation(self, uid: str, cause: Cause, message: str) -> None:
        """The apiserver has refused the Job: it was not created, and its run waits again where it
        waited before."""
        creation = self.ledger.creations.get(uid)
        if creation is None:
            return  # the watch has shown it meanwhile
        # Held first: the slot that becomes free is nobody's but the next one's who tries.
        self.scheduler.record_refusal(uid, creation.job_type, cause, message, self.runs.get(uid))
        self.release_slot(uid)

    def release_slot(self, uid: str) -> None:
        """The Job was surely not created."""
        if creation := self.ledger.creations.pop(uid, None):
            self._recount_holders(uid, creation.job_type)

    def lose_job(self, uid: str) -> None:
        """The Job was created, and is not there any more, although no watch has shown it."""
        creation = self.ledger.creations.pop(uid, None)
        if creation is None:
            return
        if job := self.jobs.get(uid):
            self._job_gone(job, DELETED_VERSION)
            return
        if uid in self.runs:
            self.witnessed.add(uid)
        if uid not in self.pods:
            self.ledger.unproven.add(uid)
        self._recount_holders(uid, creation.job_type)

    def prove_absence(self, uid: str) -> None:
        """A live read has just told of every Job and pod of the run that there is."""
        if uid not in self.ledger.unproven:
            return
        self.ledger.unproven.discard(uid)
        self._recount_holders(uid, "")

    def _recount_holders(self, uid: str, label: str) -> None:
        """Keep `holders` true for this run; a slot that becomes free goes to the next in line.

        `label`: the job type by its Job's or its pod's label, where the run itself is not known, or
        not what it names.
        """
        run = self.runs.get(uid)
        certain = run is not None and is_readable(run, "jobType")
        freed = self.ledger.recount(
            uid,
            run.spec.job_type if run and certain else label,
            self.jobs.get(uid),
            self.pods.get(uid),
            certain=certain,
        )
        if freed is not None:
            self.scheduler.offer(freed)

    # -- the planner's view ----------------------------------------------------------------------

    def snapshot(
        self,
        uid: str,
        source: CodexRun | None = None,
        *,
        absence_proven: bool = False,
    ) -> Snapshot | None:
        """Return all that is known about one run, and whether it may start now; None if it is over.

        `source`: the run that it resumes, which no watch brings. `absence_proven`: the apiserver
        has just been asked for its Jobs and pods, and nothing was awaited since.
        """
        run = self.runs.get(uid)
        if run is None:
            return None
        name = run.spec.job_type
        job_type = self.job_types.get(name)
        prompt = None
        unreadable = ""
        if job_type:
            key = (job_type.spec.prompt.name, prompt_version(run, job_type))
            prompt = self.prompts.get(key)
            unreadable = f'prompt "{key[0]}" {key[1]}' if key in self.unreadable_prompts else ""
        elif name in self.unreadable_job_types:
            unreadable = f'job type "{name}"'
        waiting = self.scheduler.queue_of(name)
        job = self.jobs.get(uid)
        pod = self.pods.get(uid)
        snapshot = Snapshot(
            run=run,
            prices=self.prices(),
            source=source,
            queued=len(waiting) - (uid in waiting),
            waits=uid in waiting,
            blocked=self._blocked(name, uid),
            job_type=job_type,
            prompt=prompt,
            unreadable=unreadable,
            creating=uid in self.ledger.creations,
            absence_proven=absence_proven,
            job=job,
            pod=pod,
            witnessed=uid in self.witnessed,
            warnings=self.warnings.of(part.uid for part in (job, pod) if part is not None),
        )
        return dataclasses.replace(
            snapshot,
            missing_for=self.missing_for(uid, snapshot.missing),
            admitted=job_type is not None
            and wants_slot(snapshot)
            and self.scheduler.may_start(run),
        )

    def _blocked(self, job_type: str, uid: str) -> Blocked | None:
        """What the apiserver has against the run's Job, if anything."""
        holds = self.scheduler.holds
        if hold := holds.of(job_type):
            trouble = (
                f'job type "{job_type}" is on hold because the API server rejects its Jobs'
                f" ({hold.cause}): {hold.message}"
            )
            return Blocked(reasons.JOB_TYPE_HELD, trouble)
        if refusals := holds.passed_over(job_type, uid, self.clock()):
            return Blocked(
                reasons.JOB_REFUSED,
                "the API server rejects the Job of this run, but not those of other runs:"
                f" {refusals.message}",
            )
        return None

    def missing_for(self, uid: str, reason: str | None) -> timedelta:
        """How long this process has seen that `reason` is missing for the run; None: nothing is.

        Never from the run's age: while no operator was there, nobody could see anything.
        """
        if reason is None:
            self.missing.pop(uid, None)
            return timedelta()
        missing = self.missing.get(uid)
        now = self.clock()
        if missing is None or missing[0] != reason:
            missing = self.missing[uid] = reason, now
        return timedelta(seconds=now - missing[1])


def _version(resource: CodexRun | CodexJobType) -> int:
    return int(resource.metadata.resource_version or 0)
