"""May this repository be cloned? Stdlib only: the operator asks before a run is queued, the clone
step asks again."""

import re
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

# Characters that every server, proxy and Git itself reads in one way: what is escaped (%2e, %252e,
# %5c), a parameter (..;) or not ASCII may become another path behind the comparison with
# git.allowedURLs.
_NETLOC = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_DOTS = re.compile(r"\.+")


# The same words where the apiserver, REST and the command line refuse one by its form.
URL_RULE = (
    "must be an http(s) URL with a path and without a user name or password; credentials come from"
    " the job type's git.credentialsSecretRef"
)


class UrlError(ValueError):
    """It may not be cloned; the message says why, and what to do."""


def allowed_url(url: str, allowed: Sequence[str]) -> SplitResult:
    """Return the parts of a URL that is http(s), unambiguous, and on the list: exactly, or by an
    entry that ends in `*`.

    Raises:
        UrlError: and why not.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError(
            f"{url!r} is not a URL ({error}); use a URL such as https://github.com/acme/shop"
        ) from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UrlError(f"{url!r} is not an http(s) URL; only http(s) URLs can be cloned")
    if "@" in parts.netloc:
        raise UrlError(
            "the URL contains a user name or password; put them in the Secret named in"
            " git.credentialsSecretRef"
        )
    # urlsplit drops tabs, newlines and surrounding blanks, and lowers the scheme: what it read must
    # be what was written.
    if f"{parts.scheme}://{parts.netloc}{parts.path}" != url or not _NETLOC.fullmatch(parts.netloc):
        raise UrlError(
            f"{url!r} contains spaces, a query or a fragment; give only the scheme, host and path"
        )
    for segment in parts.path.removeprefix("/").removesuffix("/").split("/"):
        if not _SEGMENT.fullmatch(segment) or _DOTS.fullmatch(segment):
            raise UrlError(
                f"{url!r} has {segment!r} in its path; each part of the path may contain only"
                " letters, digits and . _ ~ -, and must not consist only of dots; use a repository"
                " name or ID that follows this rule"
            )
    if not any(
        url.startswith(entry[:-1]) if entry.endswith("*") else url == entry for entry in allowed
    ):
        raise UrlError(
            f"{url} does not match the job type's git.allowedURLs ({', '.join(allowed)}); use a"
            " URL that matches one of them, or ask the job type's owner to add this URL"
        )
    return parts
