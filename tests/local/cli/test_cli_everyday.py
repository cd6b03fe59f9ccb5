"""Start, look, wait, cancel, retry: the same over REST and straight on the cluster."""

import json
import re

import pytest
import yaml
from clistand import LOG, Stand
from manifests import prompt

from codexrun_core.prompts.stored import StoredPrompt

PROMPT_USED = {
    "name": "hello",
    "version": "v1",
    "sha256": StoredPrompt.read(prompt()).sha256,
}


def test_start_prints_the_name_and_says_how_it_stands(both: Stand) -> None:
    done = both.cli("start", "hello", "-p", "name=world")
    assert done.code == 0
    assert re.fullmatch(r"hello-[0-9a-f]{8}\n", done.out)
    assert done.err == f"{done.out.strip()}: starting\n"
    run = both.kube.run(done.out.strip())
    assert run["spec"] == {"jobType": "hello", "inputs": {"name": "world"}, "whenFull": "Queue"}
    assert run["metadata"]["annotations"]["codexrun.dev/origin"] == "cli"


def test_start_queues_unless_reject(both: Stand) -> None:
    both.start()
    both.start()
    queued = both.cli("start", "hello", "-p", "name=world", "-o", "json")
    assert (queued.code, json.loads(queued.out)["status"]) == (0, "queued")
    assert json.loads(queued.out)["queue"] == {"position": 1}
    before = set(both.kube.run_names)
    refused = both.cli("start", "hello", "-p", "name=world", "--reject")
    assert (refused.code, refused.out) == (1, "")
    assert "all slots are taken" in refused.err
    assert "hint: without --reject, the run waits for its turn" in refused.err
    assert set(both.kube.run_names) == before, "nothing is left of it"


def test_every_option_of_start_reaches_the_object(both: Stand, tmp_path) -> None:
    (tmp_path / "params.yaml").write_text("name: from the file\ncount: 2\n")
    done = both.cli(
        *(
            "start",
            "hello",
            "-f",
            str(tmp_path / "params.yaml"),
            "-p",
            "name=world",
            "-p",
            'deep:={"a": [1]}',
        ),
        *(
            "--prompt-version",
            "v2",
            "--model",
            "gpt-5.5",
            "--effort",
            "high",
            "--limit",
            "max_tokens=1000",
            "--limit",
            "max_cost_cents=50",
        ),
        *(
            "--limit",
            "timeoutSeconds=60",
            "--git",
            "https://example.com/a/b",
            "--ref",
            "main",
            "--name",
            "mine",
        ),
        *("--priority", "5", "--ttl", "1d", "--label", "team=a", "--label", "example.com/ticket="),
    )
    assert (done.code, done.out) == (0, "mine\n")
    assert both.kube.run("mine")["metadata"]["labels"] == {"team": "a", "example.com/ticket": ""}
    assert both.kube.run("mine")["spec"] == {
        "jobType": "hello",
        "inputs": {"name": "world", "count": 2, "deep": {"a": [1]}},
        "promptVersion": "v2",
        "model": "gpt-5.5",
        "effort": "high",
        "limits": {"maxTokens": 1000, "maxCostCents": 50, "timeoutSeconds": 60},
        "workspace": {"git": {"url": "https://example.com/a/b", "ref": "main"}},
        "priority": 5,
        "ttlSecondsAfterFinished": 86400,
        "whenFull": "Queue",
    }


def test_inputs_from_stdin(both: Stand) -> None:
    done = both.cli("start", "hello", "-f", "-", stdin='{"name": "stdin"}')
    assert done.code == 0
    assert both.kube.run(done.out.strip())["spec"]["inputs"] == {"name": "stdin"}


def ageless(text: str) -> str:
    """Without ages and what pads them: a second may pass between two commands."""
    return re.sub(r" *\b(\d+[dhms])+( ago)?\b *", " ", text)


def test_status_tells_everything_and_what_to_type_next(both: Stand) -> None:
    name = both.finished()
    done = both.cli("status", name)
    assert done.code == 0
    text = re.sub(r"[0-9a-f-]{36}|\d{4}-.*", "X", done.out)
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    assert lines["Status"].strip() == "succeeded"
    assert lines["Tokens"].strip() == "120 (100 in, 0 of them cached; 20 out)"
    assert lines["Cost"].strip() == "$0.0042"
    assert lines["Duration"].strip() == "30s"
    assert "Hello, **world**!" in done.out
    for alias in ("get", "describe"):
        assert ageless(both.cli(alias, name).out) == ageless(done.out)


