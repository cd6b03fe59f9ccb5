"""A run whose provider wants to be asked again later says so, in its row and in the console."""

import time
from datetime import UTC, datetime, timedelta

import httpx
from lab import PATIENCE, Lab
from rest_facade import Facade

SECONDS = 8
SENTENCE = "Waiting for the provider until"


def test_row_and_console_say_until_when_a_run_waits(lab: Lab, facade: Facade) -> None:
    run = lab.run(lab.job_type(), f"429-wait-{SECONDS}")
    run_id = run["metadata"]["uid"]
    deadline = time.monotonic() + PATIENCE
    row = facade.row(run)
    while row.get("waiting_until") is None or row["status"] != "running":  # both come by themselves
        assert time.monotonic() < deadline, row
        time.sleep(0.1)
        row = facade.row(run)
    until = row["waiting_until"]
    with httpx.Client(base_url=facade.url, timeout=90, follow_redirects=True) as visitor:
        visitor.post("/console/login", data={"token": lab.env["CODEX_CONTROL_TOKEN"]})
        page = visitor.get(f"/console/runs/{run_id}").text
    moment = datetime.fromisoformat(until)
    created = datetime.fromisoformat(run["metadata"]["creationTimestamp"])
    assert created < moment <= datetime.now(UTC) + timedelta(seconds=SECONDS)
    assert SENTENCE in page

    row = facade.until(run, "succeeded", "failed")
    assert (row["status"], row.get("waiting_until")) == ("succeeded", None), row
    ended = datetime.fromisoformat(row["finished_at"])
    assert ended >= moment.replace(microsecond=0), "it was not asked again before"
    with httpx.Client(base_url=facade.url, timeout=90, follow_redirects=True) as visitor:
        visitor.post("/console/login", data={"token": lab.env["CODEX_CONTROL_TOKEN"]})
        assert SENTENCE not in visitor.get(f"/console/runs/{run_id}").text
