"""Job types and prompts, straight from the cluster."""

from collections.abc import Iterable
from typing import Any

from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports.cluster import views
from codexrun_cli.transports.schemas import JobType, Prompt
from codexrun_core.kube.client import Kube
from codexrun_core.prompts.stored import TEXT_KEY
from codexrun_core.runs.label_keys import PROMPT_LABEL, PROMPT_VERSION_LABEL

Json = dict[str, Any]


async def job_types(kube: Kube, runs: Iterable[Json]) -> list[JobType]:
    """Return the job types by name; runs: the CodexRuns that there are, which say how full each
    is."""
    raws = await _items(kube, kube.job_types)
    statuses: dict[str, list[str]] = {}
    for run in runs:
        statuses.setdefault(run["spec"]["jobType"], []).append(views.status_of(run))

    def read(raw: Json) -> JobType:
        return views.job_type_json(raw, statuses.get(raw["metadata"]["name"], []))

    by_name = sorted(raws, key=lambda raw: str(raw["metadata"]["name"]))
    return views.readable("codexjobtypes", by_name, read)


async def prompts(kube: Kube) -> list[Prompt]:
    """Return every version that has been applied, by prompt."""
    config_maps = await _items(kube, kube.config_maps, labelSelector=PROMPT_LABEL)
    return views.prompts_json(config_maps, await _items(kube, kube.job_types))


async def prompt_text(kube: Kube, name: str, version: str) -> str:
    """Return the template as it was applied.

    Raises:
        CommandError: there is no such version.
    """
    selector = f"{PROMPT_LABEL}={name},{PROMPT_VERSION_LABEL}={version}"
    for raw in await _items(kube, kube.config_maps, labelSelector=selector):
        return str((raw.get("data") or {}).get(TEXT_KEY, ""))
    raise CommandError(
        Code.NOT_FOUND,
        f'there is no prompt "{name}" {version}',
        hint="`codexrun prompts list` shows the prompts that exist",
    )


async def _items(kube: Kube, path: str, **selectors: str) -> list[Json]:
    return [raw async for page in kube.pages(path, **selectors) for raw in page["items"]]
