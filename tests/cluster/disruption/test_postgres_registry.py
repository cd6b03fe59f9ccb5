"""Postgres as the registry: the same flow, rows where they should be, and a minute without it under
load."""

import queue
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from lab import PATIENCE, Json, Lab
from postgres import Postgres
from rest_facade import Facade

SECRET = "registry-of-tests"
PAUSE = 1.5  # seconds between two starts
STARTS_OF_A_MINUTE = 40


@pytest.fixture(scope="module")
def postgres(lab: Lab, facade: Facade) -> Iterator[Postgres]:
    """The release uses it while these tests run."""
    # Pytest's own folders are closed to the user that Postgres runs as.
    folder = Path(tempfile.mkdtemp(prefix="codexrun-"))
    (node,) = lab.core.list_node().items
    (address,) = [a.address for a in node.status.addresses if a.type == "InternalIP"]
    server = Postgres(folder, address)
    try:
        lab.kubectl("create", "secret", "generic", SECRET, f"--from-literal=url={server.url}")
        with lab.chart_with(f"registry.existingSecret={SECRET}"):
            facade.get("/readyz")
            yield server
        facade.get("/readyz")
    finally:
        lab.kubectl("delete", "secret", SECRET, "--ignore-not-found")
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=4)


def test_start_cancel_retry_and_rows(
    lab: Lab, facade: Facade, postgres: Postgres, job_type: str
) -> None:
    started = facade.start(job_type, "sleep-100")
    assert started.status_code == 202, started.text
    run_id = started.json()["run_id"]
    facade.until(run_id, "running")
    facade.http.post(f"/runs/{run_id}/cancel", json={}).raise_for_status()
    cancelled = facade.until(run_id, "cancelled", log_closed=True)
    retried = facade.http.post(
        f"/runs/{run_id}/retry", params={"wait": 60}, json={"inputs": {"scenario": "message"}}
    ).json()
    facade.until(retried["run_id"], "succeeded", log_closed=True)
    with psycopg.connect(postgres.url) as connection:
        rows = dict(
            connection.execute(
                "SELECT run_id, status FROM runs WHERE job_type = %s", [job_type]
            ).fetchall()
        )
        events = connection.execute(
            "SELECT status FROM run_events WHERE run_id = %s ORDER BY seq", [run_id]
        ).fetchall()
    assert rows == {run_id: "cancelled", retried["run_id"]: "succeeded"}
    assert [status for (status,) in events][-2:] == ["stopping", "cancelled"]
    assert cancelled["log_complete"] is True


def test_a_minute_without_it_loses_nothing(
    lab: Lab, facade: Facade, postgres: Postgres, job_type: str
) -> None:
    """Starts are accepted all the same: the custom resource is the truth, and the rows are written
    later."""
    started: list[Json] = []
    accepted: queue.Queue[Json] = queue.Queue()
    over = threading.Event()

    def keep_starting() -> None:
        while not over.wait(PAUSE):
            answer = facade.start(job_type, "message", when_full="Queue")
            assert answer.status_code == 202, answer.text
            started.append(answer.json())
            accepted.put(answer.json())

    load = threading.Thread(target=keep_starting)
    load.start()
    try:
        for _ in range(3):
            accepted.get(timeout=PATIENCE)
        postgres.stop()
        # the first may have been before
        during = [accepted.get(timeout=PATIENCE) for _ in range(STARTS_OF_A_MINUTE)][1:]
        ended = [lab.ended({"metadata": {"name": run["name"]}}) for run in during[:3]]
        shown = facade.http.get(f"/runs/{during[0]['run_id']}")
        listed = facade.http.get("/runs")
        postgres.start()
    finally:
        over.set()
        load.join(60)
    assert [run["status"]["phase"] for run in ended] == ["Succeeded"] * 3
    assert (shown.status_code, shown.json()["status"]) == (200, "succeeded"), (
        "as the cluster has it"
    )
    assert (listed.status_code, listed.headers["content-type"]) == (503, "application/problem+json")
    assert int(listed.headers["retry-after"]) > 0
    for run in started:
        truth = lab.ended({"metadata": {"name": run["name"]}})["status"]
        row = facade.until(run["run_id"], "succeeded", log_closed=True)
        assert (row["cost_tokens"], row["log_complete"]) == (truth["usage"]["totalTokens"], True)
    with psycopg.connect(postgres.url) as connection:
        rows = connection.execute(
            "SELECT run_id FROM runs WHERE job_type = %s", [job_type]
        ).fetchall()
    assert {run_id for (run_id,) in rows} >= {run["run_id"] for run in started}


def test_the_api_comes_back_before_its_registry_does(
    lab: Lab, facade: Facade, postgres: Postgres, job_type: str
) -> None:
    """As when a node is drained while the database fails over: it is ready, takes starts, shows
    what is in the cluster, and writes the rows when the registry answers."""
    ended = facade.start(job_type, "message", when_full="Queue").json()
    facade.until(ended["run_id"], "succeeded", log_closed=True)
    try:
        with facade.away():
            postgres.stop()
        started = facade.start(job_type, "message", when_full="Queue")
        assert started.status_code == 202, started.text
        lab.ended({"metadata": {"name": started.json()["name"]}})
        shown = facade.http.get(f"/runs/{ended['run_id']}")
        listed = facade.http.get("/runs")
    finally:
        postgres.start()
    assert (shown.status_code, shown.json()["status"]) == (200, "succeeded")
    assert (listed.status_code, listed.headers["content-type"]) == (503, "application/problem+json")
    facade.until(started.json()["run_id"], "succeeded", log_closed=True)
