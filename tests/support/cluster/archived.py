"""Runs whose log is compared with what their container printed."""

import time

from lab import Json, Lab
from rest_facade import Facade, Printed


def running(lab: Lab, job_type: str, scenario: str, **spec: object) -> tuple[Json, Printed]:
    """A run that has started, and a reader of its pod's log."""
    run = lab.phase(lab.run(job_type, scenario, **spec), "Running")
    return run, Printed(lab, run)


def in_a_command(facade: Facade, run: Json) -> None:
    """Wait until its first command runs, seen through the archive."""
    while b'"command_execution"' not in facade.log(run):
        time.sleep(0.1)


def assert_whole(facade: Facade, run: Json, status: str, printed: bytes) -> None:
    """The archive has these bytes, all of them, and the row says so."""
    row = facade.until(run, status, log_closed=True)
    assert facade.log(run) == printed
    assert (row["log_complete"], row["log_bytes"], row.get("log_note")) == (
        True,
        len(printed),
        None,
    )
    assert row["log_path"] == f"runs/{row['run_id']}/logs.txt"
