"""`python shipping_server.py PORT ROOT`: the real archive, ingest port and logs routes in one
process, without a cluster.

Tokens are `<run_id>/<attempt>[/<run_id it resumes>]`; what a registry would be told is appended to
ROOT/told.jsonl, a run has ended once ROOT/<run_id>.ended is there, and ROOT/<run_id>.record (JSON)
changes what is recorded of it.
"""

import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from codexrun_api.archive.archive import Archive
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.logs import artifact_routes, routes
from codexrun_api.logs.gate_identity import GateIdentity
from codexrun_api.logs.ingest import create_ingest_app
from codexrun_api.logs.token_claims import NotAGate
from codexrun_api.schemas import problems
from codexrun_core.runs.record import RunRecord

NOW = datetime(2026, 1, 31, tzinfo=UTC)


async def authenticate(token, _peer):
    run_id, _, rest = token.partition("/")
    attempt, _, resumes = rest.partition("/")
    if not attempt.isdecimal():
        raise NotAGate(401, "no token of a pod")
    return GateIdentity(run_id, int(attempt), "pod", resumes or None)


async def main(port, root):
    archive = Archive(root / "archive")
    notifier = LogNotifier()
    stop = asyncio.Event()
    archive.open()

    def tell(**about):
        with (root / "told.jsonl").open("a") as file:
            file.write(json.dumps(about) + "\n")

    async def on_usage(run_id, usage, _waiting_until):
        tell(run_id=run_id, usage=usage.model_dump(mode="json"))

    async def on_log(run_id, path, size, complete, note):
        tell(run_id=run_id, path=path, bytes=size, complete=complete, note=note)

    async def is_removed(_run_id):
        return False

    async def find(run_id):
        status = "succeeded" if (root / f"{run_id}.ended").exists() else "running"
        changed = root / f"{run_id}.record"
        about = json.loads(changed.read_text()) if changed.exists() else {}
        given = {"job_type": "hello", "status": status, "prompt_sha256": "a" * 64, "model": "m"}
        return RunRecord(
            run_id=run_id,
            name="hello-1",
            namespace="codexrun",
            created_at=NOW,
            updated_at=NOW,
            **given | about,
        )

    app = FastAPI()
    app.state.services = SimpleNamespace(
        find=find,
        archive=archive,
        notifier=notifier,
        stop=stop,
        tokens=SimpleNamespace(user=lambda _: "me"),
        settings=SimpleNamespace(external_url=""),
    )
    app.add_exception_handler(problems.Problem, problems.handle)
    app.include_router(routes.router)
    app.include_router(artifact_routes.router)
    app.mount(
        "/",
        create_ingest_app(
            archive,
            authenticate,
            on_usage,
            on_log,
            find_run=find,
            is_removed=is_removed,
            notifier=notifier,
        ),
    )
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    )
    server.install_signal_handlers = lambda: None

    def end():
        stop.set()
        server.should_exit = True

    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, end)
    await server.serve()


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
