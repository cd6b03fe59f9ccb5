"""`make test`: every lane of the tests, side by side where they do not meet, and one closing line
for all of them.

    make up, cluster     several at a time, they mostly wait
    then alone           what kills parts of the cluster or looks at what all share there, one at a
                         time; then what looks at what all have left
    beside them
    unit, local          at the lowest priority: they fill the gaps of the others, and use nothing
                         of the cluster

Each lane is a pytest of its own; its output is .test-results/<lane>.log. tests/lanes.py says which
test is of which lane.
"""

# ruff: noqa: T201 - stdout is what this is for

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / ".test-results"
PROGRESS_SECONDS = 30
SERIAL = "alone or disruptive or afterwards"


@dataclass(frozen=True)
class Lane:
    """One pytest: the tests that `marks` selects, on `workers` of pytest-xdist (0: without it)."""

    name: str
    marks: str
    workers: int
    low: bool = False  # at the lowest priority
    cluster: bool = False

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return what starts it; `arguments` are for pytest."""
        # tests/conftest.py and tests/cluster/conftest.py order them
        order = ["--dist", "loadscope", "--no-loadscope-reorder"]
        spread = ["-n", str(self.workers), *order] if self.workers else []
        junit = RESULTS / f"{self.name}.xml"
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-v",
            "--color=no",
            "--durations=30",
            f"--junitxml={junit}",
            "-m",
            self.marks,
        ]
        return [*(["nice", "-n", "19"] if self.low else []), *words, *spread, *arguments]


CORES = os.cpu_count() or 1
UNIT = Lane("unit", "unit", CORES, low=True)
# Its tests wait for the processes that they start.
LOCAL = Lane("local", "local", 2 * CORES, low=True)
CLUSTER = Lane("cluster", f"cluster and not ({SERIAL})", 4, cluster=True)
ALONE = Lane("alone", f"cluster and ({SERIAL})", 0, cluster=True)
LANES = (UNIT, LOCAL, CLUSTER, ALONE)


@dataclass(frozen=True)
class Result:
    """What a lane came to; `broke` is why it did not come to its end, "" where it did. Times in
    seconds."""

    lane: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    broke: str = ""
    failures: tuple[str, ...] = ()
    wall: float = 0
    cpu: float = 0

    @property
    def good(self) -> bool:
        return not self.failed and not self.broke


def result_of(
    lane: str, junit: str | None, code: int, *, wall: float = 0, cpu: float = 0
) -> Result:
    """From pytest's JUnit file and exit code
    (https://docs.pytest.org/en/stable/reference/exit-codes.html).

    A lane that no test was selected for is good: somebody asked for a few tests. One that broke off
    counts as one failure more.
    """
    if junit is None:
        return Result(
            lane,
            failed=1,
            broke=f"pytest ended with code {code} and wrote no results",
            wall=wall,
            cpu=cpu,
        )
    passed = skipped = 0
    failures = []
    for case in ET.fromstring(junit).iter("testcase"):  # noqa: S314 - pytest's own file
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failures.append(f"{case.get('classname', '').replace('.', '/')}::{case.get('name')}")
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    failed = len(failures)
    broke = ""
    if code not in (0, 1, 5) or (code == 1 and not failures):
        failed = failed + 1
        broke = f"pytest ended with code {code}"
    return Result(lane, passed, failed, skipped, broke, tuple(failures), wall, cpu)


def with_missing(results: Sequence[Result]) -> list[Result]:
    """All lanes in their order; one that has no result, whatever became of it, has failed."""
    known = {result.lane: result for result in results}
    extra = [result for result in results if result.lane not in {lane.name for lane in LANES}]
    return [
        *extra,
        *(
            known.get(lane.name, Result(lane.name, failed=1, broke="it has no result"))
            for lane in LANES
        ),
    ]


def closing_line(results: Sequence[Result]) -> str:
    """The sum of all lanes, as CI reads it."""
    passed, failed, skipped = (
        sum(getattr(result, kind) for result in results) for kind in ("passed", "failed", "skipped")
    )
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def table(results: Sequence[Result]) -> str:
    """One row a lane, times in minutes."""
    head = f"{'lane':<10}{'passed':>8}{'failed':>8}{'skipped':>9}{'time':>8}{'CPU':>8}"
    rows = [
        f"{r.lane:<10}{r.passed:>8}{r.failed:>8}{r.skipped:>9}{minutes(r.wall):>8}{minutes(r.cpu):>8}"
        for r in results
    ]
    return "\n".join([head, *rows])


def minutes(seconds: float) -> str:
    """`m:ss`."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02}"


TOTAL = re.compile(r"workers \[(\d+) items?\]|/ (\d+) selected|collected (\d+) items?$")
# `[gw1] [ 12%] PASSED name` of a worker, `name PASSED [ 12%]` without one; what is in a name is
# nobody's business.
WORDS = "PASSED|FAILED|ERROR|SKIPPED|XFAIL"
OUTCOME = re.compile(rf"^\[gw\d+\] \[ *\d+%\] ({WORDS}) |.*::.* ({WORDS})(?: \(.*\))? +\[ *\d+%\]$")


@dataclass
class Progress:
    """What is known of a lane from the lines that it has printed so far."""

    total: int = 0
    done: int = 0
    failed: int = 0

    def line(self, text: str) -> bool:
        """Take one in; true if it tells of a failure."""
        if outcome := OUTCOME.match(text):
            self.done += 1
            bad = (outcome[1] or outcome[2]) in ("FAILED", "ERROR")
            self.failed += bad
            return bad
        # Once: names of tests are printed too.
        if not self.total and (total := TOTAL.search(text)):
            self.total = int(next(filter(None, total.groups())))
        return False

    def __str__(self) -> str:
        return f"{self.done}/{self.total or '?'}" + (
            f", {self.failed} failed" if self.failed else ""
        )


@dataclass
class Running:
    """A lane's process and a thread that reads what it prints."""

    lane: Lane
    process: "subprocess.Popen[str]"
    progress: Progress = field(default_factory=Progress)
    since: float = field(default_factory=time.monotonic)

    def finish(self) -> Result:
        """Read to the end."""
        assert self.process.stdout is not None
        with (RESULTS / f"{self.lane.name}.log").open("w", encoding="utf-8") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                if self.progress.line(line.rstrip()):
                    print(f"{self.lane.name}: {line.strip()}", flush=True)
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        junit = RESULTS / f"{self.lane.name}.xml"
        result = junit.read_text(encoding="utf-8") if junit.exists() else None
        wall = time.monotonic() - self.since
        cpu = used.ru_utime + used.ru_stime
        return result_of(self.lane.name, result, self.process.returncode, wall=wall, cpu=cpu)


class Suite:
    """`run` a lane (from any thread); `results` has those that have ended."""

    def __init__(self, more: Sequence[str]) -> None:
        self.more = more
        self.results: list[Result] = []
        self.running: list[Running] = []
        self.started = time.monotonic()
        self._round = uuid.uuid4().hex[:8]
        self._in_cluster = False

    def run(self, lane: Lane) -> None:
        """From its start to its end."""
        running = Running(lane, self._start(lane))
        self.running.append(running)
        result = running.finish()
        self.running.remove(running)
        self.results.append(result)
        words = f"{closing_line([result])} in {minutes(result.wall)} {result.broke}".rstrip()
        print(f"{lane.name}: {words}", flush=True)

    def beside(self, *columns: Callable[[], None]) -> None:
        """Each of these in a thread, until all have ended; says every now and then how far their
        lanes are."""
        threads = [threading.Thread(target=column, daemon=True) for column in columns]
        for thread in threads:
            thread.start()
        said = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(1)
            if time.monotonic() - said >= PROGRESS_SECONDS and self.running:
                said = time.monotonic()
                now = "   ".join(
                    f"{running.lane.name} {running.progress}" for running in list(self.running)
                )
                print(f"[{minutes(said - self.started)}] {now}", flush=True)

    def stop(self) -> None:
        """End what still runs, and delete what the lanes have left for each other in the
        cluster."""
        for running in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.process.pid, signal.SIGTERM)
        kinds = "codexruns,codexjobtypes,configmaps"
        theirs = f"-l codexrun.test/round={self._round} --wait=false >/dev/null"
        delete = f"kubectl -n codexrun delete {kinds} {theirs}; kubectl delete namespaces {theirs}"
        if self._in_cluster:
            subprocess.run(["bash", "-c", f". .cluster/env; {delete}"], cwd=ROOT, check=False)

    def _start(self, lane: Lane) -> "subprocess.Popen[str]":
        command = lane.command(self.more)
        if lane.cluster:
            self._in_cluster = True
            command = ["bash", "-c", '. .cluster/env; exec "$@"', "bash", *command]
        env = {**os.environ, "CODEXRUN_TEST_ROUND": self._round}
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if lane.low:
            # Where the kernel weighs whole sessions, `nice` counts within one only (sched(7), "The
            # autogroup feature").
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/autogroup").write_text("19", encoding="ascii")
        return process


