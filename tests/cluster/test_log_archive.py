"""Logs outlive the pod: byte-equal to what the agent's container printed, for every ending, and honest where they are cut."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from facade import Facade, Following, Printed
from lab import NAMESPACE, Json, Lab, processes


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=8)


def running(lab: Lab, job_type: str, scenario: str, **spec: object) -> tuple[Json, Printed]:
    """A run in the middle of its first command, and a reader of its pod's log."""
    run = lab.phase(lab.run(job_type, scenario, **spec), "Running")
    return run, Printed(lab, run)


def in_a_command(facade: Facade, run: Json) -> None:
    """Seen through the archive, while the pod lives."""
    while b'"command_execution"' not in facade.log(run):
        time.sleep(0.1)


def assert_whole(facade: Facade, run: Json, status: str, printed: bytes) -> None:
    row = facade.until(run, status, log_closed=True)
    assert facade.log(run) == printed
    assert (row["log_complete"], row["log_bytes"], row.get("log_note")) == (True, len(printed), None)
    assert row["log_path"] == f"runs/{row['run_id']}/logs.txt"


def gates(lab: Lab, run: Json) -> list[int]:
    """Pids of the run's gate, on this machine."""
    uid = run["metadata"]["uid"].encode()
    return [pid for pid in processes("codexrun_pod.gate") if uid in Path(f"/proc/{pid}/environ").read_bytes()]


def nothing(_: Lab, __: Json) -> None:
    """It ends by itself."""


def cancel(lab: Lab, run: Json) -> None:
    lab.cancel(run)


def delete_pod(lab: Lab, run: Json) -> None:
    lab.core.delete_namespaced_pod(lab.pod(run).metadata.name, NAMESPACE)


def evict(lab: Lab, run: Json) -> None:
    name = lab.pod(run).metadata.name
    lab.core.create_namespaced_pod_eviction(name, NAMESPACE, {"metadata": {"name": name, "namespace": NAMESPACE}})


ENDINGS = [
    ("sleep-1", {}, nothing, "succeeded"),
    ("big-output-3", {}, nothing, "succeeded"),
    ("no-message", {}, nothing, "failed"),
    ("sleep-100", {"limits": {"timeoutSeconds": 4}}, nothing, "failed"),
    ("sleep-100", {}, cancel, "cancelled"),
    ("sleep-100", {}, delete_pod, "cancelled"),
    ("sleep-100", {}, evict, "failed"),
]
NAMES = ["success", "many lines", "failure", "timeout", "cancel", "pod deleted by hand", "eviction"]


@pytest.mark.parametrize(("scenario", "spec", "act", "status"), ENDINGS, ids=NAMES)
def test_the_archive_has_every_byte(
    lab: Lab, facade: Facade, job_type: str, scenario: str, spec: Json, act: Callable[[Lab, Json], None], status: str
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
    while facade.row(run)["cost_tokens"] == 0:  # the command began behind the first response: it is on its way
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


def test_a_retry_needs_no_object_and_resume_pays_the_prompt_once(lab: Lab, facade: Facade, job_type: str) -> None:
    run, _ = running(lab, job_type, "sleep-15")
    in_a_command(facade, run)
    lab.cancel(run)
    lab.ended(run)
    first = facade.until(run, "cancelled", log_closed=True)
    lab.kubectl("delete", "cxr", run["metadata"]["name"])
    facade.get(f"/runs/{first['run_id']}/artifacts/rollout.jsonl").raise_for_status()
    answer = facade.http.post(f"/runs/{first['run_id']}/retry", params={"wait": 90}, json={"resume": True})
    assert answer.status_code == 202, answer.text
    second = answer.json()
    assert (second["retry_of"], second["thread_id"]) == (first["run_id"], first["thread_id"])
    assert second["status"] == "succeeded", second
    log = [json.loads(line) for line in facade.log(second["run_id"]).splitlines()]
    (starting,) = [line for line in log if line.get("text") == "codex.starting"]
    assert starting["resumed_thread"] == first["thread_id"]
    (turn,) = [line["event"]["usage"] for line in log if line.get("event", {}).get("type") == "turn.completed"]
    # Codex's own sum goes on from the earlier run's; the account is this run's alone.
    assert second["usage"]["requests"] >= 1
    assert second["usage"]["total_tokens"] <= turn["input_tokens"] + turn["output_tokens"]
    assert facade.row(first["run_id"])["usage"] == first["usage"]


@pytest.mark.disruptive
def test_a_killed_gate_ships_on(lab: Lab, facade: Facade, job_type: str) -> None:
    run, printed = running(lab, job_type, "sleep-12")
    in_a_command(facade, run)
    (gate,) = gates(lab, run)
    os.kill(gate, signal.SIGKILL)
    lab.ended(run)
    assert_whole(facade, run, "succeeded", printed.all())


@pytest.mark.disruptive
def test_an_api_away_in_the_middle_gets_everything_afterwards(lab: Lab, facade: Facade, job_type: str) -> None:
    run, printed = running(lab, job_type, "slow-75")
    follower = Following(facade, run["metadata"]["uid"])
    while not facade.log(run):
        time.sleep(0.1)
    with facade.away():
        time.sleep(60)  # the minute that the promise names
        assert lab.get(run)["status"]["phase"] == "Running"
    lab.ended(run)
    assert_whole(facade, run, "succeeded", printed.all())
    assert follower.text() == printed.all()
    assert follower.connections >= 2


@pytest.mark.disruptive
def test_an_api_away_at_the_end_and_back_within_the_grace_gets_everything(lab: Lab, facade: Facade, job_type: str) -> None:
    run, printed = running(lab, job_type, "sleep-8")
    in_a_command(facade, run)
    with facade.away():
        everything = printed.all()
    lab.ended(run)
    assert_whole(facade, run, "succeeded", everything)


@pytest.mark.disruptive
def test_a_log_that_was_cut_says_where_and_why(lab: Lab, facade: Facade, job_type: str) -> None:
    """The pod is killed, with no time to ship, while no api is there."""
    run, printed = running(lab, job_type, "sleep-100")
    in_a_command(facade, run)
    before = facade.log(run)
    with facade.away():
        for gate in gates(lab, run):
            os.kill(gate, signal.SIGSTOP)  # not even its last second may help
        lab.kubectl("delete", "pod", lab.pod(run).metadata.name, "--force", "--grace-period=0")
        lab.ended(run)
    row = facade.until(run, "cancelled", log_closed=True)
    log = facade.log(run)
    assert log.startswith(before)
    assert row["log_complete"] is False
    assert row["log_note"]
    last = json.loads(log.splitlines()[-1])
    assert (last["src"], last["text"]) == ("api", "log.cut_off")
    assert printed.all().startswith(before)
