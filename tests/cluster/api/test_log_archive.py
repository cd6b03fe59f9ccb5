"""Logs outlive the pod: byte-equal to what the agent's container printed, for every ending, and
honest where they are cut."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest
from archived import assert_whole, in_a_command, running
from lab import NAMESPACE, Json, Lab
from rest_facade import Facade, Following, Printed


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=8)


def nothing(_: Lab, __: Json) -> None:
    """It ends by itself."""


def cancel(lab: Lab, run: Json) -> None:
    lab.cancel(run)


def delete_pod(lab: Lab, run: Json) -> None:
    lab.core.delete_namespaced_pod(lab.pod(run).metadata.name, NAMESPACE)


def evict(lab: Lab, run: Json) -> None:
    name = lab.pod(run).metadata.name
    lab.core.create_namespaced_pod_eviction(
        name, NAMESPACE, {"metadata": {"name": name, "namespace": NAMESPACE}}
    )


ENDINGS = [
    ("sleep-1", {}, nothing, "succeeded"),
    ("big-output-3", {}, nothing, "succeeded"),
    ("no-message", {}, nothing, "failed"),
    ("sleep-100", {"limits": {"timeoutSeconds": 8}}, nothing, "failed"),
    ("sleep-100", {}, cancel, "cancelled"),
    ("sleep-100", {}, delete_pod, "cancelled"),
    ("sleep-100", {}, evict, "failed"),
]
NAMES = ["success", "many lines", "failure", "timeout", "cancel", "pod deleted by hand", "eviction"]


@pytest.mark.parametrize(("scenario", "spec", "act", "status"), ENDINGS, ids=NAMES)
def test_the_archive_has_every_byte(
    lab: Lab,
    facade: Facade,
    job_type: str,
    scenario: str,
    spec: Json,
    act: Callable[[Lab, Json], None],
    status: str,
) -> None:
    run, printed = running(lab, job_type, scenario, **spec)
    if act is not nothing:
        in_a_command(facade, run)
        act(lab, run)
    lab.ended(run)
    assert_whole(facade, run, status, printed.all())


def test_one_url_before_during_and_after(lab: Lab, facade: Facade) -> None:
    job_type = lab.job_type(suspended=True)
    run = lab.phase(lab.run(job_type, "sleep-3"), "Queued")
    facade.until(run, "queued")
    assert facade.log(run) == b""
    follower = Following(facade, run["metadata"]["uid"])
    lab.kubectl("patch", "cjt", job_type, "--type=merge", "-p", '{"spec": {"suspended": false}}')
    lab.phase(run, "Running")
    printed = Printed(lab, run)
    in_a_command(facade, run)
    row = facade.row(run)
    assert row["status"] == "running"
    lab.ended(run)
    facade.until(run, "succeeded", log_closed=True)
    lab.kubectl("delete", "cxr", run["metadata"]["name"])
    lab.until_gone(run)
    after = facade.log(run)
    assert after == printed.all() == follower.text()
    assert json.loads(follower.end or "")["complete"] is True
    path = f"/runs/{run['metadata']['uid']}/logs"
    assert facade.get(path, params={"tail": 1}).content == after.splitlines(keepends=True)[-1]
    part = facade.get(path, headers={"Range": "bytes=10-29"})
    assert (part.status_code, part.content) == (206, after[10:30])


def test_a_running_run_shows_what_it_has_spent(lab: Lab, facade: Facade, job_type: str) -> None:
    run, _ = running(lab, job_type, "sleep-100")
    in_a_command(facade, run)
    while (
        facade.row(run)["cost_tokens"] == 0
    ):  # the command began behind the first response: it is on its way
        time.sleep(0.1)
    row = facade.row(run)
    assert row["status"] == "running"
    assert row["usage"]["cost_micro_usd"] > 0
    lab.cancel(run)
    status = lab.ended(run)["status"]
    assert facade.until(run, "cancelled")["cost_tokens"] == status["usage"]["totalTokens"]


def test_artifacts_outlive_the_run(lab: Lab, facade: Facade, job_type: str) -> None:
    run = lab.ended(lab.run(job_type, "message"))
    row = facade.until(run, "succeeded", log_closed=True)
    lab.kubectl("delete", "cxr", run["metadata"]["name"])
    listed = {a["name"]: a for a in facade.get(row["links"]["artifacts"]).json()["artifacts"]}
    assert set(listed) == {"final-message.md", "rollout.jsonl"}
    assert facade.get(listed["final-message.md"]["url"]).text == "This is the demo model."
    rollout = facade.get(listed["rollout.jsonl"]["url"]).text.splitlines()
    assert json.loads(rollout[0])["payload"]["id"] == run["status"]["threadId"]


def test_a_retry_needs_no_object_and_resume_pays_the_prompt_once(
    lab: Lab, facade: Facade, job_type: str
) -> None:
    run, _ = running(lab, job_type, "sleep-15")
    in_a_command(facade, run)
    lab.cancel(run)
    lab.ended(run)
    first = facade.until(run, "cancelled", log_closed=True)
    lab.kubectl("delete", "cxr", run["metadata"]["name"])
    facade.get(f"/runs/{first['run_id']}/artifacts/rollout.jsonl").raise_for_status()
    answer = facade.http.post(
        f"/runs/{first['run_id']}/retry", params={"wait": 90}, json={"resume": True}
    )
    assert answer.status_code == 200, answer.text
    second = answer.json()
    assert (second["retry_of"], second["thread_id"]) == (first["run_id"], first["thread_id"])
    assert second["status"] == "succeeded", second
    log = [json.loads(line) for line in facade.log(second["run_id"]).splitlines()]
    (starting,) = [line for line in log if line.get("text") == "codex.starting"]
    assert starting["resumed_thread"] == first["thread_id"]
    (turn,) = [
        line["event"]["usage"]
        for line in log
        if line.get("event", {}).get("type") == "turn.completed"
    ]
    # Codex's own sum goes on from the earlier run's; the account is this run's alone.
    assert second["usage"]["requests"] >= 1
    assert second["usage"]["total_tokens"] <= turn["input_tokens"] + turn["output_tokens"]
    assert facade.row(first["run_id"])["usage"] == first["usage"]


def test_a_killed_gate_ships_on(lab: Lab, facade: Facade, job_type: str) -> None:
    run, printed = running(lab, job_type, "sleep-12")
    in_a_command(facade, run)
    (gate,) = lab.gates(run)
    os.kill(gate, signal.SIGKILL)
    lab.ended(run)
    assert_whole(facade, run, "succeeded", printed.all())
