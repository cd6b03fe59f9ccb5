"""`codexrun status`: conditions, attempts, what happened, the budget, and what to type next; over
REST and on the cluster."""

import json
import re
import textwrap
from datetime import UTC, datetime
from typing import Any

import pytest
from clistand import LOG, Stand
from fake_cluster import condition
from manifests import job_type

from codexrun_cli.follow.lines import Reader
from codexrun_cli.follow.screen import Plain, status_line
from codexrun_cli.output import details, runs, usage
from codexrun_cli.terminal import Terminal

NOON = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
CONDITIONS = [
    condition("Admitted"),
    {**condition("Succeeded", "False"), "reason": "Failed", "message": "the agent took too long"},
]


def rows(text: str, title: str) -> list[list[str]]:
    """The lines of a section, split at their gaps."""
    _, _, rest = text.partition(f"\n{title}:\n")
    return [re.split(r"  +", line.strip()) for line in rest.partition("\n\n")[0].splitlines()]


def failed(stand: Stand) -> str:
    name = stand.start()
    stand.log(name, *LOG)
    stand.end(
        name,
        "Failed",
        reason="Timeout",
        conditions=CONDITIONS,
        failure={"class": "timeout", "message": "the agent took too long", "retryable": False},
    )
    stand.until(lambda: '"failed"' in stand.cli("status", name, "-o", "json").out)
    return name


def test_conditions_are_the_same_both_ways(stand: Stand) -> None:
    name = failed(stand)
    found = []
    for stand.rest in (True, False):
        text = stand.cli("status", name).out
        found.append([row[:3] + row[4:] for row in rows(text, "Conditions")])
    assert found[0] == found[1]
    assert found[0] == [
        ["TYPE", "STATUS", "REASON", "MESSAGE"],
        ["Admitted", "True", "Admitted"],
        ["Succeeded", "False", "Failed", "the agent took too long"],
    ]


def test_an_estimate_says_how_wrong_it_can_be_both_ways(stand: Stand) -> None:
    name = stand.start()
    usage_ = {
        "inputTokens": 100,
        "outputTokens": 20,
        "totalTokens": 120,
        "atMostTokens": 900,
        "requests": 1,
        "complete": False,
    }
    stand.end(name, usage=usage_)
    stand.until(lambda: '"succeeded"' in stand.cli("status", name, "-o", "json").out)
    for stand.rest in (True, False):
        assert (
            "partly an estimate (at most 900): the usage of some" in stand.cli("status", name).out
        )
        told = json.loads(stand.cli("status", name, "-o", "json").out)["usage"]
        assert (told["total_tokens"], told["at_most_tokens"]) == (120, 900)


def test_the_api_tells_every_transition(stand: Stand) -> None:
    text = stand.cli("status", failed(stand)).out
    assert [row[1:] for row in rows(text, "Transitions")] == [
        ["STATUS", "REASON"],
        ["starting", "Starting"],
        ["failed", "Timeout"],
    ]
    assert "Events:" not in text


def test_the_cluster_tells_its_events(stand: Stand) -> None:
    name = failed(stand)
    for number, (reason, uid) in enumerate(
        [("ImagePull", stand.run_id(name)), ("Other", "another-run")]
    ):
        about = {
            "type": "Warning",
            "reason": reason,
            "message": "no such image",
            "lastTimestamp": "2026-01-31T12:00:00Z",
        }
        event = {"metadata": {"name": f"event-{number}"}, "involvedObject": {"uid": uid}, **about}
        stand.at_once(stand.kube.put, stand.kube.events, event)
    stand.rest = False
    text = stand.cli("status", name).out
    assert [row[1:] for row in rows(text, "Events")] == [
        ["TYPE", "REASON", "MESSAGE"],
        ["Warning", "ImagePull", "no such image"],
    ]
    assert "Transitions:" not in text
    (event,) = json.loads(stand.cli("status", name, "-o", "json").out)["events"]
    assert event == {
        "at": "2026-01-31T12:00:00Z",
        "type": "Warning",
        "reason": "ImagePull",
        "message": "no such image",
    }


