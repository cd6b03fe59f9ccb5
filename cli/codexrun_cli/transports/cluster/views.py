"""Objects of the cluster as the api would show them: the same fields, computed from the same
functions of core. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from codexrun_cli.errors import say
from codexrun_cli.times import moment
from codexrun_cli.transports import RunFilter
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import Phase
from codexrun_core.runs import queue as queueing
from codexrun_core.runs.record import RunRecord, record_of, words, words_of
from codexrun_core.schemas.nesting import cut
from codexrun_core.unreadable import one_object

Json = dict[str, Any]
T = TypeVar("T")

SLOT = ("starting", "running", "stopping")
_RUN = (
    *(
        "run_id",
        "name",
        "namespace",
        "job_type",
        "status",
        "reason",
        "created_at",
        "updated_at",
        "started_at",
        "finished_at",
    ),
    *(
        "prompt_name",
        "prompt_version",
        "prompt_sha256",
        "model",
        "effort",
        "params",
        "labels",
        "priority",
    ),
    *("result", "error"),
    *(
        "failure_class",
        "usage_complete",
        "cost_tokens",
        "cost_cents",
        "attempt",
        "thread_id",
        "retry_of",
        "retry_of_name",
    ),
    *("requested_by", "origin"),
)


def readable(plural: str, raws: Iterable[Json], read: Callable[[Json], T]) -> list[T]:
    """Return what `read` makes of each object; one that it cannot read is named on stderr and left
    out."""
    found: list[T] = []
    for raw in raws:
        metadata = raw["metadata"]
        name, so_far = metadata["name"], len(found)
        with one_object(plural.removesuffix("s"), name, metadata.get("resourceVersion", "")):
            found.append(read(raw))
        if len(found) == so_far:
            say(
                f"{plural}/{name} cannot be read by this version and is left out; "
                f"`kubectl get {plural} {name} -o yaml` shows it"
            )
    return found


def run_json(raw: Json, queue: Json | None = None) -> Json:
    """A CodexRun; what is not known is absent."""
    record = record_of(CodexRun.model_validate(raw))
    shown = {key: _plain(value) for key in _RUN if (value := getattr(record, key)) is not None}
    if record.failure_class:
        shown["failure"] = _known(
            {
                "class": record.failure_class,
                "message": record.error,
                "retryable": bool(record.retryable),
            }
        )
    shown["usage"] = _known(
        {
            "input_tokens": record.input_tokens,
            "cached_input_tokens": record.cached_input_tokens,
            "output_tokens": record.output_tokens,
            "reasoning_tokens": record.reasoning_tokens,
            "total_tokens": record.cost_tokens,
            "requests": record.requests,
            "cost_cents": record.cost_cents,
            "cost_micro_usd": record.cost_micro_usd,
            "complete": record.usage_complete,
        }
    )
    if queue:
        shown["queue"] = queue
    return shown


def place(raw: Json, peers: Sequence[Json], limit: int, now: datetime) -> Json | None:
    """Where a queued run stands among the runs of its job type; None for one that does not wait."""
    records = readable("codexruns", peers, record)
    found = queueing.place(record(raw), records, limit, queueing.usual_length(records), now)
    if found is None:
        return None
    eta = max(0, round((found.eta - now).total_seconds())) if found.eta else None
    return _known({"position": found.position, "eta_seconds": eta})


def record(raw: Json) -> RunRecord:
    return record_of(CodexRun.model_validate(raw))


def matches(raw: Json, chosen: RunFilter, now: datetime) -> bool:
    """Whether the list's filter lets the run through. Labels are the apiserver's business."""
    record = record_of(CodexRun.model_validate(raw))

    def one_of(wanted: str | None, *values: str | None) -> bool:
        return not wanted or any(value in wanted.split(",") for value in values if value)

    return (
        one_of(chosen.job_type, record.job_type)
        and one_of(chosen.status, record.status)
        and one_of(
            chosen.prompt, record.prompt_name, f"{record.prompt_name}@{record.prompt_version}"
        )
        and one_of(chosen.model, record.model)
        and one_of(chosen.user, record.requested_by)
        and one_of(chosen.retry_of, record.retry_of)
        and (not chosen.since or record.created_at >= moment(chosen.since, now))
        and (not chosen.until or record.created_at < moment(chosen.until, now))
        and _said(record, chosen.search or "")
    )


def _said(record: RunRecord, search: str) -> bool:
    known = words_of(record).split()
    return all(any(word.startswith(wanted) for word in known) for wanted in words(search))


def job_type_json(raw: Json, statuses: Sequence[str]) -> Json:
    """A CodexJobType; statuses: of its runs."""
    kind = CodexJobType.model_validate(raw)
    spec = kind.spec
    ready = next((c for c in kind.status.conditions if c.type == "Ready"), None)
    return _known(
        {
            "name": kind.metadata.name,
            "description": spec.description,
            "prompt_name": spec.prompt.name,
            "prompt_version": spec.prompt.version,
            "model": spec.model,
            "allowed_models": spec.allowed_models or [spec.model],
            "allowed_efforts": spec.allowed_efforts or ([spec.effort] if spec.effort else []),
            "inputs_schema": cut(spec.inputs_schema),
            "limits": spec.limits.model_dump(exclude_none=True),
            "concurrency_limit": spec.concurrency_limit,
            "running": sum(status in SLOT for status in statuses),
            "queued": sum(status == "queued" for status in statuses),
            "suspended": spec.suspended,
            "ready": ready.status == "True" if ready else None,
            "message": ready.message if ready else None,
        }
    )


def prompts_json(config_maps: Iterable[Json], job_types: Iterable[Json]) -> list[Json]:
    """ConfigMaps of prompt versions, grouped by prompt; versions oldest first."""
    found: dict[str, list[Json]] = {}
    for raw in config_maps:
        labels, notes = (
            raw["metadata"].get("labels") or {},
            raw["metadata"].get("annotations") or {},
        )
        sha256 = hashlib.sha256((raw.get("data") or {}).get("prompt.md", "").encode()).hexdigest()
        version = {
            "version": labels.get("codexrun.dev/prompt-version", ""),
            "sha256": sha256,
            "checksum_ok": notes.get("codexrun.dev/sha256", "") == sha256,
            "owner": notes.get("codexrun.dev/owner", ""),
            "updated_at": notes.get("codexrun.dev/updated-at", ""),
        }
        found.setdefault(labels.get("codexrun.dev/prompt", ""), []).append(version)
    users: dict[str, list[str]] = {}
    for kind in job_types:
        users.setdefault(kind["spec"]["prompt"]["name"], []).append(kind["metadata"]["name"])
    return [
        {
            "name": name,
            "versions": sorted(found[name], key=_number),
            "used_by": sorted(users.get(name, [])),
        }
        for name in sorted(found)
    ]


def status_of(raw: Json) -> str:
    return str((raw.get("status") or {}).get("phase") or Phase.PENDING).lower()


def _number(version: Json) -> int:
    digits = version["version"][1:]
    return int(digits) if digits.isdecimal() else 0


def _known(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
