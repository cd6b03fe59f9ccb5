"""The operator's process: wait for the lease, learn the cluster's state, then reconcile until the
lease or the process ends."""

import asyncio
import gc
import logging
import signal
import sys
import time
from functools import partial
from importlib.metadata import version

import kopf
from prometheus_client import REGISTRY

from codexrun_core import deep_json
from codexrun_core.kube.client import Kube, connect
from codexrun_core.kube.watch import Watcher
from codexrun_core.logs import fields, log_to_stderr
from codexrun_core.prices.file import PriceFile
from codexrun_core.prices.table import PricesError
from codexrun_core.runs.label_keys import PROMPT_LABEL, RUN_UID_LABEL
from codexrun_operator import health, metrics
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.leader import Leases
from codexrun_operator.settings import Settings, SettingsError, settings_from
from codexrun_operator.watch import kopf_informer
from codexrun_operator.watch.resync import Resync

log = logging.getLogger(__name__)

WORKERS = 16
# A full collection looks at every run, and nothing else goes on meanwhile: 0.3 s with 10,000 of
# them. With Python's thresholds there is one at each 400 runs or so that come or change. Only
# what refers to itself waits for a collection, which is little.
GC_THRESHOLDS = (10_000, 10, 50)
SETTLE_SECONDS = 2.0  # seconds; a write of a predecessor that was killed may still be on its way


class Operator:
    def __init__(self, settings: Settings, kube: Kube, leases: Leases, stop: asyncio.Event) -> None:
        self.settings = settings
        self.leases = leases
        self.stop = stop
        self.reconciler = Reconciler(kube, settings.pods, workers=WORKERS)
        cache = self.reconciler.cache
        queue = self.reconciler.queue
        self.resync = Resync(kube, cache, queue)
        self.watchers = [
            Watcher(
                kube,
                path,
                update,
                on_list=replace,
                restarted=metrics.WATCH_RESTARTS.labels(resource).inc,
                labelSelector=selector,
            )
            for resource, path, selector, update, replace in (
                (
                    "configmaps",
                    kube.config_maps,
                    PROMPT_LABEL,
                    cache.update_prompt,
                    cache.replace_prompts,
                ),
                ("jobs", kube.jobs, RUN_UID_LABEL, cache.update_job, cache.replace_jobs),
                ("pods", kube.pods, RUN_UID_LABEL, cache.update_pod, cache.replace_pods),
            )
        ]
        self.events = Watcher(
            kube,
            kube.events,
            cache.update_warning,
            on_list=cache.warnings.replace,
            restarted=metrics.WATCH_RESTARTS.labels("events").inc,
            bookmarks=False,
            fieldSelector="type=Warning",
        )
        self.working = False

    async def work(self) -> None:
        """Do a leader's work: learn the cluster's state, then reconcile."""
        log.info("lease.taken", extra=fields(identity=self.settings.pod_name))
        await asyncio.sleep(SETTLE_SECONDS)
        async with asyncio.TaskGroup() as tasks:
            resync = tasks.create_task(self.resync.run())
            # The runs first: of one that is over a Job or pod that has ended, which stay for a day,
            # is then not kept.
            await self.resync.synced.wait()
            for watcher in (*self.watchers, self.events):
                tasks.create_task(watcher.run())
            # Nothing is decided before each of the five kinds was listed: an empty cache is not an
            # empty cluster.
            for watcher in self.watchers:
                await watcher.synced.wait()
            tasks.create_task(self.reconciler.queue.run())
            tasks.create_task(self._inform())
            self.working = True
            await resync

    async def _inform(self) -> None:
        await kopf.operator(
            registry=kopf_informer.registry(self.reconciler.cache, self.resync.kopf_reported),
            settings=kopf_informer.settings(),
            namespaces=[self.settings.namespace],
            standalone=True,
        )
        # It has put its own handler of SIGTERM over ours: its end is the signal.
        self.stop.set()

    def checks(self) -> dict[str, health.Check]:
        """Return the checks of /healthz, by name."""

        def leading(check: health.Check) -> health.Check:
            return lambda: check() if self.working else None

        checks = {
            "election": health.older_than(
                health.STUCK_SECONDS, lambda: self.leases.turned, "lease election"
            ),
            "resync": leading(
                health.older_than(2 * health.STUCK_SECONDS, lambda: self.resync.turned, "resync")
            ),
            "kopf": leading(
                lambda: (
                    "kopf reported nothing about existing runs" if self.resync.missed >= 2 else None
                )
            ),
            "workers": leading(
                lambda: (
                    "no worker has taken the oldest object from the queue"
                    if self.reconciler.queue.oldest_wait > health.STUCK_SECONDS
                    else None
                )
            ),
        }
        watchers = (*self.watchers, self.events)
        for watcher, name in zip(watchers, ("prompts", "jobs", "pods", "events"), strict=True):
            checks[f"watch-{name}"] = leading(
                health.older_than(
                    2 * health.STUCK_SECONDS,
                    partial(getattr, watcher, "turned"),
                    f"watch of {name}",
                )
            )
        return checks

    def refresh_gauges(self) -> None:
        cache = self.reconciler.cache
        metrics.LEADER.set(self.leases.held)
        metrics.DEPTH.set(self.reconciler.queue.depth)
        metrics.SLOTS.clear()  # those of a deleted job type would stay as they were
        metrics.HELD.clear()
        for name in cache.job_types:
            metrics.SLOTS.labels(name).set(cache.ledger.taken(name))
            metrics.HELD.labels(name).set(cache.scheduler.holds.of(name) is not None)


async def run(settings: Settings) -> int:
    """Run until SIGTERM (0) or the loss of the lease (1)."""
    api = await connect()
    leases = Leases(settings.lease, settings.namespace, settings.pod_name, api)
    kube = Kube(api, settings.namespace, leases.may_write, answered=metrics.request_answered)
    stop = asyncio.Event()
    operator = Operator(settings, kube, leases, stop)
    REGISTRY.register(operator.reconciler.run_metrics)
    started = time.monotonic()
    identity = fields(
        version=version("codexrun"), identity=settings.pod_name, namespace=settings.namespace
    )
    log.info("operator.started", extra=identity)
    server = await health.serve(
        settings.port, operator.checks(), lambda: None, operator.refresh_gauges
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    leading = asyncio.create_task(leases.lead(operator.work))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((leading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        leading.result()
        return 1
    finally:
        leading.cancel()
        await asyncio.wait((leading,))
        await leases.release()
        await server.cleanup()
        await api.close()  # type: ignore[no-untyped-call]
        log.info("operator.stopped", extra=fields(seconds=round(time.monotonic() - started)))


def main() -> int:
    log_to_stderr("INFO", metrics.log_line)
    deep_json.install()  # for kopf
    try:
        settings = settings_from()
        PriceFile(settings.pods.prices_file)
    except (SettingsError, PricesError) as error:
        log.error("operator.misconfigured", extra=fields(error=str(error)))
        return 2
    logging.getLogger().setLevel(settings.log_level)
    gc.freeze()  # what is imported stays: no collection need look at it
    gc.set_threshold(*GC_THRESHOLDS)
    return asyncio.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
