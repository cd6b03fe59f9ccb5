"""How large may a request be before its body? Asked first of all, before authentication, on every
path of both ports."""

import uuid

from starlette.types import ASGIApp, Receive, Scope, Send

from codexrun_api.schemas.problems import Problem

MAX_PATH_BYTES = 2 * 1024  # the longest of a route with names of full length has about 200
MAX_QUERY_BYTES = 8 * 1024
MAX_PARAMETERS = 64
MAX_HEADERS = 100
# names and values; proxies of single sign-on add tokens of several KiB
MAX_HEADER_BYTES = 32 * 1024
OWN_COOKIES = b"codexrun_"


def check_head(scope: Scope) -> None:
    """Count what a request line and its headers hold; nothing is parsed.

    Raises:
        Problem: 414 (path or query too long), 400 (too many parameters), 431 (headers too large).
    """
    path = len(scope.get("raw_path") or scope["path"].encode())
    query = len(scope["query_string"])
    if path > MAX_PATH_BYTES:
        detail = (
            f"the path is {path} bytes long, more than the {MAX_PATH_BYTES} allowed; no path of"
            " this server is that long"
        )
        raise Problem(414, "uri-too-long", detail)
    if query > MAX_QUERY_BYTES:
        detail = (
            f"the query is {query} bytes long, more than the {MAX_QUERY_BYTES} allowed; split the"
            " request"
        )
        raise Problem(414, "uri-too-long", detail)
    if (parameters := scope["query_string"].count(b"&") + 1) > MAX_PARAMETERS:
        detail = (
            f"the query has {parameters} parameters, more than the {MAX_PARAMETERS} allowed;"
            " separate the values of one parameter with commas"
        )
        raise Problem(400, "too-many-parameters", detail)
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        detail = (
            f"the request has {len(headers)} headers with a total of {size} bytes; at most"
            f" {MAX_HEADERS} headers and {MAX_HEADER_BYTES} bytes are allowed; leave out headers"
            " not meant for this server, such as cookies of another site"
        )
        raise Problem(431, "headers-too-large", detail)


def drop_other_cookies(scope: Scope) -> None:
    """Leave only this server's own cookies in the headers, and of those none with a quoted value,
    which it never sets.

    FastAPI reads every cookie before any route, and Python before 3.11.10, 3.12.6 and 3.13 unquotes
    them in quadratic time (CVE-2024-7592): 16 KiB of backslashes stop the event loop for half a
    second.
    """
    if any(name == b"cookie" for name, _ in scope["headers"]):
        scope["headers"] = [
            (name, _own(value) if name == b"cookie" else value) for name, value in scope["headers"]
        ]


def _own(cookies: bytes) -> bytes:
    pairs = (pair.strip() for pair in cookies.split(b";"))
    return b"; ".join(pair for pair in pairs if pair.startswith(OWN_COOKIES) and b"\\" not in pair)


class BoundedHeads:
    """For an application that has no middleware of its own around its errors: the ingest port's."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                check_head(scope)
            except Problem as problem:
                await problem.response(str(uuid.uuid4()))(scope, receive, send)
                return
        await self.app(scope, receive, send)
