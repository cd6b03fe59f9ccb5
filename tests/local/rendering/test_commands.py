"""Every command that only reads, over both transports, about the smallest and the largest objects
that there can be."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crdobjects
import pytest
import typer.main
from clistand import LOG, Stand, stands

from codexrun_cli.exit_codes import Code
from codexrun_cli.main import app
from codexrun_core.resources.phases import Phase

Json = dict[str, Any]

# Commands that change something, or are about this program itself.
LEFT_OUT = {
    *(
        "cancel",
        "retry",
        "apply",
        "edit",
        "delete",
        "logout",
        "whoami",
        "cleanup",
        "cleanup_runs",
        "export",
        "import",
        "login",
        "completion",
        "help",
        "open",
        "doctor",
        "cost",
        "get",
        "describe",
    ),
    *("prompts verify", "prompts manifests", "prompts add", "prompts diff", "jobtypes validate"),
    *("config view", "config set", "config path"),
}
# {run} and {other} are runs, {kind} is a job type.
READING: dict[str, tuple[str, ...]] = {
    "start": ("start {kind} --dry-run client",),
    "list": (
        "list",
        "list -o wide",
        "list -o json",
        "list -o yaml",
        "list --sort=-cost",
        "list --status failed,running",
    ),
    "status": ("status {run}", "status {run} -o yaml", "status {run} {other} -o wide"),
    "logs": ("logs {run}", "logs {run} --raw", "logs {run} -f"),
    "tail": ("tail {run}",),
    "wait": ("wait {run} --timeout 1s",),
    "diff": ("diff {run} {other}", "diff {run} {other} -o json", "diff {run} {other} --log"),
    "artifacts": ("artifacts {run}",),
    "stats": ("stats", "stats --by user"),
    "prompts list": ("prompts list -o wide",),
    "prompts show": ("prompts show hello@v1",),
    "prompts render": ("prompts render hello@v1 --set name=x",),
    "jobtypes list": ("jobtypes list", "jobtypes list -o json"),
    "jobtypes show": ("jobtypes show {kind}", "jobtypes show {kind} -o yaml"),
}
ENDED = (Phase.FAILED, Phase.SUCCEEDED)
ENDS = ("tail", "logs {run} -f", "wait")  # with the run


def commands() -> set[str]:
    """Every command's words."""
    found: set[str] = set()

    def walk(group: Any, before: tuple[str, ...]) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(command, (*before, name))
            else:
                found.add(" ".join((*before, name)))

    walk(typer.main.get_command(app), ())
    return found


def test_every_command_is_tried_or_says_why_not() -> None:
    assert commands() == LEFT_OUT | READING.keys()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """Runs `least-…` and `most-…` in every phase, and job types `least` and `most`."""
    with pytest.MonkeyPatch.context() as patch:
        for made in stands(Path(tmp_path_factory.mktemp("commands")), patch):
            for size, of in (("least", crdobjects.minimal), ("most", crdobjects.maximal)):
                kind = {"metadata": {"name": size}, **of(crdobjects.JOB_TYPE)}
                made.at_once(made.kube.put, made.kube.job_types, kind)
                for phase in Phase:
                    body = of(crdobjects.RUN)
                    body["spec"]["jobType"] = size
                    body["status"] = {**body.get("status", {}), "phase": phase}
                    name = f"{size}-{phase.lower()}"
                    made.at_once(
                        made.kube.put, made.kube.runs, {"metadata": {"name": name}, **body}
                    )
                    if phase.terminal:
                        made.log(name, *LOG)
            made.until(lambda made=made: len(made.services.mirror.ids()) == 2 * len(Phase))
            yield made


@pytest.mark.parametrize("rest", [True, False], ids=["rest", "cluster"])
@pytest.mark.parametrize("line", [line for lines in READING.values() for line in lines])
def test_a_command_that_reads_has_an_answer(stand: Stand, line: str, rest: bool) -> None:
    stand.rest = rest
    phases: tuple[Phase, ...] = (Phase.QUEUED, Phase.FAILED)
    if line == "status {run}":
        phases = tuple(Phase)
    elif line.startswith(ENDS):
        phases = ENDED
    for size, other in (("least", "most"), ("most", "least")):
        for phase in phases if "{run}" in line else ENDED[:1]:
            names = {
                "run": f"{size}-{phase.lower()}",
                "other": f"{other}-{phase.lower()}",
                "kind": size,
            }
            done = stand.cli(*line.format(**names).split())
            assert "a fault of this program" not in done.err, (names, done)
            assert "Internal Server Error" not in done.err, (names, done)
            refused = done.code in (Code.USAGE, Code.UNREACHABLE)
            assert not refused or "needs the REST API" in done.err, (names, done)
