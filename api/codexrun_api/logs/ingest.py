"""The ingest port: what the gates of runs ship. Never exposed beyond the cluster, and open to
nobody but them.

POST /ingest/log?offset=N[&end=complete|cut]  -> {"size": N, "ended": bool}: append by offset,
                                                 which is the attempt's own
POST /ingest/usage                            -> {}: the account so far
PUT  /ingest/artifacts/<name>                 -> {}
GET  /ingest/rollout                          -> that of the run that this one resumes
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from codexrun_api.archive.archive import Archive, RunFull, Superseded
from codexrun_api.archive.notifier import LogNotifier
from codexrun_api.archive.volume import Full
from codexrun_api.archive.whole_file import WholeFile
from codexrun_api.http.head_bounds import BoundedHeads
from codexrun_api.logs.gate_identity import Authenticate, GateIdentity
from codexrun_api.logs.sealing import cut_line
from codexrun_api.logs.token_claims import NotAGate
from codexrun_core.errors import Unavailable
from codexrun_core.logs import fields
from codexrun_core.pod_contract import MAX_ARTIFACT_BYTES, MAX_LOG_BYTES, MIB, ROLLOUT
from codexrun_core.resources import Usage
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.resume import (
    NOTHING_STORED,
    UID_REQUIRED,
    UNKNOWN_SOURCE,
    resume_problem,
    setup_of,
)

log = logging.getLogger(__name__)

MAX_LOG_REQUEST_BYTES = MIB
MAX_USAGE_BYTES = 16 * 1024
# Runs and artifacts whose last note and number of uploads are known. A log that is forgotten is
# noted once more, and uploads of one are counted anew.
RUNS_KEPT = 10_000
MAX_UPLOADS = 20  # of one artifact of a run; the runner itself sends each once
ROW_SECONDS = 5.0  # how often a growing log is noted in its row
TOLD_SECONDS = 60.0  # how often a line of log says that the volume is full: each gate comes again
CUT = "the agent's container ended before all of its log was transferred"

OnUsage = Callable[[str, Usage, datetime | None], Awaitable[object]]
OnLog = Callable[[str, str, int, bool | None, str | None], Awaitable[object]]
FindRun = Callable[[str], Awaitable[RunRecord | None]]
IsRemoved = Callable[[str], Awaitable[bool]]


class GateUsage(Usage):
    """The account so far, as a gate sends it."""

    waiting_until: datetime | None = None


class Ingest:
    """The routes. on_usage(run_id, usage, waiting_until), on_log(run_id, path, bytes, complete,
    note): into the registry. find_run(run_id): what is recorded of a run. is_removed(run_id):
    whether retention has removed it."""

    def __init__(
        self,
        archive: Archive,
        authenticate: Authenticate,
        on_usage: OnUsage,
        on_log: OnLog,
        *,
        find_run: FindRun,
        is_removed: IsRemoved,
        notifier: LogNotifier,
    ) -> None:
        self.archive = archive
        self.authenticate = authenticate
        self.on_usage = on_usage
        self.on_log = on_log
        self.find_run = find_run
        self.is_removed = is_removed
        self.notifier = notifier
        # from when on a live run's row is told of its log's size again
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._uploads: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._full_told = -TOLD_SECONDS

    async def post_log(self, request: Request) -> Response:
        identity = await self._identity(request)
        offset = request.query_params.get("offset", "")
        end = request.query_params.get("end")
        if (
            not offset.isascii()
            or not offset.isdecimal()
            or len(offset) > 12
            or end not in (None, "complete", "cut")
        ):
            raise HTTPException(
                400, 'offset must be a number of bytes, and end must be "complete" or "cut"'
            )
        data = await _body(request, MAX_LOG_REQUEST_BYTES)
        if int(offset) + len(data) > MAX_LOG_BYTES:
            raise HTTPException(
                413, f"the log of an attempt may be at most {MAX_LOG_BYTES} bytes long"
            )
        archive = self.archive
        run_id = identity.run_id
        await self._require_not_removed(run_id)
        size, ended = await asyncio.to_thread(
            archive.append_attempt, run_id, identity.attempt, int(offset), data
        )
        if end and (ended or size == int(offset) + len(data)):
            await self._seal(identity, complete=end == "complete")
            ended = True
        elif data and not ended and time.monotonic() >= self._noted.get(run_id, 0.0):
            self._noted[run_id] = time.monotonic() + ROW_SECONDS
            if len(self._noted) > RUNS_KEPT:
                self._noted.popitem(last=False)
            try:
                await self._note(run_id)
            except Unavailable as error:
                log.warning("log.not_noted", extra=fields(run_id=run_id, error=str(error)))
        self.notifier.notify(run_id)
        return JSONResponse({"size": size, "ended": ended})

    async def _seal(self, identity: GateIdentity, *, complete: bool) -> None:
        """Seal the log first, then note it in its row; when the registry is away the gate comes
        again, and only the note is caught up on."""
        run_id = identity.run_id
        last = b"" if complete else cut_line(identity.run_id, identity.attempt, CUT)
        note = None if complete else CUT
        await asyncio.to_thread(
            self.archive.seal, run_id, identity.attempt, complete=complete, note=note, last=last
        )
        self._noted.pop(run_id, None)
        self.notifier.notify(run_id)
        log_state = self.archive.log(run_id)
        await self._note(run_id, complete=log_state.complete, note=log_state.note)
        log.info(
            "log.ended",
            extra=fields(run_id=run_id, attempt=identity.attempt, complete=log_state.complete),
        )

    async def post_usage(self, request: Request) -> Response:
        identity = await self._identity(request)
        try:
            usage = GateUsage.model_validate(json.loads(await _body(request, MAX_USAGE_BYTES)))
        except (ValueError, RecursionError) as error:
            raise HTTPException(
                422, f"the request body is not a valid usage report: {error}"
            ) from error
        if usage.cost_micro_usd is not None:
            usage = usage.model_copy(update={"cost_cents": -(-usage.cost_micro_usd // 10_000)})
        await self.on_usage(identity.run_id, usage, usage.waiting_until)
        return JSONResponse({})

    async def put_artifact(self, request: Request) -> Response:
        identity = await self._identity(request)
        name = request.path_params["name"]
        if name not in MAX_ARTIFACT_BYTES:
            names = ", ".join(MAX_ARTIFACT_BYTES)
            raise HTTPException(404, f'"{name}" is not the name of an artifact; use {names}')
        uploads = self._uploads.get((identity.run_id, name), 0)
        if uploads >= MAX_UPLOADS:
            # The gate keeps what is here and goes on with the rest.
            raise HTTPException(
                409, f"{name} was already stored {MAX_UPLOADS} times; the last upload is kept"
            )
        await self._require_not_removed(identity.run_id)
        received = 0
        # Each step in a thread: to open, to write and above all to sync waits for the disk.
        file = await asyncio.to_thread(self.archive.open_artifact, identity.run_id, name)
        try:
            async for part in request.stream():
                received += len(part)
                if received > MAX_ARTIFACT_BYTES[name]:
                    raise HTTPException(
                        413, f"{name} may be at most {MAX_ARTIFACT_BYTES[name]} bytes long"
                    )
                await asyncio.to_thread(self._write, file, part)
            await asyncio.to_thread(file.commit)
            self._count_upload(identity.run_id, name)
        finally:
            await asyncio.to_thread(file.close)
        log.info(
            "artifact.kept", extra=fields(run_id=identity.run_id, artifact=name, bytes=received)
        )
        return JSONResponse({})

    def _write(self, file: WholeFile, data: bytes) -> None:
        self.archive.check_room(len(data))
        file.write(data)

    def _count_upload(self, run_id: str, name: str) -> None:
        """Count an artifact that was stored; an agent may replace its own again and again."""
        key = (run_id, name)
        self._uploads[key] = self._uploads.get(key, 0) + 1
        self._uploads.move_to_end(key)
        if len(self._uploads) > RUNS_KEPT:
            self._uploads.popitem(last=False)

    async def get_rollout(self, request: Request) -> Response:
        """Hand out the rollout of the run that the gate's own resumes, where both runs were
        admitted with the same job type, prompt, model and workspace. The operator has judged that
        too, but where the earlier run's object was gone."""
        identity = await self._identity(request)
        if identity.resumes is None:
            raise HTTPException(409, UID_REQUIRED)
        run = await self.find_run(identity.run_id)
        if run is None or run.prompt_sha256 is None:
            raise HTTPException(
                503,
                "the setup of this run (job type, prompt, model) is not recorded yet; try again",
            )
        source = await self.find_run(identity.resumes)
        if source is None:
            raise HTTPException(404, UNKNOWN_SOURCE)
        if problem := resume_problem(setup_of(run), setup_of(source)):
            log.warning(
                "rollout.refused",
                extra=fields(run_id=identity.run_id, source=source.run_id, reason=problem),
            )
            raise HTTPException(409, problem)
        path = self.archive.artifact(source.run_id, ROLLOUT)
        if path is None:
            raise HTTPException(404, NOTHING_STORED)
        return FileResponse(path, media_type="application/x-ndjson")

    async def _require_not_removed(self, run_id: str) -> None:
        """Refuse what would begin a folder anew. While the registry is away it does: the next
        cleanup removes it.

        Raises:
            HTTPException: 404, retention has removed the run.
        """
        if await asyncio.to_thread(self.archive.holds, run_id):
            return
        with contextlib.suppress(Unavailable):
            if await self.is_removed(run_id):
                raise HTTPException(404, "this run was removed; nothing more is stored for it")

    async def refuse_full(self, _: Request, error: Exception) -> Response:
        """Answer 507: the gate keeps what it has and comes again."""
        assert isinstance(error, Full)
        if (now := time.monotonic()) >= self._full_told + TOLD_SECONDS:
            self._full_told = now
            log.error("archive.full", extra=fields(error=error.strerror))
        return JSONResponse({"error": error.strerror}, 507)

    async def _identity(self, request: Request) -> GateIdentity:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        peer = request.client.host if request.client else ""
        try:
            return await self.authenticate(token.strip() if kind.lower() == "bearer" else "", peer)
        except NotAGate as error:
            log.warning("sender.refused", extra=fields(reason=str(error), route=request.url.path))
            raise HTTPException(error.status, str(error)) from error

    async def _note(
        self, run_id: str, *, complete: bool | None = None, note: str | None = None
    ) -> None:
        await self.on_log(
            run_id, self.archive.path(run_id), self.archive.size(run_id), complete, note
        )


