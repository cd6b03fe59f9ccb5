"""/console/compare?a=..&b=..: what differs between two runs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from codexrun_api.console.access import CurrentVisitor
from codexrun_api.console.templating import Page, off_loop, page
from codexrun_api.console.view import formats, safe_html, status_text
from codexrun_api.console.view.run_rows import ORIGINS
from codexrun_api.console.view.status_text import state_of
from codexrun_api.console.view.transcript import final_message
from codexrun_api.console.view.yaml_text import as_yaml
from codexrun_api.schemas.problems import not_found
from codexrun_api.services import CurrentServices
from codexrun_core.prompts.stored import StoredPrompt
from codexrun_core.runs.record import RunRecord

router = APIRouter(route_class=Page, include_in_schema=False)


@dataclass(frozen=True)
class Pair:
    name: str
    a: str
    b: str
    note: str = ""  # how much more or less

    @property
    def differs(self) -> bool:
        return self.a != self.b


@router.get("/console/compare")
async def compare(request: Request, services: CurrentServices, _: CurrentVisitor) -> Response:
    """Without both runs, a form that asks for them."""
    query = request.query_params
    names = [query.get("a", "").strip()[:63], query.get("b", "").strip()[:63]]
    selected = query.getlist("run")  # two selected rows of the list
    if len(selected) == 2 and not any(names):
        names = [name[:63] for name in selected]
    if not all(names):
        return page(request, "compare.html", a=None, b=None, wanted=names, pairs=[])
    records = [await services.find(name) for name in names]
    for name, record in zip(names, records, strict=True):
        if record is None:
            raise not_found(name)
    a, b = (record for record in records if record)
    only = query.get("only") == "1"
    all_pairs = pairs(a, b, datetime.now(UTC))
    texts = [
        services.catalog.prompts.get((r.prompt_name or "", r.prompt_version or "")) for r in (a, b)
    ]
    context: dict[str, Any] = {
        "a": a,
        "b": b,
        "wanted": names,
        "pairs": [pair for pair in all_pairs if pair.differs or not only],
        "same": sum(not pair.differs for pair in all_pairs),
        "only": only,
        **await off_loop(partial(_differences, a, b, texts)),
    }
    return page(request, "compare.html", **context)


def pairs(a: RunRecord, b: RunRecord, now: datetime) -> list[Pair]:
    """Return both runs side by side, in the order in which people ask. Pure."""
    seconds = [status_text.run_seconds(run, now) for run in (a, b)]
    inputs = sorted({*a.params, *b.params})
    return [
        _pair("Status", *(state_of(r.status).word for r in (a, b))),
        _pair("Failure", *(r.failure_class for r in (a, b))),
        _pair("Job type", a.job_type, b.job_type),
        _pair(
            "Prompt",
            *(f"{r.prompt_name} {r.prompt_version}" if r.prompt_name else None for r in (a, b)),
        ),
        _pair("Model", a.model, b.model),
        _pair("Effort", a.effort, b.effort),
        *(_pair(f"Input: {name}", *(_text(r.params.get(name)) for r in (a, b))) for name in inputs),
        _number("Duration", seconds[0], seconds[1], formats.duration),
        _number("Tokens", a.cost_tokens, b.cost_tokens, formats.count),
        _number("Output tokens", a.output_tokens, b.output_tokens, formats.count),
        _number("Cost", a.cost_micro_usd, b.cost_micro_usd, formats.money),
        _pair("Attempts", a.attempt, b.attempt),
        _pair("Started by", *(_starter(r) for r in (a, b))),
        _pair("Error", a.error, b.error),
    ]


def _pair(name: str, a: Any, b: Any) -> Pair:
    first, second = ("–" if value in (None, "") else str(value) for value in (a, b))
    return Pair(name, first, second)


def _starter(record: RunRecord) -> str:
    origin = ORIGINS.get(record.origin, record.origin)
    return f"{record.requested_by or 'unknown'}, {origin}"


def _number(name: str, a: Any, b: Any, form: Callable[[Any], str]) -> Pair:
    return Pair(name, form(a), form(b), _change(b, a))


def _text(value: Any) -> str | None:
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _change(new: float | None, old: float | None) -> str:
    if not old or new is None or new == old:
        return ""
    return f"{(new - old) / old:+.0%}"


def _message(record: RunRecord) -> str:
    return final_message(record.result or "").text


def _differences(
    a: RunRecord, b: RunRecord, prompts: Sequence[StoredPrompt | None]
) -> dict[str, Markup]:
    old, new = prompts
    return {
        "spec": safe_html.diff(
            as_yaml(a.spec, sort_keys=True), as_yaml(b.spec, sort_keys=True), a.name, b.name
        ),
        "prompt": safe_html.diff(old.text, new.text, a.name, b.name) if old and new else Markup(),
        "result": safe_html.diff(_message(a), _message(b), a.name, b.name),
    }
