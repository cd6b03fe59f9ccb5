"""HTTP to the api with the standard library: half the start-up of a client library, and a command
makes a call or two.

Every failure comes out as CommandError with an exit code of its own; a token is never printed and
never sent to another host.
"""

import http.client
import json
import random
import re
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import IO, Any, NoReturn

from codexrun_cli.errors import CommandError, Unreachable, say
from codexrun_cli.exit_codes import Code

TIMEOUT_SECONDS = 30.0
CONNECT_SECONDS = 8.0
MAX_ATTEMPTS = 4
MAX_PROBLEM_BYTES = 1_000_000
CONNECTION_ERRORS = (OSError, http.client.HTTPException)  # URLError is an OSError


# What the api advises callers of REST; the hints below are for people at a terminal.
_HTTP_ADVICE = re.compile(
    r"; (?:GET /\S+ lists [a-z ]+|/openapi\.json lists the paths and their methods"
    r"|`errors` says where|send (?:a valid token as )?`Authorization: [^`]*`)$"
)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Following one would carry the token to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _BoundedConnect:
    """A connection that is there soon or not at all; an answer may take longer. Mixed into those of
    http.client."""

    timeout: float | None
    sock: socket.socket

    def connect(self) -> None:
        seconds = self.timeout
        self.timeout = min(seconds or CONNECT_SECONDS, CONNECT_SECONDS)
        super().connect()  # type: ignore[misc]
        self.timeout = seconds
        self.sock.settimeout(seconds)


class _PlainConnection(_BoundedConnect, http.client.HTTPConnection):
    pass


class _TlsConnection(_BoundedConnect, http.client.HTTPSConnection):
    pass


class _Plain(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PlainConnection, req)


class _Tls(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)


