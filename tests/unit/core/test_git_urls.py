"""Which repositories may be cloned: nothing that a server could read as another path."""

import posixpath
import re
from urllib.parse import unquote, urljoin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codexrun_core.resources.git_urls import UrlError, allowed_url

PREFIX = "https://git.example.com/acme/"
ALLOWED = [f"{PREFIX}*"]

ORDINARY = [
    "shop",
    "shop.git",
    "shop/",
    "team/shop.git",
    "~user/shop.git",
    "project/_git/shop",
    "2f1c9a0e-54a6-4c39-9d9b-0a4d2c1e7f55/_git/shop",
    ".github",
    "a..b",
    "v1.2_x-y~z",
]
AMBIGUOUS = [
    "../secret/repo",
    "..;/secret/repo.git",
    ".;x/secret",
    "..%5csecret/repo",
    "..\\secret/repo",
    "%252e%252e/secret",
    "%2e%2e/secret",
    ".%2e/secret",
    "..%2fsecret",
    "..%3b/secret/repo.git",
    "..%00/secret",
    "..%c0%af..%c0%afsecret",
    "\u2025/secret",
    "\uff0e\uff0e/secret",
    ".../secret",
    ".",
    "..",
    "a//b",
    "/shop",
    "My%20Project/_git/shop",
    "My Project/_git/shop",
    "shop?x=1",
    "shop?",
    "shop#x",
    "shop#",
    "shop\n",
    "sh\top",
    "shop@v1",
    "shop;v=1",
    "a+b",
    "*",
]


@pytest.mark.parametrize("path", ORDINARY)
def test_ordinary_repositories_are_cloned(path: str) -> None:
    assert allowed_url(PREFIX + path, ALLOWED).path == f"/acme/{path}"


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_with_the_way_out(path: str) -> None:
    with pytest.raises(UrlError, match=r"; give only the scheme|; use a repository name or ID"):
        allowed_url(PREFIX + path, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://g\u0131t.example/a",
        "https://git.example:/a",
        "https://git.example\\@evil.example/a",
    ],
)
def test_a_host_is_written_in_ascii(url: str) -> None:
    with pytest.raises(UrlError):
        allowed_url(url, [url, f"{url}*"])


def readings(path: str) -> set[str]:
    """What servers make of a path: unescaped up to three times, parameters cut off, backslashes and
    dots resolved."""
    found = {path}
    for _ in range(3):
        found |= {unquote(one, errors="replace") for one in found}
    found |= {one.replace("\\", "/") for one in found}
    found |= {re.sub(r";[^/]*", "", one) for one in found}
    found |= {one.partition(mark)[0] for one in found for mark in "?#\0"}
    found |= {
        "".join(character for character in one if character not in "\t\r\n").strip()
        for one in found
    }
    return {re.sub("/+", "/", posixpath.normpath(one)) for one in found}


PIECES = [
    "a",
    "B",
    "0",
    ".",
    "..",
    "/",
    "//",
    "~",
    "_",
    "-",
    "%",
    "2e",
    "2f",
    "5c",
    "25",
    ";",
    "\\",
    "?",
    "#",
    "@",
    " ",
    "\t",
    "\uff0e",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=12))
@example("..;/secret")
@example("%252e%252e/secret")
@example("..%5csecret")
def test_whatever_is_accepted_stays_below_the_prefix_however_it_is_read(path: str) -> None:
    url = PREFIX + path
    try:
        parts = allowed_url(url, ALLOWED)
    except UrlError:
        return
    assert parts.geturl() == url
    assert urljoin("https://other.example/", url) == url, "nothing to resolve in it"
    assert readings(parts.path) == {parts.path.removesuffix("/")}
    assert parts.path.startswith("/acme/")
