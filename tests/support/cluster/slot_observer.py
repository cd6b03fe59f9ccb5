"""Count from outside how many slots of a job type are taken."""

import threading
from collections.abc import Iterator

import urllib3
from kubernetes import client, watch
from lab import Json, Lab


class SlotObserver:
    """An observer that replays every Job and pod event and counts the Jobs whose pods are not
    gone. `most` is the largest count since the start, or since `count_anew`."""

    def __init__(self, lab: Lab, job_type: str) -> None:
        self.lab = lab
        self.selector = f"codexrun.dev/job-type={job_type}"
        self.lock = threading.Lock()
        self.live_jobs: set[str] = set()
        self.live_pods: set[str] = set()
        self.jobs_of: dict[str, set[str]] = {}
        self.most = 0
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
        with self.lock:
            return len(self.live_jobs | self.live_pods)

    def count_anew(self) -> None:
        with self.lock:
            self.most = len(self.live_jobs | self.live_pods)

    def _follow(self, function: object) -> Iterator[Json]:
        while not self.stopped.is_set():
            try:
                yield from watch.Watch().stream(
                    function, self.lab.namespace, label_selector=self.selector, timeout_seconds=30
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
                self._count(self.live_jobs, uid, over)

    def _pods(self) -> None:
        for event in self._follow(self.lab.core.list_namespaced_pod):
            pod = event["object"]
            over = event["type"] == "DELETED" or pod.status.phase in ("Succeeded", "Failed")
            with self.lock:
                self._count(self.live_pods, pod.metadata.labels["codexrun.dev/run-uid"], over)

    def _count(self, live: set[str], uid: str, over: bool) -> None:
        if over:
            live.discard(uid)
        else:
            live.add(uid)
        self.most = max(self.most, len(self.live_jobs | self.live_pods))
