"""The runs over the api's REST interface."""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from codexrun_cli.errors import CommandError, Unreachable
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Details, Json, LogEvent, LogRange, LogText, RunFilter
from codexrun_cli.transports.rest.http import CONNECTION_ERRORS, Http, retry_delay, server_events
from codexrun_cli.transports.schemas import JobType, JobTypeList, Prompt, PromptList, Run, Stats
from codexrun_core.runs.queue_position import MIN_GOOD_RUNS

READ_CHUNK_BYTES = 64 * 1024
MAX_PAGE_RUNS = 500
READ_TIMEOUT_SECONDS = 45.0  # the server says something every 15
MAX_OUTAGE_SECONDS = 300.0  # without an answer, until following ends
ORIGIN = {"X-Codexrun-Origin": "cli"}


class Rest:
    rest = True

    def __init__(self, http: Http, sleep: Callable[[float], None] = time.sleep) -> None:
        self.http = http
        self._sleep = sleep

    def start(self, request: Json, key: str | None) -> Run:
        run: Run = self.http.json(
            "POST",
            "/runs/start",  # the name that earlier apis know too
            body={"when_full": "Queue", **request},
            headers=_post_headers(key),
        )
        return run

    def dry_run(self, request: Json) -> Json:  # noqa: ARG002 - only the apiserver has one
        raise AssertionError("--dry-run=server needs the cluster")

    def run(self, name: str) -> Run:
        run: Run = self.http.json("GET", f"/runs/{_quoted(name)}")
        return run

    def runs(self, run_filter: RunFilter, limit: int, sort: str | None = None) -> Iterator[Run]:
        query = {**run_filter.query(), **({"sort": sort} if sort else {})}
        while limit > 0:
            page_size = min(limit, MAX_PAGE_RUNS)
            page = self.http.json("GET", "/runs", query={**query, "page_size": page_size})
            yield from page["runs"][:limit]
            limit -= len(page["runs"])
            if not (token := page.get("next_page_token")):
                return
            query["page_token"] = token

    def cancel(self, name: str, reason: str | None) -> Run:
        body = {"reason": reason} if reason else {}
        run: Run = self.http.json("POST", f"/runs/{_quoted(name)}/cancel", body=body)
        return run

    def retry(self, name: str, changes: Json, key: str | None) -> Run:
        run: Run = self.http.json(
            "POST",
            f"/runs/{_quoted(name)}/retry",
            body={"when_full": "Queue", **changes},
            headers=_post_headers(key),
        )
        return run

    def log(self, run: Run, log_range: LogRange) -> LogText:
        answer = self.http.open(
            "GET",
            f"/runs/{run['run_id']}/logs",
            query=_log_query(log_range),
            headers={"Accept": "text/plain"},
            seconds=READ_TIMEOUT_SECONDS,
        )
        notes = []
        if run.get("deleted_at"):
            notes.append("the run's object is gone; this log is from the REST API's archive")
        if answer.headers.get("X-Log-Complete") == "false":
            notes.append(_incomplete(run.get("log_note")))

        def chunks() -> Iterator[bytes]:
            with answer:
                try:
                    while chunk := answer.read(READ_CHUNK_BYTES):
                        yield chunk
                except CONNECTION_ERRORS as error:
                    raise Unreachable(
                        f"the connection broke in the middle of the log: {error}"
                    ) from None

        return LogText(chunks(), "; ".join(notes))

    def follow_log(self, run: Run, log_range: LogRange) -> Iterator[LogEvent]:
        """Yield lines to the run's end, through whatever happens to the connection: each comes back
        with the last id that was read."""
        last_id: bytes | None = None
        # Behind the last line, where it is known.
        offset = 0 if log_range == LogRange() else None
        failures = 0
        connected_at = time.monotonic()
        while True:
            headers = {
                "Accept": "text/event-stream",
                **({"Last-Event-ID": last_id.decode()} if last_id is not None else {}),
            }
            reason = "the connection was closed"
            try:
                with self.http.open(
                    "GET",
                    f"/runs/{run['run_id']}/logs",
                    query=_log_query(log_range),
                    headers=headers,
                    seconds=READ_TIMEOUT_SECONDS,
                ) as answer:
                    connected_at = time.monotonic()
                    for event in server_events(answer):
                        failures = 0
                        connected_at = time.monotonic()
                        kind = event.get("event", b"message")
                        if kind == b"end":
                            yield LogEvent("end", _end_note(event.get("data", b"{}")))
                            return
                        if kind == b"reconnect":
                            reason = "the server is shutting down"
                            break
                        if kind == b"message" and "id" in event:
                            text = event.get("data", b"")
                            last_id = event["id"]
                            end = int(last_id)
                            # The id counts bytes: a last line without its end is as long as its
                            # text.
                            whole = offset is None or end - offset != len(text)
                            offset = end
                            yield LogEvent("line", text, newline=whole)
            except CONNECTION_ERRORS as error:
                reason = str(error) or type(error).__name__
            except Unreachable as error:
                if time.monotonic() - connected_at > MAX_OUTAGE_SECONDS:
                    raise
                reason = error.detail
            yield LogEvent("disconnected", reason.encode())
            self._sleep(retry_delay(failures))
            failures += 1

    def job_types(self) -> list[JobType]:
        answer: JobTypeList = self.http.json("GET", "/jobtypes")
        return answer["job_types"]

    def prompts(self) -> list[Prompt]:
        answer: PromptList = self.http.json("GET", "/prompts")
        return answer["prompts"]

    def prompt_text(self, name: str, version: str) -> str:
        path = f"/prompts/{_quoted(name)}/{_quoted(version)}"
        return str(self.http.json("GET", path)["text"])

    def details(self, run: Run) -> Details:
        try:
            details: Details = self.http.json("GET", f"/runs/{run['run_id']}/details")
        except CommandError as error:
            # Removed a moment ago; or an api that does not know the question yet.
            if error.code is Code.NOT_FOUND:
                return {}
            raise
        return details

    def usual_seconds(self, job_type: str) -> float | None:
        stats: Stats = self.http.json("GET", "/stats", query={"job_type": job_type})
        few = stats["statuses"].get("succeeded", 0) < MIN_GOOD_RUNS
        return None if few else stats.get("median_seconds")

    def ask(
        self,
        method: str,
        path: str,
        subject: str,  # noqa: ARG002 - the cluster says what it cannot
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
    ) -> Any:
        return self.http.json(method, path, query=query, body=body)

    def data(self, path: str) -> bytes:
        with self.http.open("GET", path, headers={"Accept": "*/*"}) as answer:
            return answer.read()

    def set_priority(self, name: str, priority: int) -> Run:
        run: Run = self.http.json("PATCH", f"/runs/{_quoted(name)}", body={"priority": priority})
        return run

    def delete(self, name: str) -> Run:
        run: Run = self.http.json("DELETE", f"/runs/{_quoted(name)}")
        return run

    def user(self) -> str:
        return str(self.http.json("GET", "/whoami")["user"])

    def console(self, run: Run) -> str | None:
        link = run["links"]["self"] if "links" in run else ""
        base = link.rpartition("/runs/")[0] if link.startswith("http") else self.http.server
        return f"{base}/console/runs/{run['run_id']}"

    def close(self) -> None:
        """Nothing is kept open."""


def _post_headers(key: str | None) -> dict[str, str]:
    return {**ORIGIN, **({"Idempotency-Key": key} if key else {})}


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="@")


def _log_query(log_range: LogRange) -> Mapping[str, Any]:
    return {key: value for key, value in vars(log_range).items() if value is not None}


def _end_note(data: bytes) -> bytes:
    end = json.loads(data)
    return _incomplete(end.get("note")).encode() if end.get("complete") is False else b""


def _incomplete(note: str | None) -> str:
    return f"the log is incomplete{': ' + note if note else ''}"
