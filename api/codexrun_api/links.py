"""Links from a run's page to what else knows of it, such as Grafana or Loki. Pure.

[{"name": "Loki", "url":
"https://grafana.example.com/explore?from=${start}&to=${end}&var-run=${run_id}"}]
"""

import json
import string
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

PLACEHOLDERS = ("name", "namespace", "run_id", "job_type", "start", "end")


@dataclass(frozen=True)
class Link:
    name: str
    url: str  # with placeholders

    def to(self, *, start: datetime, end: datetime, **words: str) -> str:
        """Return its URL for a run that was there from `start` to `end`, which are put in as
        milliseconds since the epoch."""
        moments = {"start": start, "end": end}
        filled = {key: str(int(at.timestamp() * 1000)) for key, at in moments.items()} | words
        return string.Template(self.url).substitute(
            {key: quote(value, safe="") for key, value in filled.items()}
        )


def links_from(text: str) -> tuple[Link, ...]:
    """Read links from JSON.

    Raises:
        ValueError: it is no such list; the message says where and what to do.
    """
    if not text.strip():
        return ()
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(entries, list):
        raise ValueError('must be a list of {"name": ..., "url": ...}')
    return tuple(_link(number, entry) for number, entry in enumerate(entries))


def _link(number: int, entry: object) -> Link:
    if not isinstance(entry, dict) or not all(
        isinstance(entry.get(key), str) and entry[key] for key in ("name", "url")
    ):
        raise ValueError(
            f'[{number}] is {json.dumps(entry)}; it must be {{"name": ..., "url": ...}}'
        )
    url = entry["url"]
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "$" in parts.netloc:
        raise ValueError(
            f"[{number}].url is {url!r}; it must begin with http:// or https:// and a host"
        )
    template = string.Template(url)
    if not template.is_valid() or (
        unknown := [name for name in template.get_identifiers() if name not in PLACEHOLDERS]
    ):
        problem = (
            "a $ that does not begin a placeholder (for a dollar sign, write $$)"
            if not template.is_valid()
            else f"${{{unknown[0]}}}"
        )
        raise ValueError(
            f"[{number}].url has {problem}; the placeholders are"
            f" {', '.join(f'${{{name}}}' for name in PLACEHOLDERS)}"
        )
    return Link(entry["name"], url)
