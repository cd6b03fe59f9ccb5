"""Could a token be a gate's? What it says of itself, unverified, so that the apiserver is asked
about no others. Pure."""

import base64
import json
import time
from typing import Any

from codexrun_core.pod_contract import INGEST_AUDIENCE

MAX_TOKEN_CHARACTERS = 8192
# The apiserver judges by its own clock; a token that is over for longer is over by any.
CLOCK_LEEWAY_SECONDS = 300


class NotAGate(Exception):
    """Not authenticated (401), or not one of our gates (403)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def check_claims(token: str, namespace: str, now: float | None = None) -> None:
    """Check that a token has the form of a service account's that is bound to a pod of the
    namespace and meant for the ingest port (KEP-1205).

    Raises:
        NotAGate: it has not, so that no review would find it a gate's.
    """
    if not token:
        raise NotAGate(401, "the request has no token")
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise NotAGate(401, f"the token is longer than {MAX_TOKEN_CHARACTERS} characters")
    claims = _payload(token)
    audiences = claims.get("aud")  # one, or a list of them (RFC 7519, 4.1.3)
    if audiences != INGEST_AUDIENCE and not (
        isinstance(audiences, list) and INGEST_AUDIENCE in audiences
    ):
        raise NotAGate(401, f"the token is not valid for the audience {INGEST_AUDIENCE}")
    expires = claims.get("exp")
    now = time.time() if now is None else now
    if not isinstance(expires, int | float) or expires < now - CLOCK_LEEWAY_SECONDS:
        raise NotAGate(401, "the token has expired")
    about = claims.get("kubernetes.io")
    if not isinstance(about, dict) or about.get("namespace") != namespace:
        raise NotAGate(403, "the token does not belong to a service account of this namespace")
    if not isinstance(about.get("pod"), dict):
        raise NotAGate(403, "the token is not bound to a pod")


def _payload(token: str) -> dict[str, Any]:
    """Return what the token claims.

    Raises:
        NotAGate: it is no JSON Web Token (RFC 7519).
    """
    parts = token.split(".")
    try:
        if len(parts) != 3:
            raise ValueError("the token does not have the three parts of a JSON Web Token")
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise NotAGate(401, "the token does not belong to a service account") from None
    if not isinstance(claims, dict):
        raise NotAGate(401, "the token does not belong to a service account")
    return claims
