"""Around every request: its id, its log line, its metrics, a bound on its body, and an answer even
to an internal error."""

import logging
import re
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codexrun_api import metrics
from codexrun_api.http.head_bounds import check_head, drop_other_cookies
from codexrun_api.schemas.problems import FieldError, invalid, problem_of
from codexrun_core.logs import CONTEXT, fields

log = logging.getLogger("codexrun_api.http")

VERSION_PREFIX = "/v1"
# Paths of which a newer name says the same, and that one, relative to the path. The older names
# stay: earlier command lines and users' scripts call them. `/v1/runs` and `/runs` are both current.
SUCCESSORS = {"/runs/start": "../runs"}
# The day of the release that has the newer names (CHANGELOG.md, Unreleased): set it to that
# release's day. RFC 9745 lets it be in the future.
DEPRECATED_AT = datetime(2026, 12, 1, tzinfo=UTC)
REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestMiddleware:
    """Pure ASGI: BaseHTTPMiddleware would buffer streams and hide disconnects."""

    def __init__(self, app: ASGIApp, body_limit: int) -> None:
        self.app = app
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        header = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        request_id = header if _REQUEST_ID.fullmatch(header) else str(uuid.uuid4())
        scope.setdefault("state", {})["request_id"] = request_id
        token = CONTEXT.set({**CONTEXT.get(), "request_id": request_id})
        exchange = _Exchange(scope, request_id, receive, send, self.body_limit)
        metrics.IN_FLIGHT.inc()
        began = time.monotonic()
        try:
            await self._answer(scope, exchange)
        finally:
            metrics.IN_FLIGHT.dec()
            _log_answer(scope, exchange.status, time.monotonic() - began)
            CONTEXT.reset(token)

    async def _answer(self, scope: Scope, exchange: "_Exchange") -> None:
        try:
            drop_other_cookies(scope)
            check_head(scope)
            drop_version(scope)
            length = Headers(scope=scope).get("content-length", "")
            if length.isdecimal() and int(length) > self.body_limit:
                raise _too_large(self.body_limit)
            if not scope["path"].startswith("/console"):  # its forms have lists
                _each_once(scope["query_string"])
            await self.app(scope, exchange.receive, exchange.send)
        except Exception as error:
            problem = problem_of(error)
            if problem.status >= 500 and problem.code == "internal":
                log.exception("request.failed")
            if exchange.status:
                raise  # the answer has begun: all that can be done is to cut it
            await problem.response(exchange.request_id)(scope, exchange.receive, exchange.send)


def drop_version(scope: Scope) -> None:
    """Let `/v1/runs` be `/runs`: both are this version, and a later one has a prefix of its own.
    The console has one name only: its pages link to it."""
    path = scope["path"]
    if path.startswith(VERSION_PREFIX + "/") and not path.startswith(VERSION_PREFIX + "/console"):
        scope["path"] = path.removeprefix(VERSION_PREFIX)
        if raw := scope.get("raw_path"):
            scope["raw_path"] = raw.removeprefix(VERSION_PREFIX.encode())


class _Exchange:
    """One request's two directions, watched."""

    def __init__(
        self, scope: Scope, request_id: str, receive: Receive, send: Send, limit: int
    ) -> None:
        self._scope = scope
        self.request_id = request_id
        self.status = 0
        self._receive = receive
        self._send = send
        self._limit = limit
        self._got = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._got += len(message.get("body", b""))
        if self._got > self._limit:
            raise _too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self.request_id
            if successor := SUCCESSORS.get(_route(self._scope)):
                # RFC 9745: a date in seconds; RFC 5829: what to call instead
                headers["Deprecation"] = f"@{int(DEPRECATED_AT.timestamp())}"
                headers.append("Link", f'<{successor}>; rel="successor-version"')
        await self._send(message)


def _each_once(query: bytes) -> None:
    """Refuse two values of one parameter, of which one would be taken in silence.

    Raises:
        Problem: 422.
    """
    if b"&" not in query:
        return
    names = Counter(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    if repeated := next((name for name, times in names.items() if times > 1), None):
        detail = (
            f"the parameter {repeated} is given more than once; give it once (if it takes several"
            " values, separate them with commas)"
        )
        raise invalid(detail, FieldError(parameter=repeated, detail=detail))


def _too_large(limit: int) -> HTTPException:
    """Return the one kind of error that FastAPI lets through while it reads a body."""
    return HTTPException(
        413,
        f"the request body exceeds {limit} bytes; shorten it (large inputs of a run belong in its"
        " workspace)",
    )


def _route(scope: Scope) -> str:
    """Return the path of the route that was chosen, with its parameters' names."""
    return getattr(scope.get("route"), "path", "unmatched")


def _log_answer(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "OTHER"
    route = _route(scope)
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(method, route).observe(seconds)
    level = logging.DEBUG if route in _QUIET and status < 500 else logging.INFO
    user = scope.get("state", {}).get("user")
    answer = fields(
        method=method, route=route, code=status, user=user, duration_ms=round(seconds * 1000)
    )
    log.log(level, "request.answered", extra=answer)
