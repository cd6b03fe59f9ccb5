"""Which failed runs `retry --status failed` leaves out."""

from typing import Any, cast

from codexrun_cli.commands.retry import futile
from codexrun_cli.transports.schemas import Run


def run(run_id: str, **fields: Any) -> Run:
    values = {"run_id": run_id, "name": run_id, "status": "failed", "usage": {}, **fields}
    return cast(Run, values)


def failed(run_id: str, kind: str, *, retryable: bool) -> Run:
    return run(run_id, failure={"class": kind, "message": "", "retryable": retryable})


def test_what_would_fail_again_and_what_was_retried_well_is_left_out() -> None:
    runs = [
        failed("bad-key", "auth", retryable=False),
        failed("slow", "rate_limit", retryable=True),
        failed("done", "rate_limit", retryable=True),
        failed("going", "rate_limit", retryable=True),
        failed("again", "rate_limit", retryable=True),
        run("older"),
    ]
    retries = [
        run("done-1", retry_of="done", status="succeeded"),
        run("going-1", retry_of="going", status="running"),
        run("again-1", retry_of="again", status="failed"),
    ]
    assert futile(runs, retries) == {
        "bad-key": "a retry would end the same way (auth)",
        "done": "already retried as done-1 (succeeded)",
        "going": "already retried as going-1 (running)",
    }