def test_a_failed_run_shows_why_and_the_end_of_its_log(both: Stand) -> None:
    name = both.start()
    both.log(name, *LOG)
    both.end(
        name,
        "Failed",
        failure={"class": "timeout", "message": "it took too long", "retryable": False},
    )
    done = both.until(lambda: (d := both.cli("status", name)).out.count("timeout") and d)
    assert "Failure:    timeout: it took too long (a retry would end the same way)" in done.out
    assert "The end of the run's log:\n" in done.out
    assert "  $ make test\n" in done.out
    assert done.err == f"next: codexrun logs {name}    (to run it again: codexrun retry {name})\n"


def test_list_by_job_type_and_status(both: Stand) -> None:
    first = both.finished()
    second = both.start()
    shown = both.cli("list", "--status", "succeeded", "--job-type", "hello", "-o", "name")
    assert shown.out == f"codexrun/{first}\n"
    assert (
        both.cli("list", "--phase", "Starting,Running", "-o", "name").out == f"codexrun/{second}\n"
    )
    none = both.cli("list", "-j", "nowhere")
    assert (none.code, none.out, none.err) == (0, "", "no runs match\n")


def test_list_limits_after_filtering(both: Stand) -> None:
    names = [both.start() for _ in range(3)]
    done = both.cli("list", "-L", "2", "-o", "name")
    assert len(done.out.splitlines()) == 2
    assert set(done.out.split()) <= {f"codexrun/{name}" for name in names}
    assert "showing only 2 runs" in both.cli("list", "-L", "2").err


def test_list_by_labels(both: Stand) -> None:
    for name, label in (("one", "env=prod"), ("two", "env=dev"), ("three", "env=dev")):
        both.start("--name", name, "--label", "team=a", "--label", label)
    both.start("--name", "bare")

    def listed(wanted: str) -> set[str]:
        return {
            name.removeprefix("codexrun/")
            for name in both.cli("list", "-l", wanted, "-o", "name").out.split()
        }

    assert listed("team=a,env!=dev") == {"one"}
    assert listed("env in (dev, prod)") == {"one", "two", "three"}
    assert listed("!team") == listed("team!=a") == {"bare"}
    assert both.cli("status", "one", "-o", "jsonpath={.labels.env}").out == "prod\n"
    assert re.search(r"\nLabels: +env=prod, team=a\n", both.cli("status", "one").out)
    both.at_once(both.kube.patch, f"{both.kube.runs}/one", {"metadata": {"labels": {"env": "dev"}}})
    assert listed("team=a,env=dev") == {"one", "two", "three"}, "as the object has them now"


def test_list_in_another_order(both: Stand) -> None:
    for name, tokens, seconds in (("few", 10, 40), ("most", 900, 20), ("some", 300, 59)):
        both.start("--name", name)
        usage = {
            "inputTokens": tokens,
            "totalTokens": tokens,
            "requests": 1,
            "costMicroUSD": tokens * 7,
            "complete": True,
        }
        both.end(name, usage=usage, finishedAt=f"2026-01-31T12:00:{seconds}Z")
    both.start("--name", "live")

    def listed(order: str) -> list[str]:
        return both.cli(
            "list", "--sort", order, "-o", "custom-columns=NAME:.name", "--no-headers"
        ).out.split()

    assert listed("-cost") == ["most", "some", "few", "live"]
    assert listed("cost") == [
        "few",
        "some",
        "most",
        "live",
    ], "what is not known comes last both ways"
    assert listed("-duration") == ["some", "few", "most", "live"]
    assert listed("finished") == ["most", "few", "some", "live"]
    assert listed("tokens") == ["live", "few", "some", "most"]
    assert both.cli("list", "--sort", "-cost", "-L", "1", "-o", "name").out == "codexrun/most\n"


def test_cancel_and_retry_by_label(both: Stand) -> None:
    both.start("--name", "ours", "--label", "team=a")
    both.start("--name", "theirs", "--label", "team=b")
    done = both.cli("cancel", "-l", "team=a", "--yes")
    assert done.out == "ours cancellation requested (starting)\n"
    assert not both.kube.run("theirs")["spec"].get("cancel")
    both.end("theirs", "Failed")
    done = both.cli("retry", "-l", "team in (b,c)", "--yes", "-o", "json")
    new = json.loads(done.out)["results"][0]["new_name"]
    assert both.kube.run(new)["metadata"]["labels"] == {"team": "b"}, (
        "a retry is found by the same label"
    )


