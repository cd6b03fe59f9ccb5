"""Whatever a process of ours prints, whoever in it prints it, is one line of JSON of the documented
shape."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loglines import SCHEMA, wrong_lines
from programs import free_port

Json = dict[str, Any]
ROOT = Path(__file__).parents[3]

BEGIN = (
    "import logging\nfrom codexrun_core.logs import *\nlog_to_stderr('INFO')\nlog ="
    " logging.getLogger('t')\n"
)


def printed(code: str, begin: str = BEGIN, ends_with: int = 0) -> list[Json]:
    """Every line that a process of this code prints, each held against the schema."""
    done = subprocess.run(
        [sys.executable, "-c", begin + code], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).split("\n")
    assert lines.pop() == ""
    assert not wrong_lines(lines)
    assert done.returncode == ends_with, lines
    return [json.loads(line) for line in lines]


def test_a_fault_in_a_request_of_uvicorn() -> None:
    code = (
        f"port = {free_port()}"
        + """
import asyncio, urllib.request, urllib.error
from codexrun_api.__main__ import server

async def app(scope, receive, send):
    raise RuntimeError("broken app")

async def main():
    it = server(app, port)
    serving = asyncio.create_task(it.serve())
    while not it.started:
        await asyncio.sleep(0.01)
    def call():
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
        except urllib.error.HTTPError:
            pass
    await asyncio.to_thread(call)
    it.should_exit = True
    await serving

asyncio.run(main())
"""
    )
    (fault,) = [line for line in printed(code) if line["level"] == "error"]
    assert fault["logger"] == "uvicorn.error"
    assert "RuntimeError: broken app" in fault["traceback"]


def test_a_warning_and_a_migration_of_sqlalchemy_and_alembic(tmp_path: Path) -> None:
    code = f"""
import asyncio, sqlalchemy.util
from codexrun_core.registry import Registry
sqlalchemy.util.warn("a cartesian product")
async def main():
    async with await Registry.open("sqlite:///{tmp_path}/registry.db") as registry:
        await registry.migrate()
        logging.getLogger("sqlalchemy.engine").setLevel("INFO")
        await registry.present("codexrun")
asyncio.run(main())
"""
    lines = printed(code)
    (warning,) = [line for line in lines if line["logger"] == "py.warnings"]
    assert warning["level"] == "warning"
    assert "SAWarning: a cartesian product" in warning["event"]
    assert {"alembic.runtime.migration"} < {line["logger"] for line in lines}
    assert any(
        line["logger"].startswith("sqlalchemy.engine") and "SELECT" in line["event"]
        for line in lines
    )


def test_an_exception_brings_its_traceback_in_the_same_line() -> None:
    code = (
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    log.exception('run.broken',"
        " extra=fields(run_id='r', attempt=2))"
    )
    (line,) = printed(code)
    assert (line["level"], line["event"], line["run_id"], line["attempt"]) == (
        "error",
        "run.broken",
        "r",
        2,
    )
    assert "ZeroDivisionError" in line["traceback"]


@pytest.mark.parametrize(
    ("code", "ends_with"),
    [
        ("raise RuntimeError('nobody caught')", 1),
        ("import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start(); t.join()", 0),
        (
            (
                "import asyncio\nasync def f():\n    asyncio.get_running_loop().call_soon(lambda: 1"
                " / 0)\n    await asyncio.sleep(0.01)\nasyncio.run(f())"
            ),
            0,
        ),
        ("class A:\n    def __del__(self): 1 / 0\nA()", 0),
    ],
    ids=["main thread", "another thread", "event loop", "destructor"],
)
def test_what_nobody_caught(code: str, ends_with: int) -> None:
    (line,) = printed(code, ends_with=ends_with)
    assert line["level"] in ("error", "critical")
    assert "Error" in line["traceback"]


def test_stray_prints() -> None:
    code = (
        "import sys\nprint('one\\n\\ntwo', end='')\nprint(' and more');"
        " sys.stderr.write('three\\n'); print('100%', 1)"
    )
    assert [(line["logger"], line["event"]) for line in printed(code)] == [
        ("stdout", "one"),
        ("stdout", "two and more"),
        ("stderr", "three"),
        ("stdout", "100% 1"),
    ]


def test_a_line_of_kopf_names_its_object() -> None:
    code = """
import kopf
from kopf._core.actions.loggers import ObjectLogger
body = kopf.Body({"apiVersion": "codexrun.dev/v1alpha1", "kind": "CodexRun",
                  "metadata": {"name": "hello", "namespace": "codexrun", "uid": "u"}})
