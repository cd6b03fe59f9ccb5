"""A team's afternoon: job types, prompts and runs in every state, with logs and artifacts. For
pictures, or a look by hand:

PYTHONPATH=tests/support:tests/support/fakes python tests/support/stands/console_seed.py

prints the address, and serves it until Ctrl-C
"""

import asyncio
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apistand import TOKEN
from console_stand import Console, item, running, said
from manifests import job_type, prompt

from codexrun_core.runs.record import RunRecord

# Every page, in every state that looks different; `{…}` is of the ids that `fill` returns.
PAGES = {
    "runs": "/console/runs",
    "runs-filtered": "/console/runs?status=failed&job_type=code-review&search=budget",
    "empty": "/console/runs?search=nothing-like-it",
    "run": "/console/runs/{running}",
    "run-done": "/console/runs/{done}",
    "run-log": "/console/runs/{done}?tab=log",
    "run-log-search": "/console/runs/{done}?tab=log&q=settle",
    "run-prompt": "/console/runs/{done}?tab=prompt",
    "run-artifacts": "/console/runs/{done}?tab=artifacts",
    "run-yaml": "/console/runs/{done}?tab=yaml",
    "run-queued": "/console/runs/{queued}",
    "run-stopping": "/console/runs/{notes}",
    "run-failed": "/console/runs/{failed}",
    "run-rejected": "/console/runs/{rejected}",
    "choose": "/console/start",
    "start": "/console/start/code-review",
    "rerun": "/console/runs/{done}/rerun",
    "jobtypes": "/console/jobtypes",
    "jobtype": "/console/jobtypes/fix-test",
    "prompts": "/console/prompts",
    "prompt": "/console/prompts/code-review?version=v7&against=v6",
    "prompt-mismatch": "/console/prompts/fix-test?version=v2",
    "cost": "/console/cost?days=14&by=label:team",
    "compare": "/console/compare?a={earlier}&b={done}",
    "compare-empty": "/console/compare",
    "health": "/console/health",
    "error": "/console/runs/no-such-run",
}
TEAMS = {"code-review": "payments", "fix-test": "platform", "release-notes": "release"}
REVIEW = """Review the change in `/workspace` against `main`.

Look for: {{focus}}

Read the code around each change first. Report at most ten findings, the worst first, each with \
file and line.
"""
MESSAGE = """## 2 findings

1. **Race in `settle()`** (`payments/settle.py:48`): the lock is taken *after* the row is read, \
so two workers can settle the same
   payment twice. Take the lock first.
2. **Missing index** on `refunds(payment_id)`: the new query reads the whole table.

| | before | after |
|---|---|---|
| tests | 412 passed | 412 passed |
| coverage | 91 % | 91 % |

Nothing else in the change looks risky.
"""
PATCH = """diff --git a/payments/settle.py b/payments/settle.py
index 31c0d4e..a8f2211 100644
--- a/payments/settle.py
+++ b/payments/settle.py
@@ -45,8 +45,8 @@ async def settle(id: PaymentId) -> Receipt:
-    row = await get(id)
-    async with lock(id):
-        if row.settled:
+    async with lock(id):
+        row = await get(id)
+        if row.settled:
             return row.receipt
"""


