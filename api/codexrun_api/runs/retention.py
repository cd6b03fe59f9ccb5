"""POST /cleanup: what is older than its time goes.

The artifacts first, the row last: a crash in between leaves a row whose folder is gone, which the
next call removes, and never a folder that no row knows. What comes of a removed run afterwards
makes no row again; a piece of log that the ingest port had to take while the registry was away goes
with the next call.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, Strict

from codexrun_api.http.auth import Caller
from codexrun_api.schemas import query_params, requests
from codexrun_api.schemas.problems import FieldError, answers, invalid
from codexrun_api.services import CurrentServices, Services
from codexrun_core.logs import fields
from codexrun_core.times import moment

log = logging.getLogger(__name__)

router = APIRouter(tags=["retention"])

BATCH_RUNS = 100
SHORTEST_AGE = timedelta(hours=1)  # without `force`: a slip of the pen removes not all there is


class CleanupRequest(requests.RequestBody):
    model_config = ConfigDict(json_schema_extra={"example": {"older_than": "14d", "dry_run": True}})

    older_than: Annotated[
        query_params.Time,
        Field(
            description=(
                "Remove runs that ended before this time: an age (14d, 12h) or an RFC 3339 time."
            )
        ),
    ] = "14d"
    dry_run: Annotated[bool, Strict()] = False
    force: Annotated[
        bool, Strict(), Field(description="Allow a time within the last hour for `older_than`.")
    ] = False


class CleanupAnswer(BaseModel):
    dry_run: bool
    before: datetime
    removed: Annotated[
        int, Field(description="Number of runs whose row was removed, or would be removed.")
    ]
    folders: Annotated[
        int,
        Field(
            description=(
                "Number of directories of logs and artifacts that were removed, or would be"
                " removed."
            )
        ),
    ]


@router.post("/cleanup", operation_id="cleanUp", responses=answers(401, 413, 422, 500, 503))
async def clean_up(
    request: Request,
    services: CurrentServices,
    user: Caller,
    body: CleanupRequest | None = None,
) -> CleanupAnswer:
    """Remove logs, artifacts and rows of runs that ended long ago; never of one that has not
    ended. Returns 422 if `older_than` is less than an hour, unless `force` or `dry_run` is set."""
    body = body or CleanupRequest()
    before = moment(body.older_than)
    if not (body.dry_run or body.force) and before > datetime.now(UTC) - SHORTEST_AGE:
        detail = (
            f"older_than: {body.older_than} would remove runs that ended within the last hour; use"
            " a greater age or an earlier time, or set force"
        )
        raise invalid(detail, FieldError(pointer="/older_than", detail=detail))
    if body.dry_run:
        expired = await services.registry.expired(before, 1_000_000)
        folders = await asyncio.to_thread(_count_true, services.archive.holds, expired)
        return CleanupAnswer(dry_run=True, before=before, removed=len(expired), folders=folders)
    removed = folders = 0
    while run_ids := await services.registry.expired(before, BATCH_RUNS):
        folders += await asyncio.to_thread(_count_true, services.archive.remove, run_ids)
        removed += await services.registry.remove(run_ids)
    folders += await _remove_late_folders(services)
    removal = fields(
        runs=removed,
        folders=folders,
        before=before,
        user=user,
        client=request.client.host if request.client else None,
    )
    log.info("runs.removed", extra=removal)
    return CleanupAnswer(dry_run=False, before=before, removed=removed, folders=folders)


async def _remove_late_folders(services: Services) -> int:
    """Remove what came of runs that had been removed already; return how many folders went."""
    folders = 0
    last = ""
    while run_ids := await services.registry.removed(services.settings.namespace, last):
        folders += await asyncio.to_thread(_count_true, services.archive.remove, run_ids)
        last = run_ids[-1]
    return folders


def _count_true(do: Callable[[str], bool], run_ids: list[str]) -> int:
    """Return for how many runs it was true."""
    return sum(map(do, run_ids))
