"""GET /runs/{id}/artifacts: what is kept of a run besides its log.

They are stored by archive/archive.py, and come in by ingest.py.
"""

import asyncio
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from codexrun_api.http.auth import Caller
from codexrun_api.schemas.problems import Problem, answers
from codexrun_api.services import CurrentServices, Run

# Never a type that a browser would run: the content is the agent's.
MEDIA_TYPES = {
    ".md": "text/markdown; charset=utf-8",
    ".patch": "text/x-patch; charset=utf-8",
    ".jsonl": "application/x-ndjson",
    ".json": "application/json",
}
router = APIRouter(tags=["artifacts"])

OTHER_MEDIA_TYPE = "application/octet-stream"

Name = Annotated[
    str,
    Path(
        min_length=1,
        max_length=100,
        pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]*$",
        examples=["final-message.md"],
    ),
]


class ArtifactView(BaseModel):
    name: Annotated[str, Field(examples=["workspace.patch"])]
    bytes: int
    updated_at: datetime
    url: Annotated[str, Field(description="Address to download it from.")]


class ArtifactList(BaseModel):
    artifacts: list[ArtifactView]


@router.get(
    "/runs/{id}/artifacts",
    operation_id="listRunArtifacts",
    responses=answers(401, 404, 422, 500, 503),
)
async def list_run_artifacts(services: CurrentServices, _: Caller, run: Run) -> ArtifactList:
    """The artifacts that the run has: final message, validated JSON output, patch of the
    workspace, Codex session file."""
    artifacts = await asyncio.to_thread(services.archive.list_artifacts, run.run_id)
    base = f"{services.settings.external_url}/runs/{run.run_id}/artifacts"
    views = [
        ArtifactView(name=a.name, bytes=a.bytes, updated_at=a.updated_at, url=f"{base}/{a.name}")
        for a in artifacts
    ]
    return ArtifactList(artifacts=views)


@router.get(
    "/runs/{id}/artifacts/{name}",
    operation_id="getRunArtifact",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The file.",
            "content": {
                kind.partition(";")[0]: {} for kind in (*MEDIA_TYPES.values(), OTHER_MEDIA_TYPE)
            },
        },
        **answers(401, 404, 422, 500, 503),
    },
)
async def get_run_artifact(
    services: CurrentServices, _: Caller, run: Run, name: Name
) -> FileResponse:
    """One artifact, as it was stored."""
    path = await asyncio.to_thread(services.archive.artifact, run.run_id, name)
    if path is None:
        raise Problem(
            404,
            "artifact-not-found",
            f'this run has no artifact "{name}"; GET /runs/{run.run_id}/artifacts lists its'
            " artifacts",
        )
    media_type = MEDIA_TYPES.get(path.suffix, OTHER_MEDIA_TYPE)
    return FileResponse(
        path, media_type=media_type, filename=name, headers={"X-Content-Type-Options": "nosniff"}
    )