def test_a_second_attempt_is_told_apart(stand: Stand) -> None:
    name = stand.start()
    stand.phase(name, "Running", attempt=1, reason="AgentRunning")
    stand.phase(name, "Starting", attempt=2, reason="NodeLost")
    stand.end(name, attempt=2)
    text = stand.until(lambda: (t := stand.cli("status", name).out).count("succeeded") > 1 and t)
    assert re.search(r"^Attempt: +2$", text, re.M)
    moves = rows(text, "Transitions")
    assert moves[0] == ["AFTER", "ATTEMPT", "STATUS", "REASON"]
    assert [row[1:3] for row in moves[1:]] == [
        ["1", "starting"],
        ["1", "running"],
        ["2", "starting"],
        ["2", "succeeded"],
    ]


def test_when_the_object_is_gone_the_api_still_knows_what_happened(stand: Stand) -> None:
    name = failed(stand)
    run_id = stand.run_id(name)
    stand.at_once(stand.kube.remove, f"{stand.kube.runs}/{name}")
    shown = stand.until(
        lambda: (
            "deleted_at" in (d := json.loads(stand.cli("status", run_id, "-o", "json").out)) and d
        )
    )
    assert "conditions" not in shown
    assert [move["status"] for move in shown["transitions"]] == ["starting", "failed"]
    text = stand.cli("status", run_id).out
    assert "Conditions:" not in text
    assert rows(text, "Transitions")


def test_a_failed_run_says_class_message_last_lines_and_what_to_type(both: Stand) -> None:
    name = failed(both)
    done = both.cli("status", name)
    assert (
        "Failure:    timeout: the agent took too long (a retry would end the same way)" in done.out
    )
    end = done.out.partition("The end of the run's log:\n")[2]
    assert "  exit 2\n" in end
    assert done.err == f"next: codexrun logs {name}    (to run it again: codexrun retry {name})\n"


NEXT = {
    "Queued": "codexrun logs -f {name}",
    "Running": "codexrun logs -f {name}    (to stop it: codexrun cancel {name})",
    "Stopping": "codexrun wait {name}",
    "Rejected": "codexrun jobtypes show hello",
    "Cancelled": "codexrun retry {name}",
}


@pytest.mark.parametrize(("phase", "command"), NEXT.items(), ids=str)
def test_every_other_status_has_its_next_command(stand: Stand, phase: str, command: str) -> None:
    stand.rest = False
    name = stand.start()
    stand.phase(name, phase, reason=phase)
    assert stand.cli("status", name).err == f"next: {command.format(name=name)}\n"


def test_an_output_is_shown_in_lines_and_is_json_for_programs(both: Stand) -> None:
    name = both.start()
    output = {"findings": [{"line": 3, "column": None}], "grade": "A"}
    both.end(name, result={"message": json.dumps(output), "output": output})
    text = both.until(lambda: "said:" in (t := both.cli("status", name).out) and t)
    assert text.endswith(
        "The agent said:\n" + textwrap.indent(json.dumps(output, indent=2), "  ") + "\n"
    )
    assert json.loads(both.cli("status", name, "-o", "json").out)["output"] == output
    (listed,) = json.loads(both.cli("list", "-o", "json").out)["runs"]
    assert listed["output"] == output


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({}, "running", ""),
        (
            {"waiting_until": "2026-01-31T12:03:04.5Z"},
            "running, waiting for the provider until 2026-01-31 12:03:04 UTC",
            "waiting for the provider until 2026-01-31 12:03:04 UTC",
        ),
        ({"waiting_until": "2026-01-31T11:59:59Z"}, "running", ""),
        (
            {"waiting_until": "2026-01-31T14:03:04+02:00"},
            "running, waiting for the provider until 2026-01-31 12:03:04 UTC",
            "waiting for the provider until 2026-01-31 12:03:04 UTC",
        ),
    ],
    ids=["does not wait", "waits", "has waited", "in another zone"],
)
def test_a_run_that_waits_for_the_provider_says_so(
    fields: dict[str, str], status: str, message: str
) -> None:
    run: Any = {"name": "mine", "run_id": "x", "job_type": "hello", "status": "running"}
    run |= {"usage": {}, **fields}
    shown = runs.describe(run, NOON, Terminal())
    assert re.search(rf"^Status: +{re.escape(status)}$", shown, re.M)
    assert runs.last_message(run, NOON) == message