@pytest.mark.parametrize(
    ("phase", "code"), [("Succeeded", 0), ("Failed", 1), ("Rejected", 1), ("Cancelled", 3)], ids=str
)
def test_waiting_ends_with_the_runs_own_code(both: Stand, phase: str, code: int) -> None:
    name = both.finished(phase=phase)
    done = both.cli("wait", name)
    assert (done.code, done.out) == (code, f"{name} {phase.lower()}\n")


def test_wait_for_a_status_and_for_several(both: Stand) -> None:
    good = both.finished()
    bad = both.finished(phase="Failed")
    assert both.cli("wait", good, bad).code == 1
    assert both.cli("wait", good, "--for", "phase=Succeeded").code == 0
    assert both.cli("wait", bad, "--for", "phase=Succeeded").code == 1
    running = both.start()
    assert both.cli("wait", running, "--for", "status=starting").code == 0


def test_a_wait_that_takes_too_long_has_its_own_code(both: Stand) -> None:
    name = both.start()
    done = both.cli("wait", name, "--timeout", "0.2")
    assert (done.code, done.out) == (124, "")
    assert done.err == f"codexrun: {name} is still starting after 0.2 (--timeout)\n"


def test_cancel_says_who_and_why(both: Stand) -> None:
    name = both.start()
    done = both.cli("cancel", name, "--reason", "wrong branch")
    assert (done.code, done.out) == (0, f"{name} cancellation requested (starting)\n")
    cancel = both.kube.run(name)["spec"]["cancel"]
    assert cancel == {"requestedBy": "shared" if both.rest else "ada", "reason": "wrong branch"}
    assert both.cli("cancel", name).code == 0, "asking twice is asking once"


def test_cancel_what_has_ended_is_a_conflict(both: Stand) -> None:
    name = both.finished()
    done = both.cli("cancel", name)
    assert (done.code, done.out) == (6, "")
    assert f'run "{name}" has ended (succeeded); it can be retried, not cancelled' in done.err
    assert "hint: `codexrun retry NAME` runs it again" in done.err


def test_cancel_by_filter_asks_first(both: Stand) -> None:
    names = sorted(both.start() for _ in range(2))
    asked = both.cli("cancel", "-j", "hello")
    assert (asked.code, asked.out) == (2, "")
    assert "2 runs match; add --yes" in asked.err
    dry = both.cli("cancel", "-j", "hello", "--dry-run")
    assert sorted(dry.out.splitlines()) == [f"{name} would cancel (starting)" for name in names]
    assert not any("cancel" in both.kube.run(name)["spec"] for name in names)
    done = both.cli("cancel", "-j", "hello", "--yes")
    assert (done.code, sorted(done.out.splitlines())) == (
        0,
        [f"{name} cancellation requested (starting)" for name in names],
    )


def test_one_that_fails_does_not_stop_the_others(both: Stand) -> None:
    ended = both.finished()
    live = both.start()
    done = both.cli("cancel", ended, live)
    assert (done.code, done.out) == (1, f"{live} cancellation requested (starting)\n")
    assert f"codexrun: {ended}: " in done.err


def test_retry_differs_only_in_what_was_said(both: Stand) -> None:
    name = both.finished("--priority", "3", "--limit", "max_tokens=500")
    done = both.cli(
        "retry",
        name,
        "--set",
        "name=Rome",
        "--prompt-version",
        "v2",
        "--model",
        "gpt-5.5",
    )
    assert done.code == 0, done
    new = both.kube.run(done.out.strip())["spec"]
    old = both.kube.run(name)["spec"]
    link = {"name": name, "uid": both.run_id(name)}
    changes = {
        "inputs": {"name": "Rome"},
        "promptVersion": "v2",
        "model": "gpt-5.5",
        "retryOf": link,
    }
    ours = {key: value for key, value in new.items() if key != "ttlSecondsAfterFinished"}
    assert ours == {**old, **changes}


def test_resume_goes_on_with_the_same_spec_and_names_the_run_by_its_uid(both: Stand) -> None:
    name = both.finished(prompt=PROMPT_USED, model="gpt-5.5")
    done = both.cli("retry", name, "--resume")
    assert done.code == 0, done
    link = both.kube.run(done.out.strip())["spec"]["retryOf"]
    assert link == {"name": name, "uid": both.run_id(name), "resume": True}


def test_resume_with_another_model_is_refused(stand: Stand) -> None:
    """Straight on the cluster it is the operator that refuses, in the same words."""
    name = stand.finished(prompt=PROMPT_USED, model="another")
    done = stand.cli("retry", name, "--resume")
    assert done.code == 1, done
    assert "spec.retryOf.resume: the model of the earlier run is another" in done.err
    assert "create the new run without spec.retryOf.resume" in done.err


