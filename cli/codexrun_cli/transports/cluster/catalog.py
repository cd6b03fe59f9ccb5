"""Job types and prompts, straight from the cluster."""

from collections.abc import Iterable
from typing import Any

from codexrun_cli.errors import Trouble
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports.cluster import views
from codexrun_core.kube.client import Kube
from codexrun_core.prompts.stored import TEXT_KEY
from codexrun_core.runs.names import PROMPT_LABEL, PROMPT_VERSION_LABEL

Json = dict[str, Any]


async def job_types(kube: Kube, runs: Iterable[Json]) -> list[Json]:
    """By name; runs: the CodexRuns that there are, which say how full each is."""
    kinds = await _items(kube, kube.job_types)
    held = [(raw["spec"]["jobType"], views.status_of(raw)) for raw in runs]
    named = sorted(kinds, key=lambda kind: str(kind["metadata"]["name"]))

    def read(kind: Json) -> Json:
        return views.job_type_json(
            kind, [status for name, status in held if name == kind["metadata"]["name"]]
        )

    return views.readable("codexjobtypes", named, read)


async def prompts(kube: Kube) -> list[Json]:
    """Every version that has been applied, by prompt."""
    maps = await _items(kube, kube.config_maps, labelSelector=PROMPT_LABEL)
    return views.prompts_json(maps, await _items(kube, kube.job_types))


async def prompt_text(kube: Kube, name: str, version: str) -> str:
    """The template as it was applied.

    Raises:
        Trouble: there is none such.
    """
    selector = f"{PROMPT_LABEL}={name},{PROMPT_VERSION_LABEL}={version}"
    for raw in await _items(kube, kube.config_maps, labelSelector=selector):
        return str((raw.get("data") or {}).get(TEXT_KEY, ""))
    raise Trouble(
        Code.NOT_FOUND,
        f'there is no prompt "{name}" with a version "{version}"',
        title="Not Found",
        hint="`codexrun prompts list` shows what there is",
    )


async def _items(kube: Kube, path: str, **selectors: str) -> list[Json]:
    return [raw async for page in kube.pages(path, **selectors) for raw in page["items"]]
