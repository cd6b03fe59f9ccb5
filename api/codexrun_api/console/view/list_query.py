"""What does the run list's URL ask for, and which URL asks for something else? Pure; the URL is all
the state there is."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from codexrun_api.schemas.query_params import RunFilterQuery
from codexrun_core.runs.label_rules import parse_selector
from codexrun_core.runs.sorting import NEWEST, parse_sort

SEVERAL = ("status", "job_type", "prompt", "model", "user", "retry_of", "failure_class")
SINGLE = ("search", "since", "until", "label")
SIZES = (25, 50, 100, 200)
PRESETS = {"1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days"}
ORDERS = {  # the other way round: second
    "created": ("newest first", "oldest first"),
    "started": ("latest start first", "earliest start first"),
    "finished": ("latest finish first", "earliest finish first"),
    "duration": ("longest first", "shortest first"),
    "tokens": ("most tokens first", "fewest tokens first"),
    "cost": ("most expensive first", "cheapest first"),
}
NAMES = {
    "status": "Status",
    "job_type": "Job type",
    "prompt": "Prompt",
    "model": "Model",
    "user": "Started by",
    "retry_of": "Retries of",
    "failure_class": "Failure class",
    "search": "Search",
    "since": "Since",
    "until": "Until",
    "label": "Label",
}


@dataclass(frozen=True)
class Chip:
    """A filter that is on, and the URL without it."""

    name: str
    value: str
    url: str


@dataclass(frozen=True)
class ListQuery:
    # of SEVERAL, those that are set
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    search: str = ""
    since: str = ""
    until: str = ""
    label: str = ""  # a selector
    sort: str = ""  # as REST has it; empty: newest first
    size: int = 50
    token: str = ""  # of the page, by the registry

    def filter_query(self) -> RunFilterQuery:
        """Return the filter that REST would be sent.

        Raises:
            ValidationError: a value that it would refuse.
        """
        several = {name: ",".join(values) for name, values in self.fields.items()}
        single = {name: value for name in SINGLE if (value := getattr(self, name))}
        return RunFilterQuery(**several, **single)

    def url(self, path: str = "/console/runs", **extra: str) -> str:
        pairs = [(name, ",".join(self.fields[name])) for name in SEVERAL if self.fields.get(name)]
        pairs += [(name, value) for name in SINGLE if (value := getattr(self, name))]
        if self.size != 50:
            pairs.append(("page_size", str(self.size)))
        if self.sort:
            pairs.append(("sort", self.sort))
        if self.token:
            pairs.append(("page", self.token))
        pairs += [(name, value) for name, value in extra.items() if value]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def with_(self, name: str, values: Iterable[str]) -> "ListQuery":
        """Return the query with other values of a field. Another filter begins at its first
        page."""
        distinct = tuple(dict.fromkeys(value for value in values if value))
        fields = {key: value for key, value in self.fields.items() if key != name}
        return replace(self, fields=fields | ({name: distinct} if distinct else {}), token="")

    def toggled(self, name: str, value: str) -> "ListQuery":
        current = self.fields.get(name, ())
        return self.with_(
            name, [v for v in current if v != value] if value in current else [*current, value]
        )

    def without(self, name: str) -> "ListQuery":
        """Return the query without a field that has one value."""
        cleared: dict[str, Any] = {name: ""}
        return replace(self, token="", **cleared)

    def sorted_by(self, key: str) -> "ListQuery":
        """Return the query sorted by this column: the highest or latest first, and the other way
        round where it is so already."""
        current = self.sort or str(NEWEST)
        sort = key if current == f"-{key}" else f"-{key}"
        return replace(self, token="", sort="" if sort == str(NEWEST) else sort)

    def aria_sort(self, key: str) -> str:
        """Return `aria-sort` of a column's head; empty where the list is not sorted by it."""
        return {key: "ascending", f"-{key}": "descending"}.get(self.sort or str(NEWEST), "")

    @property
    def order(self) -> str:
        """Return the list's order in words."""
        sort = parse_sort(self.sort) if self.sort else NEWEST
        first, last = ORDERS[sort.key]
        return first if sort.descending else last

    def first(self, name: str) -> str:
        return next(iter(self.fields.get(name, ())), "")

    @property
    def chips(self) -> list[Chip]:
        """Return every filter that is on but the status, which has chips of its own."""
        chips = [
            Chip(NAMES[name], value, self.toggled(name, value).url())
            for name in SEVERAL
            if name != "status"
            for value in self.fields.get(name, ())
        ]
        parts = parse_selector(self.label) if self.label else ()
        for requirement in parts:
            remaining = ",".join(str(other) for other in parts if other != requirement)
            chips.append(
                Chip(
                    NAMES["label"], str(requirement), replace(self, label=remaining, token="").url()
                )
            )
        for name in (name for name in SINGLE if name != "label"):
            if value := getattr(self, name):
                label = PRESETS.get(value, value) if name == "since" else value
                chips.append(Chip(NAMES[name], label, self.without(name).url()))
        return chips

    @property
    def filtered(self) -> bool:
        return bool(self.fields or self.search or self.since or self.until or self.label)


def read_list_query(pairs: Iterable[tuple[str, str]]) -> ListQuery:
    """Read a query string or a form. A name that comes again adds to it, and what is empty is
    not asked for."""
    fields: dict[str, tuple[str, ...]] = {}
    single: dict[str, str] = {}
    for name, value in pairs:
        if name in SEVERAL:
            parts = [part for part in value.split(",") if part]
            if parts:
                fields[name] = tuple(dict.fromkeys((*fields.get(name, ()), *parts)))
        elif name in (*SINGLE, "sort", "page", "page_size"):
            single[name] = value.strip()
    size = single.get("page_size", "")
    return ListQuery(
        fields=fields,
        search=single.get("search", ""),
        since=single.get("since", ""),
        until=single.get("until", ""),
        label=single.get("label", ""),
        sort="" if (sort := single.get("sort", "")) == str(NEWEST) else sort,
        size=int(size) if size in map(str, SIZES) else 50,
        token=single.get("page", ""),
    )
