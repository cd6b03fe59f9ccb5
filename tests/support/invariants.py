"""What holds at every change of a small apiserver, whatever the operator has to go through."""

from collections import Counter
from typing import Any

from httpapiserver import HttpApiserver

Json = dict[str, Any]
TERMINAL = ("Succeeded", "Failed", "Cancelled", "Rejected")
ENDED = ("Succeeded", "Failed")


class Invariants:
    """Looks at each change at its very moment; `broken` has what was wrong, in words."""

    def __init__(self, apiserver: HttpApiserver) -> None:
        self.broken: list[str] = []
        self._objects = apiserver.objects
        self._jobs_made: Counter[str] = Counter()  # by run uid
        apiserver.on_change.append(self._look)

    def _look(self, plural: str, before: Json | None, after: Json | None) -> None:
        if plural == "codexruns":
            self._run_changed(before, after)
        elif plural == "jobs" and before is None and after is not None:
            self._job_made(after)

    def _run_changed(self, before: Json | None, after: Json | None) -> None:
        if after is None:
            return
        name = after["metadata"]["name"]
        phase = after["status"]["phase"]
        if before is not None and before["status"]["phase"] in TERMINAL:
            if after["status"] != before["status"]:
                self.broken.append(f"{name} changed after its end: {before['status']} {phase}")
        elif phase in TERMINAL and (live := self.live_pods(after["metadata"]["uid"])):
            self.broken.append(f"{name} is {phase}, and its pod lives: {live}")

    def _job_made(self, job: Json) -> None:
        labels = job["metadata"]["labels"]
        name, uid, job_type = (
            labels[f"codexrun.dev/{key}"] for key in ("run", "run-uid", "job-type")
        )
        self._jobs_made[uid] += 1
        if self._jobs_made[uid] > 1:
            self.broken.append(f"{name} has got a second Job")
        run = self._objects["codexruns"].get(name)
        over = run is None or run["metadata"]["uid"] != uid or run["status"]["phase"] in TERMINAL
        if over:
            self.broken.append(f"a Job was made for {name}, which is over")
        taken = self.slots_taken(job_type)
        limit = self._objects["codexjobtypes"][job_type]["spec"]["concurrencyLimit"]
        if len(taken) > limit:
            self.broken.append(f"{job_type} has {limit} slots, and {sorted(taken)} have one")

    def slots_taken(self, job_type: str) -> set[str]:
        """Return the names of the runs whose Job or pod is not over."""
        taken = set()
        for plural in ("jobs", "pods"):
            for item in self._objects[plural].values():
                labels = item["metadata"]["labels"]
                if labels["codexrun.dev/job-type"] == job_type and not _over(plural, item):
                    taken.add(labels["codexrun.dev/run"])
        return taken

    def live_pods(self, uid: str) -> list[str]:
        """Return the names of a run's pods whose containers may run."""
        return [
            pod["metadata"]["name"]
            for pod in self._objects["pods"].values()
            if pod["metadata"]["labels"]["codexrun.dev/run-uid"] == uid and not _over("pods", pod)
        ]


def _over(plural: str, item: Json) -> bool:
    status = item.get("status") or {}
    if plural == "pods":
        return status.get("phase") in ENDED
    conditions = {condition["type"] for condition in status.get("conditions", ())}
    return bool(conditions & {"Complete", "Failed", "Suspended"})
