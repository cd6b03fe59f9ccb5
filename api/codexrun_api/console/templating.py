"""How does an answer of the console look? Templates, the headers that every answer has, and errors
as pages."""

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2_fragments import render_block
from markupsafe import Markup

from codexrun_api.console.access import NotLoggedIn, visitor_of
from codexrun_api.console.security_headers import HEADERS
from codexrun_api.console.view import formats, health_strip
from codexrun_api.console.view.keyboard import BINDINGS
from codexrun_api.console.view.status_text import STATES, state_of
from codexrun_api.schemas.problems import Problem, problem_of

log = logging.getLogger(__name__)

T = TypeVar("T")

ROOT = Path(__file__).parent
STATIC = ROOT / "static"
THEME = "codexrun_theme"
MEDIA_TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}

# Two at once: what an agent wrote may take its time, and neither the event loop nor everything
# else's threads are its own.
_RENDERERS = ThreadPoolExecutor(2, "render")


def _visible(value: Any) -> Any:
    """Return what a template puts out, with nothing in it that stays invisible. Escaping is
    autoescape's."""
    return (
        formats.visible(value)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


@cache
def static_files() -> dict[str, str]:
    """Return every file that is served, by its name below static/, with its URL. The URL has the
    file's digest: what it leads to never changes."""
    files = (file for file in sorted(STATIC.rglob("*")) if file.suffix in MEDIA_TYPES)
    digests = {
        str(file.relative_to(STATIC)): hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file in files
    }
    return {name: f"/console/static/{name}?v={digest}" for name, digest in digests.items()}


def static_url(name: str) -> str:
    """Return the file's URL with its digest, so that it may be kept for ever."""
    return static_files()[name]


@cache
def templates() -> jinja2.Environment:
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        finalize=_visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        name: getattr(formats, name)
        for name in (
            "duration",
            "about",
            "utc",
            "iso",
            "count",
            "size",
            "money",
            "dollars",
            "percent",
            "plural",
            "for_visitors",
        )
    }
    env.globals |= {
        "static": static_url,
        "states": STATES,
        "state_of": state_of,
        "bindings": BINDINGS,
        "ago": formats.ago,
    }
    env.globals["p"] = env.get_template("parts.html").module  # also where a block is rendered alone
    return env


async def off_loop(work: Callable[[], T]) -> T:
    """Do what takes long with foreign text in the pages' own threads. `work` reads nothing that the
    event loop changes."""
    in_context = contextvars.copy_context().run  # log lines have the request's id
    return await asyncio.get_running_loop().run_in_executor(_RENDERERS, in_context, work)


class PageResponse(HTMLResponse):
    """A page whose body is not made yet: its route makes it, outside the event loop."""

    def __init__(self, render: Callable[[], str], status: int) -> None:
        super().__init__(status_code=status)
        self._render = render

    async def make_body(self) -> None:
        self.body = (await off_loop(self._render)).encode()
        self.headers["Content-Length"] = str(len(self.body))


def page(
    request: Request, template: str, status: int = 200, *, block: str = "", **context: Any
) -> Response:
    """Return a page, or with `block` only that part of it."""
    services = request.app.state.services
    visitor = visitor_of(request)
    now = datetime.now(UTC)
    theme = request.cookies.get(THEME, "")
    shared = {
        "seen": visitor,
        "csrf": visitor.csrf if visitor else "",
        "may_act": bool(visitor and not visitor.read_only),
        "now": now,
        "path": request.url.path,
        "this_url": (
            f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        ),
        "theme": theme if theme in ("light", "dark") else "",
        "namespace": services.settings.namespace,
        "strip": health_strip.signs_of(services, now) if visitor else (),
    }
    all_context = {**shared, **context}
    return PageResponse(partial(_render, template, block, all_context), status)


def _render(template: str, block: str, all_context: dict[str, Any]) -> str:
    if block:
        # Swapped as a whole: space around it would stay in the page, one more node with each
        # update.
        return render_block(templates(), template, block, all_context).strip()
    return templates().get_template(template).render(all_context)


def see_other(url: str) -> RedirectResponse:
    """Send the browser to the page that shows what came of its form."""
    return RedirectResponse(url, 303)


def problem_page(request: Request, problem: Problem) -> Response:
    """Return an error as a page: what is wrong, the way out, and the id that the log knows it
    by."""
    answer = page(
        request, "error.html", problem.status, problem=problem, request_id=request.state.request_id
    )
    if problem.retry_after:
        answer.headers["Retry-After"] = str(problem.retry_after)
    return answer


class Page(APIRoute):
    """A route whose errors are pages and whose every answer carries the headers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await _with_body(await handle(request))
            except NotLoggedIn as stranger:
                response = await _with_body(_way_to_login(request, stranger))
            except Exception as error:
                problem = problem_of(error)
                if problem.code == "internal":
                    log.exception("console.failed")
                response = await _with_body(problem_page(request, problem))
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return answer


async def _with_body(response: Response) -> Response:
    if isinstance(response, PageResponse):
        await response.make_body()
    return response


def _way_to_login(request: Request, stranger: NotLoggedIn) -> Response:
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Redirect": stranger.login})
    if request.method != "GET":
        return problem_page(
            request,
            Problem(
                401,
                "logged-out",
                "you are not logged in, or your session has ended; log in, open the form's page"
                " again, and submit the form",
            ),
        )
    if request.headers.get("sec-fetch-site") == "cross-site":
        # A link on another site: the browser keeps a strict cookie back once. Asked again from
        # here, it sends it.
        return HTMLResponse(
            '<!doctype html><html lang="en"><title>codexrun</title><meta http-equiv="refresh"'
            ' content="0">'
        )
    return see_other(stranger.login)
