"""Who is calling? Bearer tokens, named or shared, compared in constant time."""

import hashlib
import hmac
import logging
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from codexrun_api.schemas.problems import Problem
from codexrun_api.settings import Settings
from codexrun_core.logs import fields

log = logging.getLogger(__name__)

SHARED = "shared"
ANONYMOUS = "anonymous"
SHORT_CHARACTERS = 20


class Tokens:
    """The environment's token and those of a file, which is read again when it changes: rotation
    needs no restart."""

    def __init__(self, settings: Settings) -> None:
        self._shared = {token_digest(settings.token): SHARED} if settings.token else {}
        self._file: Path | None = settings.token_file
        self._open = settings.insecure_no_token and not settings.token and not settings.token_file
        self._stamp: tuple[int, int] | None = None
        self._named: dict[bytes, str] = {}
        if settings.token:
            _warn_of_short(SHARED, settings.token)

    def user(self, token: str | None) -> str | None:
        """Return the name behind a token; None for a stranger."""
        if self._open:
            return ANONYMOUS
        if not token:
            return None
        self._read()
        digest = token_digest(token)
        user = None
        for other, name in (*self._shared.items(), *self._named.items()):
            if hmac.compare_digest(
                other, digest
            ):  # all of them are compared: the time tells nothing
                user = user or name
        return user

    @property
    def open_to_all(self) -> bool:
        """Return whether no token is asked for."""
        return self._open

    def digests(self) -> dict[bytes, str]:
        """Return every token's digest and its owner's name, as they are now: what console
        sessions are signed with."""
        self._read()
        return {**self._named, **self._shared}

    def _read(self) -> None:
        if self._file is None:
            return
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp == self._stamp:
                return
            self._named = parse_tokens(self._file.read_text(encoding="utf-8"))
            self._stamp = stamp
            log.info("tokens.read", extra=fields(path=str(self._file), tokens=len(self._named)))
        except (OSError, UnicodeDecodeError) as error:
            # A file that is being replaced locks nobody out: what was known stays.
            log.warning("tokens.unreadable", extra=fields(path=str(self._file), error=str(error)))


def parse_tokens(text: str) -> dict[bytes, str]:
    """Read lines of `name:token`; a line without a name is the shared token; `#` begins a
    comment line."""
    tokens = {}
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            name, colon, token = line.partition(":")
            if not colon:
                token = name
                name = SHARED
            if token.strip():
                _warn_of_short(name.strip() or SHARED, token.strip())
                tokens[token_digest(token.strip())] = name.strip() or SHARED
    return tokens


def _warn_of_short(user: str, token: str) -> None:
    """REST takes as many guesses as the network lets through, so that a token must not be
    guessable."""
    if len(token) < SHORT_CHARACTERS:
        log.warning("token.short", extra=fields(user=user, characters_at_least=SHORT_CHARACTERS))


def token_digest(token: str) -> bytes:
    """Return what a token is remembered, compared and signed by, so that it need not be kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


_bearer = HTTPBearer(
    auto_error=False, description="CODEX_CONTROL_TOKEN, or a token from the token file."
)


async def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> str:
    """Return the user's name, for the record.

    Raises:
        Problem: 401.
    """
    user: str | None = request.app.state.services.tokens.user(
        credentials.credentials if credentials else None
    )
    if user is None:
        problem = "the token is unknown" if credentials else "the request has no token"
        advice = "send a valid token as `Authorization: Bearer $CODEX_CONTROL_TOKEN`"
        raise Problem(401, "unauthenticated", f"{problem}; {advice}")
    request.state.user = user
    return user


Caller = Annotated[str, Depends(caller)]


async def check_closed(request: Request) -> None:
    """Ask for a token where the installation is closed. The document, which is the same for each,
    names no security for these paths.

    Raises:
        Problem: 401.
    """
    if request.app.state.services.settings.closed:
        await caller(request, await _bearer(request))
