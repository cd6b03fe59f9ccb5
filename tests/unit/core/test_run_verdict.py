"""What the operator's answer to a new run means: one reading, told in two ways, as a problem of the
REST api and as an error of the command line."""

from typing import Any

import pytest

from codexrun_api.runs.start import refusal_problem
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports.cluster import start as cluster_start
from codexrun_core.resources import CodexRun
from codexrun_core.runs.annotations import DELETE_IF_REJECTED
from codexrun_core.runs.verdict import Verdict, is_provisional, verdict_of

Json = dict[str, Any]

VERDICTS: list[tuple[str, str | None, Verdict]] = [
    ("Pending", None, Verdict.PENDING),
    ("Pending", "Unreadable", Verdict.PENDING),
    ("Pending", "JobTypeNotFound", Verdict.REFUSED),
    ("Pending", "PromptNotFound", Verdict.REFUSED),
    ("Queued", "ConcurrencyLimit", Verdict.QUEUED),
    ("Queued", "Suspended", Verdict.QUEUED),
    ("Queued", "JobTypeHeld", Verdict.QUEUED),
    ("Starting", "Starting", Verdict.ADMITTED),
    ("Starting", "JobTypeNotFound", Verdict.ADMITTED),
    ("Running", None, Verdict.ADMITTED),
    ("Stopping", "CancelRequested", Verdict.ADMITTED),
    ("Succeeded", "Completed", Verdict.ADMITTED),
    ("Failed", "Budget", Verdict.ADMITTED),
    ("Cancelled", "CancelRequested", Verdict.ADMITTED),
    ("Rejected", "ConcurrencyLimit", Verdict.REFUSED),
    ("Rejected", "InvalidInputs", Verdict.REFUSED),
    ("Rejected", None, Verdict.REFUSED),
    ("Paused", "OfATomorrow", Verdict.ADMITTED),
]
# Reason, status and code of the problem, exit code of the error.
REFUSALS: list[tuple[str | None, int, str, Code]] = [
    ("ConcurrencyLimit", 429, "concurrency-limit", Code.FAILED),
    ("Suspended", 429, "job-type-suspended", Code.FAILED),
    ("JobTypeHeld", 429, "job-type-held", Code.FAILED),
    ("JobRefused", 429, "job-type-held", Code.FAILED),
    ("QueueFull", 429, "queue-full", Code.FAILED),
    ("JobTypeNotFound", 404, "job-type-not-found", Code.NOT_FOUND),
    ("PromptNotFound", 422, "prompt-not-found", Code.FAILED),
    ("InvalidInputs", 422, "invalid-inputs", Code.FAILED),
    ("OfATomorrow", 422, "of-a-tomorrow", Code.FAILED),
    (None, 422, "rejected", Code.FAILED),
]


def raw_run(phase: str, reason: str | None = None, **status: Any) -> Json:
    return {
        "metadata": {"name": "mine", "uid": "u"},
        "spec": {"jobType": "hello"},
        "status": {"phase": phase, "reason": reason, **status},
    }


@pytest.mark.parametrize(("phase", "reason", "verdict"), VERDICTS)
def test_both_doors_read_the_same_verdict(phase: str, reason: str | None, verdict: Verdict) -> None:
    raw = raw_run(phase, reason)
    assert verdict_of(CodexRun.model_validate(raw)) is verdict
    assert cluster_start._verdict(raw) is verdict
    assert verdict.final is (verdict is not Verdict.PENDING)


def test_a_run_without_a_status_has_no_verdict() -> None:
    raw = {"metadata": {"name": "mine"}, "spec": {"jobType": "hello"}}
    assert cluster_start._verdict(raw) is Verdict.PENDING
    assert verdict_of(CodexRun.model_validate(raw)) is Verdict.PENDING


@pytest.mark.parametrize(("reason", "status", "problem_code", "exit_code"), REFUSALS)
def test_each_door_tells_a_refusal_in_its_own_way(
    reason: str | None, status: int, problem_code: str, exit_code: Code
) -> None:
    raw = raw_run("Rejected", reason, message="the operator's words")
    problem = refusal_problem(CodexRun.model_validate(raw), 7)
    assert (problem.status, problem.code) == (status, problem_code)
    assert problem.retry_after == (7 if status == 429 else None)
    error = cluster_start._refusal(raw)
    assert error.code is exit_code
    if status != 404:
        assert problem.detail == error.detail == "the operator's words"
    else:
        assert "hello" in problem.detail
        assert "hello" in error.detail


def test_a_refusal_without_words_has_some() -> None:
    raw = raw_run("Rejected")
    detail = "the operator rejected the run"
    assert refusal_problem(CodexRun.model_validate(raw), 7).detail == detail
    assert cluster_start._refusal(raw).detail == detail


@pytest.mark.parametrize(
    ("phase", "marked", "was_queued", "provisional"),
    [
        ("Pending", True, False, True),
        ("Rejected", True, False, True),
        ("Rejected", True, True, False),
        ("Queued", True, True, False),
        ("Starting", True, False, False),
        ("Pending", False, False, False),
        ("Rejected", False, False, False),
    ],
)
def test_a_run_is_provisional_until_its_caller_is_told_of_it(
    phase: str, marked: bool, was_queued: bool, provisional: bool
) -> None:
    condition = {
        "type": "Admitted",
        "status": "False",
        "reason": "ConcurrencyLimit",
        "message": "",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
    }
    raw = raw_run(phase, conditions=[condition] if was_queued else [])
    raw["metadata"]["annotations"] = {DELETE_IF_REJECTED: "true"} if marked else {}
    assert is_provisional(CodexRun.model_validate(raw)) is provisional
