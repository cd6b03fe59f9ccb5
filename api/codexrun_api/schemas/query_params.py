"""The list's filter, the same for lists, counts, bulk actions and statistics, and how callers write
times."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from codexrun_core.registry.groups import GROUPINGS, check_grouping
from codexrun_core.resources.phases import STATUSES
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.label_rules import parse_selector
from codexrun_core.runs.sorting import NEWEST, SORT_COLUMNS, parse_sort
from codexrun_core.times import moment


def _check_statuses(text: str) -> None:
    for status in text.split(","):
        if status not in STATUSES:
            raise ValueError(f'"{status}" is not a valid status; use {", ".join(STATUSES)}')


def _read_by(read: Callable[[str], object]) -> AfterValidator:
    """Leave text as it is once it can be read; else the reader's own words are the error.

    It reads what the field's own constraints let through: a reader that quoted a lone surrogate
    would make an error that pydantic cannot report.
    """

    def check(text: str | None) -> str | None:
        if text is not None:
            read(text)
        return text

    return AfterValidator(check)


Word = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f]+$")]
Time = Annotated[
    str, Field(max_length=40, examples=["7d", "2026-01-31T12:00:00Z"]), _read_by(moment)
]


class RunFilterQuery(BaseModel):
    """A comma means OR, except in `label`, where it means AND; several fields mean AND."""

    model_config = ConfigDict(extra="forbid")

    job_type: Annotated[Word | None, Field(examples=["hello,code-review"])] = None
    status: Annotated[
        Word | None, Field(examples=["failed,cancelled"]), _read_by(_check_statuses)
    ] = None
    prompt: Annotated[
        Word | None, Field(description="name or name@version", examples=["hello@v1"])
    ] = None
    model: Word | None = None
    user: Annotated[Word | None, Field(description="Who started it.")] = None
    since: Annotated[
        Time | None,
        Field(description=("Created at or after this time: an age (7d, 12h) or an RFC 3339 time.")),
    ] = None
    until: Annotated[Time | None, Field(description="Created before this time.")] = None
    search: Annotated[Word | None, Field(description="Text in name, result or error.")] = None
    retry_of: Annotated[Word | None, Field(description="Run ID of the run that was retried.")] = (
        None
    )
    failure_class: Annotated[
        Word | None, Field(description="Why it failed.", examples=["rate_limit,model_error"])
    ] = None
    label: Annotated[
        Word | None,
        Field(
            description=(
                "Kubernetes label selector: k=v, k!=v, k, !k, k in (a,b), k notin (a,b); a comma"
                " means AND."
            ),
            examples=["team=a,env!=dev"],
        ),
        _read_by(parse_selector),
    ] = None

    def filter(self) -> Filter:
        def several(value: str | None) -> tuple[str, ...]:
            return tuple(part for part in (value or "").split(",") if part)

        return Filter(
            job_type=several(self.job_type),
            status=several(self.status),
            prompt=several(self.prompt),
            model=several(self.model),
            user=several(self.user),
            since=moment(self.since) if self.since else None,
            until=moment(self.until) if self.until else None,
            search=self.search or "",
            retry_of=several(self.retry_of),
            labels=parse_selector(self.label) if self.label else (),
            failure_class=several(self.failure_class),
        )

    @property
    def empty(self) -> bool:
        return not self.model_dump(exclude_none=True)


class StatsQuery(RunFilterQuery):
    group_by: Annotated[
        Word | None,
        Field(description=f"{', '.join(GROUPINGS)}, or label:KEY.", examples=["label:team", "day"]),
        _read_by(check_grouping),
    ] = None


class RunListQuery(RunFilterQuery):
    page_size: Annotated[int, Field(ge=1, description="Values above 500 are treated as 500.")] = 50
    page_token: Annotated[
        Word | None,
        Field(
            description="The next_page_token of the previous page, with the same filter and order."
        ),
    ] = None
    sort: Annotated[
        Word,
        Field(
            description=(
                f"{', '.join(SORT_COLUMNS)}; with a leading `-`, highest or latest first. Unknown"
                " values come last, including the duration of a run that has not ended."
            ),
            examples=["-cost"],
        ),
        _read_by(parse_sort),
    ] = str(NEWEST)


RunId = Annotated[
    str,
    Path(
        alias="id",
        description="run_id, or the run's name.",
        min_length=1,
        max_length=63,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    ),
]
Origin = Literal["api", "cli", "console"]
