"""May this repository be cloned? Stdlib only: operator and clone step ask the same question."""

from collections.abc import Iterable
from urllib.parse import urlsplit


def url_allowed(url: str, allowed: Iterable[str]) -> bool:
    """Whether `url` equals an entry of `allowed`, or begins with one that ends in `*`.

    A URL with user or password, a `..` segment, an escape in its host or path, a query or a fragment is never allowed: a server
    could read it as another one than we compared.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return False
    if parts.query or parts.fragment or any(c in url for c in "%\\") or any(c.isspace() for c in url):
        return False
    if ".." in parts.path.split("/"):
        return False
    return any(url.startswith(entry[:-1]) if entry.endswith("*") else url == entry for entry in allowed)