def test_tokens_and_money_against_their_limits(both: Stand) -> None:
    both.at_once(
        both.kube.put,
        both.kube.job_types,
        job_type("bounded", limits={"maxTokens": 1000, "maxCostCents": 50}),
    )
    both.until(lambda: "bounded" in both.cli("jobtypes", "list").out)
    name = both.cli("start", "bounded", "-p", "name=world", "--limit", "max_tokens=240").out.strip()
    both.end(name)
    text = both.until(lambda: "120" in (t := both.cli("status", name).out) and t)
    assert re.search(r"^Budget: +50% of 240 tokens, 0% of \$0\.50$", text, re.M)
    assert json.loads(both.cli("status", name, "-o", "json").out)["limits"] == {
        "max_tokens": 240,
        "max_cost_cents": 50,
    }


def test_the_moving_line_has_both_budgets() -> None:
    run = {
        "status": "running",
        "started_at": "2026-01-31T11:59:00Z",
        "usage": {"total_tokens": 600, "cost_micro_usd": 120_000},
    }
    limits = {"max_tokens": 1000, "max_cost_cents": 50}
    line = status_line(run, Reader(), NOON, limits=limits, usual=120, since=0)
    assert line == "running  1m of about 2m  600/1000 tokens (60%)  $0.1200/$0.50 (24%)"
    assert (
        status_line(run, Reader(), NOON, limits={}, usual=None, since=0)
        == "running  1m  600 tokens  $0.1200"
    )
    fresh = {"status": "starting"}
    assert (
        status_line(fresh, Reader(), NOON, limits=limits, usual=None, since=0)
        == "starting  0/1000 tokens (0%)  $0.00/$0.50 (0%)"
    )
    assert status_line(fresh, Reader(), NOON, limits={}, usual=None, since=0) == "starting"
    waiting = {**run, "waiting_until": "2026-01-31T12:03:04Z"}
    assert (
        status_line(waiting, Reader(), NOON, limits={}, usual=None, since=0)
        == "running  waiting for the provider until 2026-01-31 12:03:04 UTC  1m  600 tokens"
        "  $0.1200"
    )
    stopping = {**run, "status": "stopping"}
    assert status_line(stopping, Reader(), NOON, limits={}, usual=None, since=7).startswith(
        "stopping for 7s  1m  "
    )


def test_a_hundred_percent_is_the_limit_and_nothing_below_it() -> None:
    assert (
        usage.budget({"usage": {"total_tokens": 999}}, {"max_tokens": 1000}) == "99% of 1000 tokens"
    )
    assert (
        usage.budget({"usage": {"total_tokens": 1000}}, {"max_tokens": 1000})
        == "100% of 1000 tokens"
    )
    assert usage.budget({}, {}) == ""


def test_clocks_that_differ_never_count_backwards() -> None:
    moves = [
        {"at": f"2026-01-31T12:00:{second:02}Z", "attempt": 1, "status": "x"}
        for second in (10, 13, 12, 15)
    ]
    assert [move["after"] for move in details.timed(moves)] == ["0s", "3s", "3s", "5s"]


def test_sections_fit_a_narrow_terminal() -> None:
    long = {
        "conditions": [
            {
                **CONDITIONS[1],
                "last_transition_time": "2026-01-31T11:00:00Z",
                "message": "word " * 60,
            }
        ]
    }
    shown = details.sections(long, NOON, Terminal(width=60))
    assert max(map(len, shown.splitlines())) <= 60
    assert details.sections({}, NOON, Terminal()) == ""


def test_an_api_that_does_not_know_the_question_yet_is_no_trouble(stand: Stand) -> None:
    name = stand.finished()
    known = stand.services.find

    async def nobody(_: str) -> None:
        return None

    async def once(wanted: str) -> object:
        stand.services.find = nobody
        return await known(wanted)

    stand.services.find = once
    done = stand.cli("status", name)
    assert (done.code, done.err) == (0, "")
    assert "Conditions:" not in done.out


def test_a_run_that_is_deleted_while_it_is_watched(
    both: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = both.start()
    run_id = both.run_id(name)
    show = Plain.state

    def shown(view: Plain, run: Any) -> None:
        show(view, run)
        if name in both.kube.run_names:
            both.at_once(both.kube.remove, f"{both.kube.runs}/{name}")

    monkeypatch.setattr(Plain, "state", shown)
    done = both.cli("status", name, "--watch")
    # The api witnessed the deletion of a live run, which is a cancellation; the cluster has nobody
    # who remembers.
    assert done.code == (3 if both.rest else 8), done
    assert run_id in done.out
