"""Objects of the cluster as the api would show them: the same fields, computed from the same
functions of core. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from codexrun_cli.errors import say
from codexrun_cli.transports import RunFilter
from codexrun_cli.transports.schemas import JobType, Prompt, PromptVersion, Queue, Run
from codexrun_core.prompts.stored import StoredPrompt
from codexrun_core.prompts.title import title_of
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.resources.phases import SLOT_STATUSES, Phase
from codexrun_core.runs import queue_position as queueing
from codexrun_core.runs.record import RunRecord, record_of, search_text, search_words
from codexrun_core.schemas.nesting import cut
from codexrun_core.times import moment
from codexrun_core.unreadable import one_object

Json = dict[str, Any]
T = TypeVar("T")

_RUN_FIELDS = (
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
    "prompt_name",
    "prompt_version",
    "prompt_sha256",
    "model",
    "effort",
    "params",
    "labels",
    "priority",
    "result",
    "result_truncated",
    "output",
    "error",
    "failure_class",
    "usage_complete",
    "cost_tokens",
    "cost_cents",
    "attempt",
    "thread_id",
    "commit_id",
    "warnings",
    "retry_of",
    "retry_of_name",
    "requested_by",
    "origin",
)


def readable(plural: str, raws: Iterable[Json], read: Callable[[Json], T]) -> list[T]:
    """Return what `read` makes of each object; one that it cannot read is named on stderr and left
    out."""
    values: list[T] = []
    for raw in raws:
        metadata = raw["metadata"]
        name = metadata["name"]
        before = len(values)
        with one_object(plural.removesuffix("s"), name, metadata.get("resourceVersion", "")):
            values.append(read(raw))
        if len(values) == before:
            say(
                f"{plural}/{name} cannot be read by this version of codexrun and is left out; "
                f"`kubectl get {plural} {name} -o yaml` shows it"
            )
    return values


def run_json(raw: Json, queue: Queue | None = None, *, title_template: str | None = None) -> Run:
    """Return a CodexRun as the api would; what is not known is absent. title_template: of its job
    type."""
    run_record = record(raw)
    run = _without_none({key: _plain(getattr(run_record, key)) for key in _RUN_FIELDS})
    if run_record.failure_class:
        run["failure"] = _without_none(
            {
                "class": run_record.failure_class,
                "message": run_record.error,
                "retryable": bool(run_record.retryable),
            }
        )
    run["usage"] = _without_none(
        {
            "input_tokens": run_record.input_tokens,
            "cached_input_tokens": run_record.cached_input_tokens,
            "output_tokens": run_record.output_tokens,
            "reasoning_tokens": run_record.reasoning_tokens,
            "total_tokens": run_record.cost_tokens,
            "at_most_tokens": run_record.at_most_tokens,
            "requests": run_record.requests,
            "cost_cents": run_record.cost_cents,
            "cost_micro_usd": run_record.cost_micro_usd,
            "complete": run_record.usage_complete,
        }
    )
    if title := title_of(title_template, run_record.params):
        run["title"] = title
    if queue:
        run["queue"] = queue
    return cast(Run, run)


def queue_position(raw: Json, peers: Sequence[Json], limit: int, now: datetime) -> Queue | None:
    """Return where a queued run stands among the runs of its job type; None for one that does not
    wait."""
    records = readable("codexruns", peers, record)
    place = queueing.queue_position(
        record(raw), records, limit, queueing.usual_duration(records), now
    )
    if place is None:
        return None
    position: Queue = {"position": place.position}
    if place.eta:
        position["eta_seconds"] = max(0, round((place.eta - now).total_seconds()))
    return position


def record(raw: Json) -> RunRecord:
    return record_of(CodexRun.model_validate(raw))


def matches(raw: Json, run_filter: RunFilter, now: datetime) -> bool:
    """Return whether the list's filter lets the run through. Labels are the apiserver's
    business."""
    run = record(raw)

    def any_of(accepted: str | None, *values: str | None) -> bool:
        return not accepted or any(value in accepted.split(",") for value in values if value)

    return (
        any_of(run_filter.job_type, run.job_type)
        and any_of(run_filter.status, run.status)
        and any_of(run_filter.prompt, run.prompt_name, f"{run.prompt_name}@{run.prompt_version}")
        and any_of(run_filter.model, run.model)
        and any_of(run_filter.user, run.requested_by)
        and any_of(run_filter.retry_of, run.retry_of)
        and (not run_filter.since or run.created_at >= moment(run_filter.since, now))
        and (not run_filter.until or run.created_at < moment(run_filter.until, now))
        and _has_words(run, run_filter.search or "")
    )


def _has_words(run: RunRecord, search: str) -> bool:
    own = search_text(run).split()
    return all(any(word.startswith(prefix) for word in own) for prefix in search_words(search))


def job_type_json(raw: Json, statuses: Sequence[str]) -> JobType:
    """Return a CodexJobType as the api would; statuses: of its runs."""
    job_type = CodexJobType.model_validate(raw)
    spec = job_type.spec
    ready = next((item for item in job_type.status.conditions if item.type == "Ready"), None)
    fields = _without_none(
        {
            "name": job_type.metadata.name,
            "description": spec.description,
            "prompt_name": spec.prompt.name,
            "prompt_version": spec.prompt.version,
            "model": spec.model,
            "allowed_models": spec.allowed_models or [spec.model],
            "allowed_efforts": spec.allowed_efforts or ([spec.effort] if spec.effort else []),
            "inputs_schema": cut(spec.inputs_schema),
            "limits": spec.limits.model_dump(exclude_none=True),
            "concurrency_limit": spec.concurrency_limit,
            "running": sum(status in SLOT_STATUSES for status in statuses),
            "queued": sum(status == "queued" for status in statuses),
            "suspended": spec.suspended,
            "ready": ready.status == "True" if ready else None,
            "message": ready.message if ready else None,
        }
    )
    return cast(JobType, fields)


def prompts_json(config_maps: Iterable[Json], job_types: Iterable[Json]) -> list[Prompt]:
    """Return the prompts of ConfigMaps that hold a version each; versions oldest first."""
    users: dict[str, list[str]] = {}
    users_of_version: dict[tuple[str, str], list[str]] = {}
    for job_type in job_types:
        prompt, job = job_type["spec"]["prompt"], job_type["metadata"]["name"]
        users.setdefault(prompt["name"], []).append(job)
        users_of_version.setdefault((prompt["name"], prompt["version"]), []).append(job)
    versions: dict[str, list[PromptVersion]] = {}
    for raw in config_maps:
        stored = StoredPrompt.read(raw)
        version: PromptVersion = {
            "version": stored.version,
            "sha256": stored.sha256,
            "checksum_ok": stored.checksum_ok,
            "owner": stored.owner,
            "updated_at": stored.updated_at,
            "used_by": sorted(users_of_version.get((stored.name, stored.version), [])),
        }
        versions.setdefault(stored.name, []).append(version)
    return [
        {
            "name": name,
            "versions": sorted(versions[name], key=_number),
            "used_by": sorted(users.get(name, [])),
        }
        for name in sorted(versions)
    ]


def status_of(raw: Json) -> str:
    return str((raw.get("status") or {}).get("phase") or Phase.PENDING).lower()


def _number(version: PromptVersion) -> int:
    digits = version["version"][1:]
    return int(digits) if digits.isdecimal() else 0


def _without_none(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value