def test_while_a_retry_goes_on_asking_again_gives_that_one(both: Stand) -> None:
    name = both.finished()
    first = both.cli("retry", name)
    again = both.cli("retry", name)
    assert (first.code, first.out) == (0, again.out)


def test_retry_what_runs_is_a_conflict(both: Stand) -> None:
    done = both.cli("retry", both.start())
    assert done.code == 6
    assert "hint: `codexrun cancel NAME` cancels it" in done.err


def test_retry_by_filter_means_failed_runs(both: Stand) -> None:
    bad = both.finished(phase="Failed")
    _good = both.finished()
    done = both.cli("retry", "-j", "hello", "--yes")
    assert done.code == 0
    assert re.fullmatch(
        rf"{bad} retried, new run {bad}-retry-[0-9a-f]{{8}} \(starting\)\n", done.out
    )


def test_raw_is_the_log_byte_for_byte(both: Stand) -> None:
    name = both.start()
    text = both.log(name, *LOG)
    both.end(name)
    assert both.cli("logs", name, "--raw").out.encode() == text
    assert both.cli("logs", name, "--raw", "-f").out.encode() == text


def test_pretty_renders_what_codex_did(both: Stand) -> None:
    name = both.start()
    both.log(name, *LOG)
    both.end(name)
    expected = (
        "  prompt v1, model gpt-5.5\n  thread 0199\nturn 1\n$ make test\n  | ok\n  | 1 failed\n"
        "  exit 2\n~ update a.py\nHello, **world**!\n  turn completed: 100 tokens in (40 cached),"
        " 20 out\n"
    )
    assert both.cli("logs", name, "--plain").out == expected
    assert both.cli("logs", name, "-f", "--plain").out == expected
    assert both.cli("logs", name, "--plain", "--level", "error").out == "  exit 2\n"
    assert both.cli("logs", name, "--plain", "--grep", "^Hel+o").out == "Hello, **world**!\n"
    lines = both.cli("logs", name, "--format", "jsonl", "--level", "error").out.splitlines()
    assert [json.loads(line)["event"]["item"]["exit_code"] for line in lines] == [2]


def test_beginnings_and_latest_name_a_run(both: Stand) -> None:
    both.finished("--name", "alpha-one")
    both.finished("--name", "alpha-two", phase="Failed")
    assert '"alpha-one"' in both.cli("status", "alpha-o", "-o", "json").out
    several = both.cli("status", "alpha")
    assert several.code == 2
    assert "matches 2 runs: alpha-one, alpha-two" in several.err
    assert '"alpha-two"' in both.cli("status", "@latest-failed", "-o", "json").out
    assert both.cli("status", "@latest", "-o", "name").code == 0
    assert both.cli("status", "@newest").code == 2


def test_without_a_name_and_without_a_terminal_nobody_is_asked(both: Stand) -> None:
    for command in ("status", "logs", "cancel", "wait", "retry", "open"):
        done = both.cli(command)
        assert (done.code, done.out) == (2, ""), command
        assert "name a run, or @latest" in done.err


def test_a_dry_run_can_be_piped_into_kubectl(both: Stand) -> None:
    done = both.cli(
        "start", "hello", "-p", "name=world", "--name", "mine", "--dry-run", "client", "-o", "yaml"
    )
    assert yaml.safe_load(done.out) == {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexRun",
        "metadata": {"name": "mine"},
        "spec": {"jobType": "hello", "inputs": {"name": "world"}, "whenFull": "Queue"},
    }
    assert both.kube.run_names == []
    server = both.cli("start", "hello", "-p", "name=world", "--name", "mine", "--dry-run", "server")
    assert yaml.safe_load(server.out)["spec"] == yaml.safe_load(done.out)["spec"]
    assert both.kube.run_names == []


def test_the_same_key_is_the_same_run(both: Stand) -> None:
    first, again = (
        both.cli("start", "hello", "-p", "name=world", "--idempotency-key", "k1") for _ in range(2)
    )
    assert (first.code, first.out) == (0, again.out)
    other = both.cli("start", "hello", "-p", "name=Rome", "--idempotency-key", "k1")
    assert (other.code, other.out) == (6, "")


def test_a_name_that_is_taken(both: Stand) -> None:
    both.start("--name", "mine")
    done = both.cli("start", "hello", "-p", "name=world", "--name", "mine")
    assert done.code == 6
    assert 'a run "mine" already exists' in done.err
