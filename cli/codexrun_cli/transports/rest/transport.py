"""The runs over the api's REST interface."""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codexrun_cli.errors import Away, Trouble
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Heard, Json, LogRange, LogText, RunFilter
from codexrun_cli.transports.rest.http import BROKEN, Http, events, pause

PIECE = 64 * 1024
PAGE = 500
SILENCE = 45.0  # seconds; the server says something every 15
GIVE_UP = 300.0  # seconds without an answer until following ends
ORIGIN = {"X-Codexrun-Origin": "cli"}


class Rest:
    rest = True

    def __init__(self, http: Http, sleep: Callable[[float], None] = time.sleep) -> None:
        self.http, self._sleep = http, sleep

    def start(self, wish: Json, key: str | None, *, dry_run: bool = False) -> Json:
        if dry_run:
            raise AssertionError("a dry run on the server is the cluster's")
        headers = {**ORIGIN, **({"Idempotency-Key": key} if key else {})}
        return self._json(
            "POST", "/runs/start", body={"when_full": "Queue", **wish}, headers=headers
        )

    def run(self, wanted: str) -> Json:
        return self._json("GET", f"/runs/{_part(wanted)}")

    def runs(self, chosen: RunFilter, limit: int, sort: str | None = None) -> Iterator[Json]:
        query = {**chosen.query(), **({"sort": sort} if sort else {})}
        while limit > 0:
            page = self._json("GET", "/runs", query={**query, "page_size": min(limit, PAGE)})
            yield from page["runs"][:limit]
            limit -= len(page["runs"])
            if not (token := page.get("next_page_token")):
                return
            query["page_token"] = token

    def cancel(self, wanted: str, reason: str | None) -> Json:
        return self._json(
            "POST", f"/runs/{_part(wanted)}/cancel", body={"reason": reason} if reason else {}
        )

    def retry(self, wanted: str, changes: Json, key: str | None) -> Json:
        headers = {**ORIGIN, **({"Idempotency-Key": key} if key else {})}
        return self._json(
            "POST",
            f"/runs/{_part(wanted)}/retry",
            body={"when_full": "Queue", **changes},
            headers=headers,
        )

    def log(self, run: Json, wish: LogRange) -> LogText:
        answer = self.http.open(
            "GET",
            f"/runs/{run['run_id']}/logs",
            query=_log_query(wish),
            headers={"Accept": "text/plain"},
            seconds=SILENCE,
        )
        complete = answer.headers.get("X-Log-Complete")
        notes = []
        if run.get("deleted_at"):
            notes.append("the run's object is gone; this is the api's archive")
        if complete == "false":
            notes.append(
                f"the log is not complete{': ' + run['log_note'] if run.get('log_note') else ''}"
            )

        def pieces() -> Iterator[bytes]:
            with answer:
                try:
                    while piece := answer.read(PIECE):
                        yield piece
                except BROKEN as error:
                    raise Away(f"the connection broke in the middle of the log: {error}") from None

        return LogText(pieces(), "; ".join(notes), {"complete": complete})

    def follow_log(self, run: Json, wish: LogRange) -> Iterator[Heard]:
        """To the run's end, through whatever happens to the connection: each comes back with the
        last id that was read."""
        last: bytes | None = None
        at = 0 if wish == LogRange() else None  # offset behind the last line, where it is known
        fruitless, reached = 0, time.monotonic()
        while True:
            headers = {
                "Accept": "text/event-stream",
                **({"Last-Event-ID": last.decode()} if last is not None else {}),
            }
            why = "the connection was closed"
            try:
                with self.http.open(
                    "GET",
                    f"/runs/{run['run_id']}/logs",
                    query=_log_query(wish),
                    headers=headers,
                    seconds=SILENCE,
                ) as answer:
                    reached = time.monotonic()
                    for event in events(answer):
                        fruitless, reached = 0, time.monotonic()
                        kind = event.get("event", b"message")
                        if kind == b"end":
                            yield Heard("end", _end_note(event.get("data", b"{}")))
                            return
                        if kind == b"reconnect":
                            why = "the server is going"
                            break
                        if kind == b"message" and "id" in event:
                            text, last, before = event.get("data", b""), event["id"], at
                            at = int(last)
                            # The id counts bytes: a last line without its end is as long as its
                            # text.
                            yield Heard(
                                "line", text, newline=before is None or at - before != len(text)
                            )
            except BROKEN as error:
                why = str(error) or type(error).__name__
            except Away as away:
                if time.monotonic() - reached > GIVE_UP:
                    raise
                why = away.detail
            yield Heard("cut", why.encode())
            self._sleep(pause(fruitless))
            fruitless += 1

    def job_types(self) -> list[Json]:
        found: list[Json] = self._json("GET", "/jobtypes")["job_types"]
        return found

    def prompts(self) -> list[Json]:
        found: list[Json] = self._json("GET", "/prompts")["prompts"]
        return found

    def prompt_text(self, name: str, version: str) -> str:
        return str(self._json("GET", f"/prompts/{_part(name)}/{_part(version)}")["text"])

    def details(self, run: Json) -> Json:
        try:
            return self._json("GET", f"/runs/{run['run_id']}/details")
        except Trouble as trouble:
            if (
                trouble.code is Code.NOT_FOUND
            ):  # removed a moment ago; or an api that does not know the question yet
                return {}
            raise

    def usual_seconds(self, job_type: str) -> float | None:
        found: float | None = self._json("GET", "/stats", query={"job_type": job_type}).get(
            "median_seconds"
        )
        return found

    def ask(self, method: str, path: str, what: str, **options: Any) -> Json:  # noqa: ARG002 - the cluster says what it cannot
        return self._json(method, path, **options)

    def text(self, path: str) -> str:
        with self.http.open("GET", path, headers={"Accept": "*/*"}) as answer:
            return answer.read().decode("utf-8", "replace")

    def console(self, run: Json) -> str | None:
        own = str(run.get("links", {}).get("self", ""))
        base = own.rpartition("/runs/")[0] if own.startswith("http") else self.http.server
        return f"{base}/console/runs/{run['run_id']}"

    def close(self) -> None:
        """Nothing is kept open."""

    def _json(self, method: str, path: str, **options: Any) -> Json:
        found: Json = self.http.json(method, path, **options)
        return found


def _part(name: str) -> str:
    return urllib.parse.quote(name, safe="@")


def _log_query(wish: LogRange) -> Mapping[str, Any]:
    return {key: value for key, value in vars(wish).items() if value is not None}


def _end_note(data: bytes) -> bytes:
    said = json.loads(data)
    if said.get("complete") is False:
        return f"the log is not complete{': ' + said['note'] if said.get('note') else ''}".encode()
    return b""
