"""Sessions of the console: whether a cookie is one, and a form was rendered for it. Pure; no
session is stored, only those that were ended (ended_sessions).

A session is signed with a key derived from the token that it was opened with: it survives a
restart, and ends when that token is taken away. The cookie is no token: REST does not take it, so
that no foreign page can use it there.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

COOKIE = "codexrun_session"
SESSION_HOURS = 12


@dataclass(frozen=True)
class Session:
    id: str  # of the cookie, without its signature
    user: str
    csrf: str  # what every form of this session carries


def open_session(digest: bytes, now: float) -> str:
    """Return the cookie of a new session for whoever showed the token of that digest. `now`:
    seconds since the epoch."""
    body = f"{int(now) + SESSION_HOURS * 3600}.{secrets.token_hex(12)}"
    return f"{body}.{_sign(digest, 'session', body)}"


def session_of(cookie: str, digests: Mapping[bytes, str], now: float) -> Session | None:
    """Return the session; None if it is over, forged, or its token is gone."""
    body, _, signature = cookie.rpartition(".")
    ends, _, _ = body.partition(".")
    if not (ends.isascii() and ends.isdecimal() and len(ends) < 16) or int(ends) <= now:
        return None
    for digest, name in digests.items():
        if hmac.compare_digest(
            _sign(digest, "session", body),
            signature.encode("utf-8", "replace").decode("ascii", "replace"),
        ):
            return Session(body, name, _sign(digest, "form", body))
    return None


def form_key(secret: bytes) -> str:
    """Return what every form carries where nobody logs in."""
    return _sign(secret, "form", "open")


def equals(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def _sign(digest: bytes, purpose: str, body: str) -> str:
    key = hmac.new(digest, f"codexrun console {purpose}".encode(), hashlib.sha256).digest()
    return hmac.new(key, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
