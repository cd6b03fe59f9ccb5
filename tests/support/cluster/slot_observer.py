"""Count from outside how many slots of a job type are taken."""

import threading
from collections.abc import Iterator
from typing import NamedTuple

import urllib3
from kubernetes import client, watch
from lab import Json, Lab


class Sight(NamedTuple):
    """What one event tells of a run. version: the object's resourceVersion, which one etcd counts
    for all kinds together: it orders what two watches tell at different speeds."""

    version: int
    kind: str
    run: str
    over: bool


class SlotObserver:
    """An observer of every Job and pod event. A run holds a slot while its Job is not finished or
    its pod has not ended."""

    def __init__(self, lab: Lab, job_type: str) -> None:
        self.lab = lab
        self.selector = f"codexrun.dev/job-type={job_type}"
        self.lock = threading.Lock()
        self.sights: set[Sight] = set()
        self.jobs_of: dict[str, set[str]] = {}
        self.since = 0
        self.stopped = threading.Event()
        self.threads = [
            threading.Thread(target=self._jobs, daemon=True),
            threading.Thread(target=self._pods, daemon=True),
        ]

    def __enter__(self) -> "SlotObserver":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()

    @property
    def taken(self) -> int:
        """Return how many slots are taken now."""
        return self._counts()[-1][1]

    @property
    def most(self) -> int:
        """Return how many slots were taken at the most, since the start or since `count_anew`, as
        far as both watches have told: the end of a pod may be told after the next run's Job."""
        counts = self._counts()
        with self.lock:
            told = min(self._newest("job"), self._newest("pod"))
        before = [count for version, count in counts if version <= self.since]
        after = [count for version, count in counts if self.since < version <= told]
        return max([before[-1], *after])

    def count_anew(self) -> None:
        self.since = self._counts()[-1][0]

    def _newest(self, kind: str) -> int:
        return max((sight.version for sight in self.sights if sight.kind == kind), default=0)

    def _counts(self) -> list[tuple[int, int]]:
        """Return how many slots were taken from each version on."""
        with self.lock:
            sights = sorted(self.sights)
        live: set[tuple[str, str]] = set()
        counts = [(0, 0)]
        for version, kind, run, over in sights:
            if over:
                live.discard((kind, run))
            else:
                live.add((kind, run))
            counts.append((version, len({run for _, run in live})))
        return counts

    def _follow(self, function: object) -> Iterator[Json]:
        while not self.stopped.is_set():
            try:
                yield from watch.Watch().stream(
                    function,
                    self.lab.namespace,
                    label_selector=self.selector,
                    timeout_seconds=30,
                )
            except (client.ApiException, urllib3.exceptions.HTTPError):
                self.stopped.wait(0.5)  # the apiserver is away

    def _jobs(self) -> None:
        for event in self._follow(self.lab.batch.list_namespaced_job):
            job = event["object"]
            uid = job.metadata.labels["codexrun.dev/run-uid"]
            over = event["type"] == "DELETED" or any(
                c.type in ("Complete", "Failed") and c.status == "True"
                for c in job.status.conditions or []
            )
            with self.lock:
                self.jobs_of.setdefault(uid, set()).add(job.metadata.uid)
                self.sights.add(Sight(int(job.metadata.resource_version), "job", uid, over))

    def _pods(self) -> None:
        for event in self._follow(self.lab.core.list_namespaced_pod):
            pod = event["object"]
            uid = pod.metadata.labels["codexrun.dev/run-uid"]
            over = event["type"] == "DELETED" or pod.status.phase in ("Succeeded", "Failed")
            with self.lock:
                self.sights.add(Sight(int(pod.metadata.resource_version), "pod", uid, over))
