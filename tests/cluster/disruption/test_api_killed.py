"""The api killed without warning, twenty times, while fifty runs go through it and their logs are
followed."""

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lab import Json, Lab
from rest_facade import AWAY, Facade, Following

RUNS_THROUGH = 50
KILLS = 20
LIVES = 4.0  # seconds; a gate tries again every two, and has twenty for the last of its log


class Killer(threading.Thread):
    """kill -9 soon after it answers; a new pod at once, since the kubelet would make a crashing
    container wait."""

    def __init__(self, lab: Lab, facade: Facade) -> None:
        super().__init__(daemon=True)
        self.lab = lab
        self.facade = facade
        self.kills = 0

    def run(self) -> None:
        while self.kills < KILLS:
            self.facade.get("/readyz")
            time.sleep(random.uniform(LIVES, LIVES + 1))
            for pid in self.lab.api_processes():
                os.kill(pid, signal.SIGKILL)
            self.kills += 1
            self.lab.kubectl(
                "delete",
                "pod",
                "-l",
                "app.kubernetes.io/component=api",
                "--force",
                "--grace-period=0",
                check=False,
            )


def start(facade: Facade, job_type: str, scenario: str, key: str, **more: object) -> Json:
    """Called again with its key until it is answered."""
    while True:
        try:
            answer = facade.http.post(
                "/runs/start",
                json={"job_type": job_type, "inputs": {"scenario": scenario}, **more},
                headers={"Idempotency-Key": f'"{key}"'},
                timeout=15,
            )
        except AWAY:
            time.sleep(0.5)
            continue
        if answer.status_code in (202, 429):
            return answer.json() if answer.status_code == 202 else {}
        assert answer.status_code == 503, answer.text
        time.sleep(0.1)


def test_nothing_is_lost_doubled_or_left_over(lab: Lab, facade: Facade) -> None:
    busy = lab.job_type(concurrencyLimit=4)
    full = lab.job_type(concurrencyLimit=1, limits={"timeoutSeconds": 1200})
    blocker = lab.phase(lab.run(full, "sleep-600"), "Running")
    killer = Killer(lab, facade)
    killer.start()
    keys = [lab.name("key") for _ in range(RUNS_THROUGH)]
    with ThreadPoolExecutor(10) as pool:
        started = list(
            pool.map(lambda key: start(facade, busy, "several-turns", key, when_full="Queue"), keys)
        )
        followers = [Following(facade, run["run_id"]) for run in started[::5]]
        refused = list(
            pool.map(
                lambda key: start(facade, full, "message", f"{key}-full", when_full="Reject"),
                keys[:10],
            )
        )
        again = list(
            pool.map(lambda key: start(facade, busy, "several-turns", key, when_full="Queue"), keys)
        )
    assert [run["run_id"] for run in again] == [run["run_id"] for run in started]
    objects: dict[str, Json] = {}
    for run in started:
        objects[run["run_id"]] = lab.ended({"metadata": {"name": run["name"]}}, patience=600)
    killer.join(600)
    assert killer.kills == KILLS
    facade.get("/readyz")

    # No second run for a key.
    assert {run["metadata"]["uid"] for run in of_type(lab, busy)} == set(objects)
    for uid, run in objects.items():
        row = facade.until(uid, run["status"]["phase"].lower(), log_closed=True)
        usage = run["status"]["usage"]
        assert (row["status"], row["cost_tokens"]) == ("succeeded", usage["totalTokens"])
        assert row["usage"]["cost_micro_usd"] == usage["costMicroUSD"]
        printed = lab.core.read_namespaced_pod_log(
            lab.pod(run).metadata.name, lab.namespace, container="agent", _preload_content=False
        ).data
        assert facade.log(uid) == printed
        assert row["log_complete"] is True
    for run, follower in zip(started[::5], followers, strict=True):
        assert follower.text() == facade.log(run["run_id"])
    assert max(follower.connections for follower in followers) > 1

    assert refused == [{}] * 10
    assert [run["metadata"]["uid"] for run in of_type(lab, full)] == [blocker["metadata"]["uid"]]
    lab.cancel(blocker)
    listed = facade.get("/runs", params={"job_type": f"{busy},{full}", "page_size": 200}).json()[
        "runs"
    ]
    assert {row["run_id"] for row in listed} == {*objects, blocker["metadata"]["uid"]}


def of_type(lab: Lab, job_type: str) -> list[Json]:
    listed = lab.custom.list_namespaced_custom_object(
        *lab.run_kind, field_selector=f"spec.jobType={job_type}"
    )
    return list(listed["items"])