class Http:
    """Calls to one server. `debug`: each request and answer on stderr."""

    def __init__(
        self,
        server: str,
        token: str | None,
        *,
        debug: bool = False,
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self.server = server
        self._token = token
        self._debug = debug
        self._seconds = seconds
        self._opener = urllib.request.build_opener(_NoRedirects, _Plain, _Tls)

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
        """Return the answer's JSON; a call that may be repeated is, while nobody answers and that
        is known at once."""
        attempts = MAX_ATTEMPTS if repeatable else 1
        for attempt in range(attempts):
            try:
                with self.open(method, path, query=query, body=body, headers=headers) as answer:
                    return json.loads(answer.read() or b"null")
            except Unreachable as error:
                if attempt == attempts - 1 or error.timed_out:
                    raise
                jitter = 1 + random.random()  # noqa: S311
                time.sleep(min(error.retry_after or 5, 0.2 * 2**attempt * jitter))
            except CONNECTION_ERRORS as error:
                if attempt == attempts - 1 or isinstance(error, TimeoutError):
                    self._raise_unavailable(error)
            except (ValueError, RecursionError) as error:
                raise CommandError(
                    Code.FAILED,
                    f"{self.server} does not respond like a codexrun REST API: {error}",
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
        """Return an answer that is read as it comes.

        Raises:
            CommandError: any status but success.
        """
        url = self.server + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        all_headers = {
            "Accept": "application/json",
            "User-Agent": "codexrun-cli",
            **(headers or {}),
        }
        if self._token:
            all_headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            all_headers["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - http(s), see settings
            url, data=data, headers=all_headers, method=method
        )
        started_at = time.monotonic()
        try:
            answer: http.client.HTTPResponse = self._opener.open(
                request, timeout=seconds or self._seconds
            )
        except urllib.error.HTTPError as error:
            self._log_call(method, url, error.code, started_at, error.headers.get("X-Request-ID"))
            self._raise_problem(error.code, _read(error), error.headers)
        except CONNECTION_ERRORS as error:
            self._log_call(method, url, _reason(error), started_at, None)
            self._raise_unavailable(error)
        except UnicodeError as error:
            raise CommandError(Code.USAGE, f"{self.server}: {error}") from None
        self._log_call(method, url, answer.status, started_at, answer.headers.get("X-Request-ID"))
        return answer

    def _log_call(
        self, method: str, url: str, outcome: Any, started_at: float, request_id: str | None
    ) -> None:
        if self._debug:
            milliseconds = round((time.monotonic() - started_at) * 1000)
            say(
                f"debug: {method} {url} -> {outcome} ({milliseconds}"
                f" ms{f', request ID {request_id}' if request_id else ''})"
            )

    def _raise_unavailable(self, error: BaseException) -> NoReturn:
        raise Unreachable(
            f"{self.server} is not responding: {_reason(error)}",
            timed_out=isinstance(getattr(error, "reason", error), TimeoutError),
            hint="is the URL right, and is the REST API up? Run `codexrun doctor` to check",
        ) from None

    def _raise_problem(self, status: int, text: bytes, headers: Any) -> NoReturn:
        try:
            problem = json.loads(text)
        except (ValueError, RecursionError):
            problem = None
        if not isinstance(problem, dict) or "detail" not in problem:
            exit_code = code_of(status, "")
            detail = f"{self.server} responded with HTTP {status}"
            if exit_code is Code.UNREACHABLE:
                raise Unreachable(detail) from None
            raise CommandError(exit_code, detail, hint=_hint(status, "")) from None
        code = str(problem.get("code", ""))
        exit_code = code_of(status, code)
        fields: dict[str, Any] = {
            "hint": _hint(status, code),
            "request_id": str(problem.get("request_id") or headers.get("X-Request-ID") or ""),
            "errors": [error for error in problem.get("errors", []) if isinstance(error, dict)],
            "retry_after": problem.get("retry_after"),
        }
        detail = _HTTP_ADVICE.sub("", str(problem["detail"]))
        if exit_code is Code.UNREACHABLE:
            raise Unreachable(detail, **fields) from None
        raise CommandError(exit_code, detail, **fields) from None


def code_of(status: int, code: str) -> Code:
    """Return the exit code of a problem."""
    if code == "idempotency-key-reused" or status == 409:
        return Code.CONFLICT
    if status in (401, 403):
        return Code.NOT_ALLOWED
    if status == 404:
        return Code.NOT_FOUND
    return Code.UNREACHABLE if status in (502, 503, 504) else Code.FAILED


def _hint(status: int, code: str) -> str:
    """Return what to type next."""
    return {
        "unauthenticated": "set CODEX_CONTROL_TOKEN, or store a token with `codexrun login`",
        "refused-by-cluster": "`codexrun doctor` shows which permission is missing",
        "run-not-found": "`codexrun list` shows the runs that exist",
        "job-type-not-found": "`codexrun jobtypes list` shows what can be started",
        "prompt-not-found": "`codexrun prompts list` shows the prompts that exist",
        "concurrency-limit": "without --reject, the run waits for its turn",
        "job-type-suspended": "without --reject, the run waits until the job type is resumed",
        "job-type-held": ("without --reject, the run waits until the cluster accepts its Job"),
        "run-finished": "`codexrun retry NAME` runs it again",
        "run-not-finished": "`codexrun cancel NAME` cancels it",
        "name-taken": "choose another --name, or leave it out",
        "idempotency-key-reused": "use another --idempotency-key, or leave it out",
        "invalid-inputs": "`codexrun jobtypes show JOB_TYPE` lists the inputs",
        "unavailable": "run `codexrun doctor` to find the cause",
    }.get(code, "is this the URL of a codexrun REST API?" if status == 404 and not code else "")


def _read(error: IO[bytes]) -> bytes:
    try:
        return error.read(MAX_PROBLEM_BYTES)
    except CONNECTION_ERRORS:
        return b""


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def server_events(answer: http.client.HTTPResponse) -> Iterator[dict[str, bytes]]:
    """Yield server-sent events: their fields, `data` lines joined. A stream that is cut inside one
    gives what was whole before.

    Raises:
        OSError, HTTPException: it was cut.
    """
    event: dict[str, bytes] = {}
    while line := answer.readline():
        if not line.endswith(b"\n"):
            return
        if line == b"\n":
            if event:
                yield event
            event = {}
            continue
        name, _, value = line[:-1].partition(b":")
        key = name.decode("ascii", "replace")
        value = value.removeprefix(b" ")
        event[key] = event[key] + b"\n" + value if key in event and key == "data" else value


def retry_delay(failures: int) -> float:
    """Return seconds before connecting again: growing, and never the same for all."""
    return float(min(5.0, 0.2 * 2**failures) * (0.5 + random.random()))  # noqa: S311 - jitter
