"""HTTP to the api with the standard library: half the start-up of a client library, and a command
makes a call or two.

Every failure comes out as Trouble with an exit code of its own; a token is never printed and never
sent to another host.
"""

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

from codexrun_cli.errors import Away, Trouble, say
from codexrun_cli.exit_codes import Code

SECONDS = 30.0
TRIES = 4
BROKEN = (OSError, http.client.HTTPException)  # URLError is an OSError


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Following one would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Http:
    """Calls to one server. `debug`: each request and answer on stderr."""

    def __init__(
        self, server: str, token: str | None, *, debug: bool = False, seconds: float = SECONDS
    ) -> None:
        self.server, self._token, self._debug, self._seconds = server, token, debug, seconds
        self._opener = urllib.request.build_opener(_NoRedirects)

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> Any:
        """The answer's JSON; a call that may be repeated is, while nobody answers."""
        for attempt in range(TRIES if repeatable else 1):
            try:
                with self.open(method, path, query=query, body=body, headers=headers) as answer:
                    return json.loads(answer.read() or b"null")
            except Away as away:
                if attempt == TRIES - 1 or not repeatable:
                    raise
                time.sleep(min(away.retry_after or 5, 0.2 * 2**attempt * (1 + random.random())))  # noqa: S311 - jitter
            except BROKEN as error:
                if attempt == TRIES - 1 or not repeatable:
                    self._away(error)
            except (ValueError, RecursionError) as error:
                raise Trouble(
                    Code.FAILED, f"{self.server} does not answer like a codexrun api: {error}"
                ) from None
        raise AssertionError("unreachable")

    def open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> http.client.HTTPResponse:
        """An answer that is read as it comes. Raises Trouble for any status that is no success."""
        url = self.server + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        sent = {"Accept": "application/json", "User-Agent": "codexrun-cli", **(headers or {})}
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(url, data=data, headers=sent, method=method)  # noqa: S310 - http(s), see settings
        began = time.monotonic()
        try:
            answer: http.client.HTTPResponse = self._opener.open(
                request, timeout=seconds or self._seconds
            )
        except urllib.error.HTTPError as error:
            self._tell(method, url, error.code, began, error.headers.get("X-Request-ID"))
            self._problem(error.code, _read(error), error.headers)
        except BROKEN as error:
            self._tell(method, url, _why(error), began, None)
            self._away(error)
        except UnicodeError as error:
            raise Trouble(Code.USAGE, f"{self.server}: {error}") from None
        self._tell(method, url, answer.status, began, answer.headers.get("X-Request-ID"))
        return answer

    def _tell(
        self, method: str, url: str, outcome: Any, began: float, request_id: str | None
    ) -> None:
        if self._debug:
            took = round((time.monotonic() - began) * 1000)
            say(
                f"debug: {method} {url} -> {outcome} ({took}"
                f" ms{f', request id {request_id}' if request_id else ''})"
            )

    def _away(self, error: BaseException) -> NoReturn:
        raise Away(
            f"{self.server} does not answer: {_why(error)}",
            hint="is the URL right, and is the api up? `codexrun doctor` looks",
        ) from None

    def _problem(self, status: int, text: bytes, headers: Any) -> NoReturn:
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict) or "detail" not in said:
            code = code_of(status, "")
            kind = Away if code is Code.UNREACHABLE else None
            detail = f"{self.server} answered HTTP {status}"
            raise kind(detail) if kind else Trouble(code, detail, hint=_hint(status, "")) from None
        code = code_of(status, str(said.get("code", "")))
        about: dict[str, Any] = {
            "title": str(said.get("title", "")),
            "hint": _hint(status, str(said.get("code", ""))),
            "request_id": str(said.get("request_id") or headers.get("X-Request-ID") or ""),
            "errors": [error for error in said.get("errors", []) if isinstance(error, dict)],
            "retry_after": said.get("retry_after"),
        }
        if code is Code.UNREACHABLE:
            raise Away(str(said["detail"]), **about) from None
        raise Trouble(code, str(said["detail"]), **about) from None


def code_of(status: int, code: str) -> Code:
    """The exit code of a problem."""
    if code == "idempotency-key-reused" or status == 409:
        return Code.CONFLICT
    if status in (401, 403):
        return Code.NOT_ALLOWED
    if status == 404:
        return Code.NOT_FOUND
    return Code.UNREACHABLE if status in (502, 503, 504) else Code.FAILED


def _hint(status: int, code: str) -> str:
    """What to type next."""
    return {
        "unauthenticated": "set CODEX_CONTROL_TOKEN, or store a token with `codexrun login`",
        "refused-by-cluster": "`codexrun doctor` shows which right is missing",
        "run-not-found": "`codexrun list` shows the runs that there are",
        "job-type-not-found": "`codexrun jobtypes list` shows what can be started",
        "prompt-not-found": "`codexrun prompts list` shows what there is",
        "concurrency-limit": "leave --reject out, and it waits for its turn",
        "job-type-suspended": "leave --reject out, and it waits until the job type goes on",
        "job-type-held": "leave --reject out, and it waits until the cluster takes its Jobs again",
        "run-finished": "`codexrun retry NAME` runs it again",
        "run-not-finished": "`codexrun cancel NAME` stops it first",
        "name-taken": "choose another --name, or leave it out",
        "idempotency-key-reused": "use another --idempotency-key, or leave it out",
        "invalid-inputs": "`codexrun jobtypes show JOB_TYPE` says which inputs there are",
        "unavailable": "`codexrun doctor` looks for the reason",
    }.get(code, "is the URL that of a codexrun api?" if status == 404 and not code else "")


def _read(error: IO[bytes]) -> bytes:
    try:
        return error.read(1_000_000)
    except BROKEN:
        return b""


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def events(answer: http.client.HTTPResponse) -> Iterator[dict[str, bytes]]:
    """Server-sent events: their fields, `data` lines joined. A stream that is cut inside one gives
    what was whole before.

    Raises:
        OSError, HTTPException: it was cut.
    """
    found: dict[str, bytes] = {}
    while line := answer.readline():
        if not line.endswith(b"\n"):
            return
        if line == b"\n":
            if found:
                yield found
            found = {}
            continue
        name, _, value = line[:-1].partition(b":")
        key, value = name.decode("ascii", "replace"), value.removeprefix(b" ")
        found[key] = found[key] + b"\n" + value if key in found and key == "data" else value


def pause(fruitless: int) -> float:
    """Seconds before connecting again: growing, and never the same for all."""
    return float(min(5.0, 0.2 * 2**fruitless) * (0.5 + random.random()))  # noqa: S311 - jitter