def usage(tokens: int, micro: int | None, requests: int = 9, complete: bool = True) -> dict:
    cached = int(tokens * 0.62)
    output = int(tokens * 0.06)
    used = {
        "inputTokens": tokens - output,
        "cachedInputTokens": cached,
        "outputTokens": output,
        "reasoningTokens": output // 3,
    }
    cost = (
        {}
        if micro is None
        else {"costMicroUSD": micro, "costCents": -(-micro // 10_000), "priceTable": "2026-06-12"}
    )
    return {**used, "totalTokens": tokens, "requests": requests, "complete": complete, **cost}


def conditions(
    now: datetime, *, age: float, took: float = 2, ended: bool | None = None
) -> list[dict]:
    def one(kind: str, after: float, status: str = "True", reason: str = "") -> dict:
        at = (now - timedelta(seconds=age - after)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": kind,
            "status": status,
            "reason": reason or kind,
            "message": "",
            "lastTransitionTime": at,
        }

    result = {None: "Unknown", True: "True", False: "False"}[ended]
    return [
        one("Accepted", 0),
        one("Admitted", 2),
        one("Started", 6),
        one("Succeeded", 6 + took, result, "Running" if ended is None else ""),
    ]


def talk(console: Console, run_id: str, begin: datetime, *, over: bool) -> None:
    """A review as Codex tells it."""

    def at(seconds: float) -> datetime:
        return begin + timedelta(seconds=seconds)

    ts = begin.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    diff_stat = (
        " payments/settle.py | 48 \x1b[32m+++++++++++++++++\x1b[31m-----\x1b[0m\n"
        " payments/refund.py | 12 \x1b[32m++++\x1b[0m\n"
    )
    tests = "".join(
        f"tests/api/test_{n}.py \x1b[32m{'.' * (18 + i % 7)}\x1b[0m\n"
        for i, n in enumerate(("settle", "refund", "ledger", "payout") * 5)
    )
    console.say(
        run_id,
        {
            "ts": ts,
            "src": "runner",
            "text": "run.started",
            "status": "starting",
            "phase": "admit",
            "attempt": 1,
        },
        {
            "ts": ts,
            "src": "runner",
            "text": "prompt.rendered",
            "status": "running",
            "phase": "prompt",
            "duration_ms": 41,
        },
        said(
            {"type": "thread.started", "thread_id": "01a20abe-ad05-73e0-88d5-a643e7fe6c6c"}, at(0)
        ),
        said({"type": "turn.started"}, at(0.1)),
        item(
            "reasoning",
            0,
            at=at(2),
            text="**Planning the review**\n\nI should see what changed before I read around it.",
        ),
        item(
            "agent_message", 1, at=at(4), text="I'll read the change and the code around it first."
        ),
        item(
            "todo_list",
            2,
            "started",
            at(4.2),
            items=[
                {"text": "Read the change", "completed": True},
                {"text": "Read the callers of settle()", "completed": True},
                {"text": "Run the tests", "completed": over},
                {"text": "Report", "completed": over},
            ],
        ),
        item(
            "command_execution",
            3,
            "started",
            at(5),
            command="/bin/bash -lc 'git diff --stat main...HEAD'",
            aggregated_output="",
            exit_code=None,
            status="in_progress",
        ),
        item(
            "command_execution",
            3,
            "completed",
            at(5.4),
            command="/bin/bash -lc 'git diff --stat main...HEAD'",
            aggregated_output=diff_stat,
            exit_code=0,
            status="completed",
        ),
        item(
            "command_execution",
            4,
            "started",
            at(9),
            command="/bin/bash -lc 'rg -n \"settle\\(\" payments'",
            aggregated_output="",
            exit_code=None,
            status="in_progress",
        ),
        item(
            "command_execution",
            4,
            "completed",
            at(9.2),
            command="/bin/bash -lc 'rg -n \"settle\\(\" payments'",
            aggregated_output="payments/worker.py:31:        await settle(payment.id)\n"
            "payments/api.py:112:    return await settle(id)\n",
            exit_code=0,
            status="completed",
        ),
        item(
            "agent_message",
            5,
            at=at(21),
            text="The lock is taken *after* the read in `settle()`; a second worker can settle"
            " twice. I'll write the fix and a test.",
        ),
        item(
            "file_change",
            6,
            "completed",
            at(33),
            changes=[
                {"path": "payments/settle.py", "kind": "update"},
                {"path": "tests/api/test_settle_twice.py", "kind": "add"},
            ],
            status="completed",
        ),
        item(
            "mcp_tool_call",
            7,
            "completed",
            at(36),
            server="tickets",
            tool="search",
            arguments={"q": "settle twice"},
            result={"content": [{"type": "text", "text": "PAY-118: double settlement in March"}]},
            error=None,
            status="completed",
        ),
        item(
            "command_execution",
            8,
            "started",
            at(40),
            command="/bin/bash -lc 'pytest -x tests/api'",
            aggregated_output="",
            exit_code=None,
            status="in_progress",
        ),
    )
    if over:
        console.say(
            run_id,
            item(
                "command_execution",
                8,
                "completed",
                at(96),
                command="/bin/bash -lc 'pytest -x tests/api'",
                aggregated_output=tests + "\x1b[32m\x1b[1m412 passed\x1b[0m in 54.21s\n",
                exit_code=0,
                status="completed",
            ),
            item(
                "command_execution",
                9,
                "completed",
                at(99),
                command="/bin/bash -lc 'ruff check payments'",
                aggregated_output="payments/settle.py:3:1: \x1b[31mF401\x1b[0m `asyncio` imported"
                " but unused\nFound 1 error.\n",
                exit_code=1,
                status="failed",
            ),
            item("error", 10, at=at(100), message="Reconnecting... 1/5 (stream closed)"),
            said({"type": "context.compacted", "before": 91204, "after": 30118}, at(101)),
            item("agent_message", 11, at=at(120), text=MESSAGE),
            said(
                {
                    "type": "turn.completed",
                    "usage": {
                        "input_tokens": 57341,
                        "cached_input_tokens": 31400,
                        "output_tokens": 3661,
                        "reasoning_output_tokens": 1210,
                    },
                },
                at(121),
            ),
            {
                "ts": at(121).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "src": "runner",
                "text": "run.ended",
                "status": "succeeded",
                "phase": "report",
                "exit_code": 0,
            },
        )
        console.archive.seal(run_id, 1, complete=True)


async def fill(console: Console, history: int = 300) -> dict[str, str]:
    """Everything; ids by name of the runs that pictures show."""
    kube = console.kube
    now = datetime.now(UTC)
    schema = {
        "type": "object",
        "required": ["focus"],
        "properties": {
            "focus": {
                "type": "string",
                "minLength": 1,
                "maxLength": 2000,
                "title": "Focus",
                "description": "What the review looks for, such as error handling"
                " in the HTTP client.",
            },
            "depth": {"enum": ["quick", "normal", "deep"], "default": "normal", "title": "Depth"},
            "max_findings": {
                "type": "integer",
                "minimum": 1,
                "maximum": 50,
                "default": 10,
                "title": "Findings at most",
            },
            "suggest_patch": {"type": "boolean", "default": True, "title": "Suggest a patch"},
            "paths": {
                "type": "array",
                "items": {"type": "string"},
                "title": "Paths",
                "description": "Only these, if any.",
            },
        },
    }
    limits = {"maxTokens": 200_000, "timeoutSeconds": 900, "stallSeconds": 180, "startSeconds": 600}
    ready = {
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "",
                "lastTransitionTime": "2026-01-31T12:00:00Z",
            }
        ]
    }
    git = {"allowedURLs": ["https://git.example.com/payments/*"]}
    kinds = [
        job_type(
            "code-review",
            description="Reviews a change and reports findings as Markdown.",
            prompt={"name": "code-review", "version": "v7", "allowOverride": True},
            inputsSchema=schema,
            limits=limits,
            git=git,
            allowedModels=["gpt-5.5", "gpt-5.5-mini"],
            allowedEfforts=["low", "medium", "high"],
            effort="medium",
        ),
        job_type(
            "fix-test",
            description="Finds out why a test fails, and fixes it.",
            prompt={"name": "fix-test", "version": "v3"},
            limits=limits,
            concurrencyLimit=2,
        ),
        job_type(
            "release-notes",
            description="Writes release notes from merged changes.",
            prompt={"name": "release-notes", "version": "v2"},
            limits=limits,
            concurrencyLimit=2,
        ),
        job_type(
            "dependency-update",
            description="Updates one dependency and makes the tests pass.",
            prompt={"name": "fix-test", "version": "v3"},
            limits=limits,
            suspended=True,
        ),
    ]
    for kind in kinds:
        kube.put(kube.job_types, {**kind, "status": ready})
    for version, extra in (
        ("v5", ""),
        ("v6", "Be brief.\n"),
        ("v7", "Be brief. Do not report style.\n"),
    ):
        kube.put(kube.config_maps, prompt("code-review", version, REVIEW + extra))
    kube.put(kube.config_maps, prompt("fix-test", "v2", "Fix {{test}}.\n", sha256="0" * 64))
    kube.put(
        kube.config_maps,
        prompt(
            "fix-test",
            "v3",
            "The test {{test}} fails. Find out why, and fix the cause, not the test.\n",
        ),
    )
    kube.put(
        kube.config_maps, prompt("release-notes", "v2", "Write release notes for {{version}}.\n")
    )
    sha = console.services.catalog
    await console.until(lambda: len(sha.prompts) == 7)

    def used(name: str, version: str) -> dict:
        return {
            "prompt": {
                "name": name,
                "version": version,
                "sha256": sha.prompts[name, version].sha256,
            }
        }

    job = {
        "jobName": "review-7x2kf-5b1e0c77-1",
        "podName": "review-7x2kf-5b1e0c77-1-lm2qd",
        "model": "gpt-5.5",
    }
    space = {
        "workspace": {
            "git": {"url": "https://git.example.com/payments/payments.git", "ref": "4f1c2d9"}
        }
    }
    review = used("code-review", "v7") | job
    focus = {"focus": "locking and money", "depth": "deep", "suggest_patch": True}
    ids: dict[str, str] = {}
    ids["notes"] = console.run(
        "notes-0c55m",
        "Stopping",
        age=380,
        job_type="release-notes",
        labels={"team": TEAMS["release-notes"]},
        user="release-bot",
        origin="kubectl",
        inputs={"version": "2.4"},
        spec={"cancel": {"requestedBy": "release-bot", "reason": "wrong branch"}},
        status=used("release-notes", "v2") | {"model": "gpt-5.5", "usage": usage(9_114, 51_000)},
    )
    ids["busy1"] = console.run(
        "fix-77hq2",
        "Running",
        age=500,
        job_type="fix-test",
        labels={"team": TEAMS["fix-test"]},
        user="ci",
        origin="api",
        inputs={"test": "tests/test_ledger.py::test_sum"},
        status=used("fix-test", "v3") | {"model": "gpt-5.5", "usage": usage(171_300, 902_000)},
    )
    ids["busy2"] = console.run(
        "fix-1m0wz",
        "Running",
        age=410,
        job_type="fix-test",
        labels={"team": TEAMS["fix-test"]},
        user="ci",
        origin="api",
        inputs={"test": "tests/test_api.py::test_slow"},
        status=used("fix-test", "v3") | {"model": "gpt-5.5", "usage": usage(88_020, 410_000)},
    )
    ids["queued"] = console.run(
        "fix-q81zt",
        "Queued",
        age=240,
        job_type="fix-test",
        labels={"team": TEAMS["fix-test"]},
        user="ci",
        origin="api",
        inputs={"test": "tests/test_web.py::test_login"},
        status={
            "reason": "ConcurrencyLimit",
            "attempt": None,
            "conditions": conditions(now, age=240)[:1],
        },
    )
    ids["starting"] = console.run(
        "review-9ab3c",
        "Starting",
        age=9,
        job_type="code-review",
        labels={"team": TEAMS["code-review"]},
        inputs=focus,
        spec=space,
        status=used("code-review", "v7") | {"model": "gpt-5.5", "reason": "ImagePull"},
    )
    ids["running"] = console.run(
        "review-7x2kf",
        "Running",
        age=150,
        job_type="code-review",
        labels={"team": TEAMS["code-review"]},
        user="platform",
        origin="api",
        inputs=focus,
        spec={**space, "limits": {"timeoutSeconds": 900}},
        status=review
        | {
            "usage": usage(48_210, 310_400),
            "conditions": conditions(now, age=150),
            "threadId": "01a20abe-ad05-73e0-88d5-a643e7fe6c6c",
        },
    )
    talk(console, ids["running"], now - timedelta(seconds=144), over=False)
    ids["failed"] = console.run(
        "fix-m20ws",
        "Failed",
        age=1320,
        took=662,
        job_type="fix-test",
        labels={"team": TEAMS["fix-test"]},
        user="ci",
        origin="api",
        inputs={"test": "tests/test_pay.py"},
        status=used("fix-test", "v3")
        | {
            "model": "gpt-5.5",
            "usage": usage(200_830, 1_271_000, 41),
            "failure": {
                "class": "budget",
                "message": "200,000 tokens spent, stopped in turn 14",
                "retryable": False,
            },
            "conditions": conditions(now, age=1320, took=662, ended=False),
        },
    )
    talk(console, ids["failed"], now - timedelta(seconds=1314), over=False)
    spent = {"message": "The run's token budget is spent (maxTokens: 200000)."}
    console.say(
        ids["failed"],
        said({"type": "turn.failed", "error": spent}, now - timedelta(seconds=652)),
    )
    console.archive.seal(ids["failed"], 1, complete=True)
    ids["done"] = console.run(
        "review-1b9aa",
        "Succeeded",
        age=1860,
        took=207,
        job_type="code-review",
        labels={"team": TEAMS["code-review"]},
        user="platform",
        origin="cli",
        inputs=focus,
        spec=space,
        status=review
        | {
            "usage": usage(61_002, 380_700),
            "result": {"message": MESSAGE},
            "conditions": conditions(now, age=1860, took=207, ended=True),
            "threadId": "01a20abe-ad05-73e0-88d5-a643e7fe6c6c",
        },
    )
    talk(console, ids["done"], now - timedelta(seconds=1854), over=True)
    console.put(ids["done"], "final-message.md", MESSAGE.encode())
    console.put(ids["done"], "workspace.patch", PATCH.encode())
    console.put(ids["done"], "rollout.jsonl", b"{}\n" * 900)
    ids["earlier"] = console.run(
        "review-0d27e",
        "Succeeded",
        age=5400,
        took=311,
        job_type="code-review",
        labels={"team": TEAMS["code-review"]},
        user="platform",
        origin="cli",
        inputs={**focus, "depth": "normal"},
        spec=space,
        status=used("code-review", "v6")
        | {
            "model": "gpt-5.5",
            "usage": usage(94_310, 571_200),
            "result": {
                "message": "## 1 finding\n\n1. **Missing index** on `refunds(payment_id)`.\n"
            },
        },
    )
    ids["rejected"] = console.run(
        "review-bad01",
        "Rejected",
        age=2700,
        job_type="code-review",
        labels={"team": TEAMS["code-review"]},
        user="ada",
        origin="kubectl",
        inputs={},
        status={
            "reason": "InvalidInputs",
            "message": "spec.inputs: 'focus' is a required property;"
            " the job type's inputsSchema says what is expected",
            "attempt": None,
        },
    )
    ids["cancelled"] = console.run(
        "notes-8a1f0",
        "Cancelled",
        age=3000,
        took=120,
        job_type="release-notes",
        labels={"team": TEAMS["release-notes"]},
        user="ada",
        inputs={"version": "2.3"},
        status=used("release-notes", "v2")
        | {
            "model": "gpt-5.5",
            "message": "Cancelled by ada: superseded",
            "usage": usage(12_400, 60_100, complete=False) | {"atMostTokens": 19_300},
        },
    )
    await console.mirrored()
    await _history(console, history, now)
    return ids


