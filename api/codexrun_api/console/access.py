"""Who is looking, and may this form be acted on? Dependencies of the console's routes."""

import logging
import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request

from codexrun_api.console import sessions
from codexrun_api.http.auth import ANONYMOUS
from codexrun_api.schemas.problems import Problem
from codexrun_api.services import CurrentServices
from codexrun_core.logs import fields

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Visitor:
    user: str
    csrf: str
    read_only: bool
    session: str = ""  # its id; empty where no token is asked for, and nothing to log out of

    @property
    def logged_in(self) -> bool:
        """Return whether it was by a token."""
        return bool(self.session)


class NotLoggedIn(Exception):
    """Answered with the way to the login page."""

    def __init__(self, back: str) -> None:
        super().__init__("not logged in")
        self.login = f"/console/login?back={quote(back, safe='')}"


def visitor_of(request: Request) -> Visitor | None:
    """Return who is looking; None for a stranger."""
    services = request.app.state.services
    read_only = services.settings.console_read_only
    if services.tokens.open_to_all:
        return Visitor(ANONYMOUS, sessions.form_key(services.form_secret), read_only)
    cookie = request.cookies.get(sessions.COOKIE, "")
    session = sessions.session_of(cookie, services.tokens.digests(), time.time())
    if session is None or session.id in services.ended_sessions:
        return None
    return Visitor(session.user, session.csrf, read_only, session.id)


async def current_visitor(request: Request, _: CurrentServices) -> Visitor:
    """Return whoever is logged in.

    Raises:
        NotLoggedIn: nobody is.
    """
    visitor = visitor_of(request)
    if visitor is None:
        raise NotLoggedIn(
            f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        )
    request.state.user = visitor.user
    request.state.visitor = visitor
    return visitor


async def editing_visitor(
    request: Request, visitor: Annotated[Visitor, Depends(current_visitor)]
) -> Visitor:
    """Return the visitor who may change something: logged in, by a form of this console, and not in
    read-only mode. What buttons hide is refused here.

    Raises:
        Problem: 403.
    """
    refuse_foreign_form(request)
    await refuse_expired_form(request, visitor)
    if visitor.read_only:
        raise Problem(
            403,
            "read-only",
            (
                "this console is read-only; to make changes, use the codexrun command, the REST API"
                " or kubectl"
            ),
        )
    return visitor


def refuse_foreign_form(request: Request) -> None:
    """Refuse a form that the browser says another site sent.

    Over plain HTTP browsers send no Sec-Fetch-Site; then the Origin has to be this server's, as
    the Host or the installation's external URL has it. A request with neither header does not come
    from a browser, and is not refused.

    Raises:
        Problem: 403.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    external_url = request.app.state.services.settings.external_url
    own = {request.headers.get("host", "").lower(), urlsplit(external_url).netloc.lower()}
    if (site is not None and site not in ("same-origin", "none")) or (
        site is None and origin is not None and _netloc(origin) not in own - {""}
    ):
        raise Problem(
            403,
            "foreign-form",
            "this form was submitted from another site; open the console and submit the form there",
        )


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def refuse_expired_form(request: Request, visitor: Visitor) -> None:
    """Refuse a form that was not rendered for this visitor's session (CSRF).

    Raises:
        Problem: 403.
    """
    form = await request.form()
    if not sessions.equals(str(form.get("csrf", "")), visitor.csrf):
        raise Problem(
            403,
            "form-expired",
            "this form was opened in an earlier session; go back, reload the form's page, and"
            " submit the form again",
        )


def log_action(request: Request, visitor: Visitor, action: str, **details: object) -> None:
    """Write the audit line: who did what to which run, from where."""
    client = request.client.host if request.client else None
    log.info(
        action,
        extra=fields(
            user=visitor.user,
            origin="console",
            client=client,
            request_id=request.state.request_id,
            **details,
        ),
    )


CurrentVisitor = Annotated[Visitor, Depends(current_visitor)]
EditingVisitor = Annotated[Visitor, Depends(editing_visitor)]