told = ObjectLogger(body=body, settings=kopf.OperatorSettings())
told.warning("Handler %r failed.", "run_event")
told.info("Handler succeeded")
"""
    (line,) = printed(code)  # what is below a warning says nothing that ours do not say
    assert (line["name"], line["namespace"]) == ("hello", "codexrun")
    assert line["event"] == "Handler 'run_event' failed."


def test_odd_lines_stay_lines() -> None:
    code = """
log.info("a\\nb \\u2028 \\ud800")
log.info("%d of %d", "x")
log.info("trace.level", extra={"levelno_": 1}); log.log(5, "hidden")
CONTEXT.set({"request_id": "r-1"})
import datetime
day = datetime.date(2026, 1, 2)
log.info("run.odd", extra=fields(level="loud", ts="never", name=None, when=day))
"""
    first, second, third, last = printed(code)
    assert first["event"].startswith("a\nb")
    assert "%d of %d" in second["event"]
    assert third["event"] == "trace.level"
    assert (last["level"], last["request_id"], last["when"], "name" in last) == (
        "info",
        "r-1",
        "2026-01-02",
        False,
    )


def test_lines_are_counted_by_level() -> None:
    begin = BEGIN.replace("'INFO')", "'DEBUG', seen.append)").replace(
        "\nlog_to", "\nseen = []\nlog_to"
    )
    lines = printed(
        "log.debug('a'); log.log(25, 'b'); log.log(60, 'c'); print('d')\nlog.info(str(seen))", begin
    )
    assert lines[-1]["event"] == "['debug', 'info', 'critical', 'info']"


@pytest.mark.parametrize("module", ["codexrun_operator", "codexrun_api"])
def test_a_process_that_cannot_start_says_so_in_a_line(module: str) -> None:
    (line,) = printed(
        f"import sys, {module}.__main__ as m; sys.exit(m.main())", begin="", ends_with=2
    )
    assert line["event"].endswith(".misconfigured")
    assert "CODEX" in line["error"]


def test_the_gate_s_libraries_and_crashes_are_lines_of_the_gate() -> None:
    code = """
import logging, warnings
from codexrun_pod import uncaught
uncaught.install("gate", run_id="r", attempt=1)
logging.getLogger("aiohttp.server").error("Error handling request", exc_info=ValueError("x"))
warnings.warn("old")
raise RuntimeError("lost")
"""
    lines = printed(code, begin="", ends_with=1)
    assert [(line["src"], line["level"], line["run_id"]) for line in lines] == [
        ("gate", "error", "r"),
        ("gate", "warning", "r"),
        ("gate", "error", "r"),
    ]
    assert "RuntimeError: lost" in lines[-1]["reason"]


LINE = {"ts": "2026-11-24T12:00:00.000Z", "level": "info", "logger": "x", "event": "a.b"}
POD_LINE = {"ts": "2026-11-24T12:00:00.000Z", "src": "codex", "text": "a"}
GATE_LINE = {**POD_LINE, "src": "gate", "level": "info"}


def test_the_schema_takes_what_is_right() -> None:
    more = {"status": "running", "phase": "codex", "duration_ms": 3, "attempt": 1, "whatever": [1]}
    assert not wrong_lines(map(json.dumps, (LINE, LINE | more, POD_LINE, GATE_LINE | more)))


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        [],
        {},
        {key: value for key, value in LINE.items() if key != "level"},
        LINE | {"event": {"type": "a"}},
        LINE | {"level": "loud"},
        LINE | {"ts": "yesterday"},
        LINE | {"duration_ms": 1.5},
        LINE | {"status": "Running"},
        LINE | {"phase": "Running"},
        POD_LINE | {"event": {}},
        POD_LINE | {"src": "somebody"},
        {key: value for key, value in GATE_LINE.items() if key != "level"},
    ],
    ids=str,
)
def test_the_schema_refuses(line: Any) -> None:
    assert wrong_lines([line if isinstance(line, str) else json.dumps(line)])


def test_the_documentation_explains_the_schema_s_fields() -> None:
    explained = set(
        re.findall(
            r"`(\w+)`",
            " ".join(re.findall(r"^\| (`.*?) \|", (ROOT / "docs/logs.md").read_text(), re.M)),
        )
    )
    described = {
        name
        for part in SCHEMA["$defs"].values()
        for name, field in part["properties"].items()
        if field
    }
    assert described == explained
