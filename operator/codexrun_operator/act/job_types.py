"""Keep job types' Ready conditions true, and let runs of a held job type try one by one."""

import time
from collections.abc import Callable

from codexrun_core.errors import Conflict, NotFound
from codexrun_core.kube.client import Kube
from codexrun_core.resources import JobTypeStatus
from codexrun_core.times import now
from codexrun_operator.act.run_metrics import RunMetrics
from codexrun_operator.act.status_writer import write_status
from codexrun_operator.decide.job_type_status import job_type_status
from codexrun_operator.watch.cache import Cache
from codexrun_operator.watch.keys import Key, Kind, run_key
from codexrun_operator.watch.workqueue import WorkQueue

# After a hold: where the next Job is refused too, Ready need not go up and down.
READY_PAUSE_SECONDS = 2.0
CONFLICT_SECONDS = 1.0


class JobTypes:
    """Looks at job types, by name."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        queue: WorkQueue[Key],
        run_metrics: RunMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._queue = queue
        self._run_metrics = run_metrics
        self._clock = clock

    async def write_ready(self, name: str) -> None:
        """Keep the Ready condition of a job type true."""
        cache = self._cache
        job_type = cache.job_types.get(name)
        if job_type is None:
            return
        self._run_metrics.expect(job_type)
        prompt = cache.prompts.get((job_type.spec.prompt.name, job_type.spec.prompt.version))
        hold = cache.scheduler.holds.of(name)
        if cache.scheduler.holds.must_notify(name, self._clock()):
            cache.enqueue_unstarted(name, everyone=True)
        status = job_type_status(job_type, prompt, cache.prices(), now(), hold)
        if _conditions(status) == _conditions(job_type.status):
            return
        try:
            cache.update_job_type(await write_status(self._kube, job_type, status))
        except NotFound:
            return
        except Conflict:
            self._queue.add_later(Key(Kind.JOB_TYPE, name), CONFLICT_SECONDS)

    async def probe(self, name: str) -> None:
        """Let whoever may try next be looked at; once the job type is not held any more, all for
        whom there are slots."""
        cache = self._cache
        queue = self._queue
        hold = cache.scheduler.holds.of(name)
        if (
            hold
            and hold.due <= self._clock()
            and not cache.scheduler.queue_of(name)
            and not cache.ledger.awaits_answer(hold.prober)
        ):
            cache.scheduler.holds.lift(name)  # nobody is left to try
        if cache.scheduler.holds.of(name) is None:
            cache.scheduler.offer(name)
            queue.add_later(Key(Kind.JOB_TYPE, name), READY_PAUSE_SECONDS)
        elif uid := cache.scheduler.next_to_try(name):
            queue.add(run_key(uid))
        seconds = cache.scheduler.holds.next_due(name, self._clock())
        if seconds is not None:
            queue.add_later(Key(Kind.PROBE, name), seconds)


def _conditions(status: JobTypeStatus) -> list[tuple[str, str, str, str]]:
    return [(c.type, c.status, c.reason, c.message) for c in status.conditions]