def failures_of(lane: str) -> str:
    """The part of its output that is about what went wrong."""
    log = RESULTS / f"{lane}.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    failures = re.search(r"^=+ (?:FAILURES|ERRORS) =+$", text, re.MULTILINE)
    return text[failures.start() :] if failures else text[-4000:]


def report(results: Sequence[Result]) -> int:
    """Print what all lanes came to; the exit code."""
    bad = [result for result in results if not result.good]
    for result in bad:
        print(
            f"\n--- lane {result.lane}: all of it is in"
            f" .test-results/{result.lane}.log\n{failures_of(result.lane)}"
        )
    print(f"\n{table(results)}")
    for result in bad:
        print(f"\nlane {result.lane} failed: {result.broke or f'{result.failed} tests'}")
        for failure in result.failures:
            print(f"  {failure}")
    print(f"\n{closing_line(results)}", flush=True)
    return 1 if bad else 0


def bring_up() -> Result:
    """`make up`, with its output on ours."""
    since = time.monotonic()
    code = subprocess.run(["make", "up"], cwd=ROOT, check=False).returncode
    broke = f"`make up` ended with code {code}" if code else ""
    return Result("up", failed=int(bool(code)), broke=broke, wall=time.monotonic() - since)


def main() -> int:
    RESULTS.mkdir(exist_ok=True)
    for old in RESULTS.iterdir():
        old.unlink()
    suite = Suite(shlex.split(os.environ.get("PYTEST_ARGS", "")))
    up: Future[Result] = Future()

    def on_the_cluster() -> None:
        try:
            up.set_result(bring_up())
        except BaseException as error:
            up.set_exception(error)
            raise
        if up.result().good:
            suite.run(CLUSTER)
            suite.run(ALONE)
        else:
            suite.results.append(up.result())

    def without_it() -> None:
        suite.run(UNIT)
        # It has also built helm, and fetched one of the versions of Codex that local tests use.
        if up.result().good:
            subprocess.run(["make", "codex"], cwd=ROOT, check=False)  # tests say what lacks
            suite.run(LOCAL)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        suite.beside(on_the_cluster, without_it)
    finally:
        suite.stop()
    return report(with_missing(suite.results))


if __name__ == "__main__":
    sys.exit(main())
