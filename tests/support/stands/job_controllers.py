"""What the rest of a cluster does for the Jobs of codexrun, over a small apiserver: the Job
controller, the kubelet, the garbage collector."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from builders import agent_report, gate_report, signalled, stamp
from httpapiserver import HttpApiserver

from codexrun_operator.decide.observed import STOP_DEADLINE_SECONDS

Json = dict[str, Any]
ENDED = ("Succeeded", "Failed")
RAN = ("Running", "Stopping", "Succeeded", "Failed", "Cancelled")


def pod_of(job: Json) -> Json:
    """Return the pod of a Job, on a node; its agent runs."""
    name = job["metadata"]["name"]
    owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    running = {"running": {"startedAt": stamp(datetime.now(UTC))}}
    metadata = {
        "name": f"{name}-abcde",
        "labels": job["metadata"]["labels"],
        "ownerReferences": [owner],
    }
    status = {
        "phase": "Running",
        "containerStatuses": [{"name": "agent", "state": running}],
        "initContainerStatuses": [{"name": "gate", "state": running}],
    }
    return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}


def with_end(pod: Json, report: Json) -> Json:
    """Return the pod, whose agent has ended with this report, and whose gate has told what was
    used."""
    now = stamp(datetime.now(UTC))
    code = report["exitCode"]

    def ended(name: str, message: Json, exit_code: int) -> Json:
        state = {
            "exitCode": exit_code,
            "message": json.dumps(message),
            "startedAt": now,
            "finishedAt": now,
        }
        return {"name": name, "state": {"terminated": state}}

    status = {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [ended("agent", report, code)],
        "initContainerStatuses": [ended("gate", gate_report(), 0)],
    }
    return {**pod, "status": status}


def past_deadline(pod: Json) -> Json:
    """Return a pod that has ended, as its kubelet shows it after a deadline, however it ended."""
    return {**pod, "status": {**pod["status"], "phase": "Failed", "reason": "DeadlineExceeded"}}


class JobControllers:
    """`run` them beside a test. `report_of(run name)` is how the agent of a run ends by itself, or
    None where it goes on until it is stopped.

    An agent ends when the run's status says that it runs, or with `agent_seconds` after that time,
    whatever the operator knows.
    """

    def __init__(
        self,
        apiserver: HttpApiserver,
        report_of: Callable[[str], Json | None],
        *,
        agent_seconds: float | None = None,
    ) -> None:
        self._apiserver = apiserver
        self._report_of = report_of
        self._agent_seconds = agent_seconds

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            version = -1
            while version != self._apiserver.version:
                version = self._apiserver.version
                for name in list(self._apiserver.objects["jobs"]):
                    self._job(name)
                for name in list(self._apiserver.objects["pods"]):
                    self._pod(name)
            await self._apiserver.changed()

    # -- inside ----------------------------------------------------------------------------------

    def _job(self, name: str) -> None:
        job = self._apiserver.objects["jobs"][name]
        run = self._run_of(job)
        if run is None:
            self._apiserver.remove("jobs", name)
            return
        status = job.get("status") or {}
        conditions = {condition["type"] for condition in status.get("conditions", ())}
        if conditions & {"Complete", "Failed"}:
            return
        pods = [pod for pod in self._apiserver.objects["pods"].values() if _owner(pod) == _uid(job)]
        live = [pod for pod in pods if pod["status"]["phase"] not in ENDED]
        if job["spec"].get("suspend"):
            for pod in live:
                self._apiserver.mark_deleted("pods", pod["metadata"]["name"])
            if not live and "Suspended" not in conditions:
                self._set_job(job, active=0, terminating=0, conditions=[_true("Suspended")])
        elif live:
            if not status.get("active"):
                self._set_job(job, active=1)
        elif pods or status.get("active"):
            well = any(pod["status"]["phase"] == "Succeeded" for pod in pods)
            self._set_job(job, active=0, conditions=[_true("Complete" if well else "Failed")])
        elif self._agent_seconds is not None or run["status"]["phase"] not in ("Pending", "Queued"):
            pod = self._apiserver.put("pods", pod_of(job))
            if self._agent_seconds is not None:
                asyncio.get_running_loop().call_later(
                    self._agent_seconds, self._end, pod["metadata"]["name"]
                )

    def _pod(self, name: str) -> None:
        pod = self._apiserver.objects["pods"][name]
        ended = pod["status"]["phase"] in ENDED
        jobs = {_uid(job) for job in self._apiserver.objects["jobs"].values()}
        run = self._run_of(pod)
        if pod["metadata"].get("deletionTimestamp"):
            if not ended:
                self._apiserver.put("pods", with_end(pod, signalled()))
            elif not pod["metadata"].get("finalizers"):
                self._apiserver.remove("pods", name)
        elif _owner(pod) not in jobs:
            self._apiserver.mark_deleted("pods", name)
        elif not ended and pod["spec"].get("activeDeadlineSeconds") == STOP_DEADLINE_SECONDS:
            self._apiserver.put("pods", past_deadline(with_end(pod, signalled())))
        elif (
            not ended
            and run is not None
            and self._agent_seconds is None
            and run["status"]["phase"] in RAN
        ):
            self._end(name)

    def _end(self, name: str) -> None:
        """Let the agent end by itself, if it does."""
        pod = self._apiserver.objects["pods"].get(name)
        if pod is None or pod["status"]["phase"] in ENDED:
            return
        report = self._report_of(pod["metadata"]["labels"]["codexrun.dev/run"])
        if report is not None:
            self._apiserver.put("pods", with_end(pod, report))

    def _run_of(self, item: Json) -> Json | None:
        labels = item["metadata"]["labels"]
        run = self._apiserver.objects["codexruns"].get(labels["codexrun.dev/run"])
        return run if run and _uid(run) == labels["codexrun.dev/run-uid"] else None

    def _set_job(self, job: Json, **status: Any) -> None:
        self._apiserver.put("jobs", {**job, "status": {**(job.get("status") or {}), **status}})


def succeeded() -> Json:
    return agent_report()


def failed() -> Json:
    return agent_report(exitCode=1, turnCompleted=None)


def _uid(item: Json) -> str:
    return str(item["metadata"]["uid"])


def _owner(pod: Json) -> str:
    return str(pod["metadata"]["ownerReferences"][0]["uid"])


def _true(kind: str) -> Json:
    return {"type": kind, "status": "True", "reason": kind}