async def _history(console: Console, count: int, now: datetime) -> None:
    """Weeks of runs whose objects are gone."""
    dice = random.Random(7)
    kinds = (
        ("code-review", "code-review", ("v5", "v6", "v7")),
        ("fix-test", "fix-test", ("v3",)),
        ("release-notes", "release-notes", ("v2",)),
    )
    for n in range(count):
        kind, name, versions = dice.choices(kinds, (5, 3, 2))[0]
        created = now - timedelta(seconds=7000 + n * dice.randint(1500, 6500))
        status = dice.choices(("succeeded", "failed", "cancelled"), (92, 6, 2))[0]
        tokens = int(dice.lognormvariate(10.8, 0.6))
        took = timedelta(seconds=dice.lognormvariate(5.2, 0.5))
        said_ = {
            "succeeded": {
                "result": dice.choice(
                    (
                        "No findings.",
                        "1 finding: a lock is held over a network call.",
                        "Fixed: the clock was not frozen.",
                        "Notes for 41 changes.",
                    )
                )
            },
            "failed": {"failure_class": "timeout", "error": "900 s are over"},
            "cancelled": {"error": "Cancelled by ada"},
        }[status]
        model = dice.choices(("gpt-5.5", "gpt-5.5-mini"), (4, 1))[0]
        await console.registry.record(
            RunRecord(
                run_id=f"{dice.getrandbits(32):08x}-0000-4000-8000-{n:012x}",
                name=f"{kind}-{dice.getrandbits(24):06x}",
                namespace="codexrun",
                job_type=kind,
                labels={"team": TEAMS[kind]},
                status=status,
                created_at=created,
                updated_at=created + took,
                started_at=created + timedelta(seconds=8),
                finished_at=created + took,
                prompt_name=name,
                prompt_version=dice.choice(versions),
                model=model,
                cost_tokens=tokens,
                cost_micro_usd=tokens * 6 if model == "gpt-5.5" else None,
                cost_cents=tokens * 6 // 10_000,
                input_tokens=tokens * 9 // 10,
                output_tokens=tokens // 10,
                requests=8,
                usage_complete=True,
                rank=5,
                requested_by=dice.choice(("ada", "ci", "platform")),
                origin=dice.choice(("api", "cli", "console")),
                params={"focus": "everything"},
                spec={"jobType": kind, "inputs": {"focus": "everything"}},
                deleted_at=created + timedelta(days=1),
                **said_,
            )
        )


async def serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as console:
            ids = await fill(console)
            print(f"{console.url}/console  token: {TOKEN}\n{ids}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(
            "usage: PYTHONPATH=tests/support:tests/support/fakes"
            " python tests/support/stands/console_seed.py"
        )
    asyncio.run(serve())
