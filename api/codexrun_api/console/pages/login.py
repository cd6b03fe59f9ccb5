"""/console/login, /logout and /theme."""

import asyncio
import logging
import math
import time
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response

from codexrun_api.console import sessions
from codexrun_api.console.access import refuse_expired_form, refuse_foreign_form, visitor_of
from codexrun_api.console.templating import THEME, Page, page, see_other
from codexrun_api.http.auth import token_digest
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices, Services
from codexrun_core.logs import fields

router = APIRouter(route_class=Page, include_in_schema=False)

log = logging.getLogger(__name__)

YEAR_SECONDS = 365 * 86_400


@router.get("/console/login")
async def form(
    request: Request,
    services: CurrentServices,  # noqa: ARG001 - a route's signature
) -> Response:
    back = _console_url(request.query_params.get("back", ""))
    return (
        see_other(back)
        if visitor_of(request)
        else page(request, "login.html", back=back, wrong=False)
    )


@router.post("/console/login")
async def login(request: Request, services: CurrentServices) -> Response:
    """The control token for a session. A form of another site is refused: it would log somebody in
    as somebody else."""
    refuse_foreign_form(request)
    client = request.client.host if request.client else ""
    # Asked before the token is looked at: the answer must not tell which guess was right.
    if wait := services.logins.wait(client, time.monotonic()):
        raise Problem(
            429,
            "too-many-logins",
            "too many unknown tokens were sent from your address; try again in"
            f" {math.ceil(wait)} s",
            retry_after=math.ceil(wait),
        )
    form = await request.form()
    token = str(form.get("token", "")).strip()
    back = _console_url(str(form.get("back", "")))
    user = services.tokens.user(token)
    if user is None:
        services.logins.fail(client, time.monotonic())
        log.warning("console.login_refused", extra=fields(client=client))
        return page(request, "login.html", 401, back=back, wrong=True)
    answer = see_other(back)
    answer.set_cookie(
        sessions.COOKIE,
        sessions.open_session(token_digest(token), time.time()),
        max_age=sessions.SESSION_HOURS * 3600,
        path="/console",
        httponly=True,
        samesite="strict",
        secure=_secure(request, services),
    )
    log.info(
        "console.logged_in",
        extra=fields(user=user, client=client),
    )
    return answer


@router.post("/console/logout")
async def logout(request: Request, services: CurrentServices) -> Response:
    """Also in read-only mode."""
    visitor = visitor_of(request)
    if visitor:
        await refuse_expired_form(request, visitor)
    if visitor and visitor.session:
        await asyncio.to_thread(services.ended_sessions.add, visitor.session, time.time())
        log.info("console.logged_out", extra=fields(user=visitor.user))
    answer = see_other("/console/login")
    answer.delete_cookie(
        sessions.COOKIE,
        path="/console",
        httponly=True,
        samesite="strict",
        secure=_secure(request, services),
    )
    return answer


@router.post("/console/theme")
async def theme(request: Request, services: CurrentServices) -> Response:
    """Light, dark, or as the system has it; a cookie that says nothing about anybody."""
    refuse_foreign_form(request)
    form = await request.form()
    answer = see_other(_console_url(str(form.get("back", ""))))
    theme_name = str(form.get("theme", ""))
    if theme_name in ("light", "dark"):
        answer.set_cookie(
            THEME,
            theme_name,
            max_age=YEAR_SECONDS,
            path="/console",
            samesite="strict",
            secure=_secure(request, services),
        )
    else:
        answer.delete_cookie(THEME, path="/console")
    return answer


def _secure(request: Request, services: Services) -> bool:
    """Return whether cookies are for TLS only. Behind a proxy that ends TLS only the external
    URL knows."""
    return request.url.scheme == "https" or services.settings.external_url.startswith("https:")


def _console_url(url: str) -> str:
    """Return the URL if it leads back into the console, else the list's."""
    parts = urlsplit(url) if url.isprintable() and "\\" not in url else urlsplit("")
    inside = not parts.scheme and not parts.netloc and parts.path.startswith("/console")
    return url if inside and not parts.path.startswith("/console/log") else "/console/runs"
