"""May this repository be cloned? Stdlib only: the operator asks before a run is queued, the clone step asks again."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

# What a server, a proxy or Git itself could read in another way than we compared it.
_SUSPICIOUS = re.compile(r"[\x00-\x20\x7f\\?#]|%2e|%2f|/\.\.?(/|$)", re.IGNORECASE)


class UrlError(ValueError):
    """It may not be cloned; the message says why, and what to do."""


def allowed_url(url: str, allowed: Sequence[str]) -> SplitResult:
    """The parts of a URL that is http(s), unambiguous, and on the list: exactly, or by an entry that ends in `*`.

    Raises:
        UrlError: and why not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UrlError(f"{url!r} is not an http(s) URL; only those can be cloned")
    if "@" in parts.netloc:
        raise UrlError("the URL holds a user or password; put them into the Secret of git.credentialsSecretRef")
    if _SUSPICIOUS.search(url):
        raise UrlError(f"{url!r} holds blanks, dot segments, a query or escaped dots; write the repository's plain URL")
    if not any(url.startswith(entry[:-1]) if entry.endswith("*") else url == entry for entry in allowed):
        raise UrlError(
            f"{url} is not in the job type's git.allowedURLs ({', '.join(allowed)}); use one of those, or ask the job type's "
            "owner to add it"
        )
    return parts