def create_ingest_app(
    archive: Archive,
    authenticate: Authenticate,
    on_usage: OnUsage,
    on_log: OnLog,
    *,
    find_run: FindRun,
    is_removed: IsRemoved,
    notifier: LogNotifier | None = None,
) -> Starlette:
    """Return the application of the ingest port. notifier: told when a log has grown, for
    followers in the same process."""
    ingest = Ingest(
        archive,
        authenticate,
        on_usage,
        on_log,
        find_run=find_run,
        is_removed=is_removed,
        notifier=notifier or LogNotifier(),
    )
    routes = [
        Route("/ingest/log", ingest.post_log, methods=["POST"]),
        Route("/ingest/usage", ingest.post_usage, methods=["POST"]),
        Route("/ingest/artifacts/{name}", ingest.put_artifact, methods=["PUT"]),
        Route("/ingest/rollout", ingest.get_rollout, methods=["GET"]),
    ]
    refusals = {
        HTTPException: _refuse,
        Superseded: _refuse,
        RunFull: _refuse,
        Unavailable: _refuse,
        ClientDisconnect: _refuse,
        Full: ingest.refuse_full,
        OSError: _refuse,
    }
    return Starlette(
        routes=routes, exception_handlers=refusals, middleware=[Middleware(BoundedHeads)]
    )


async def _body(request: Request, limit: int) -> bytes:
    parts = []
    received = 0
    async for part in request.stream():
        received += len(part)
        if received > limit:
            raise HTTPException(413, f"the request body may be at most {limit} bytes long")
        parts.append(part)
    return b"".join(parts)


async def _refuse(_: Request, error: Exception) -> Response:
    match error:
        case HTTPException():
            return JSONResponse({"error": error.detail}, error.status_code)
        case Superseded():
            return JSONResponse({"error": str(error)}, 409)
        case RunFull():
            return JSONResponse({"error": str(error)}, 413)
        case Unavailable():
            return JSONResponse({"error": str(error)}, 503)
        case ClientDisconnect():
            return JSONResponse({"error": "the request body is incomplete"}, 400)
    log.error("archive.failed", extra=fields(error=str(error)))
    return JSONResponse({"error": "the archive cannot store data at the moment"}, 507)
