"""What git's words mean: what passes is tried again, and the rest says what to correct."""

import pytest

from codexrun_pod.clone.git_problems import read_problem

URL = "https://git.example/acme/app"

# Words of git 2.39 to 2.51 and libcurl, from their sources and from public issues.
PASSING = [
    "fatal: unable to access 'https://git.example/': The requested URL returned error: 503",
    "fatal: unable to access 'https://git.example/': The requested URL returned error: 429",
    "fatal: unable to access 'https://git.example/': Could not resolve host: git.example",
    "fatal: unable to access 'https://git.example/': Failed to connect to git.example port 443",
    "fatal: unable to access 'https://git.example/': Recv failure: Connection reset by peer",
    "fatal: unable to access 'https://git.example/': Empty reply from server",
    "error: RPC failed; curl 18 transfer closed with outstanding read data remaining\n"
    "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
    "error: RPC failed; HTTP 502 curl 22 The requested URL returned error: 502\n"
    "fatal: the remote end hung up unexpectedly",
    "fatal: unable to access 'https://git.example/': Operation too slow. Less than 1000 bytes/sec",
    "fatal: unable to access 'https://git.example/': GnuTLS recv error (-110): The TLS connection"
    " was non-properly terminated.",
    "error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)",
]
LASTING = [
    ("fatal: repository 'https://git.example/' not found", "does not exist"),
    (
        "fatal: unable to access 'https://git.example/': The requested URL returned error: 404",
        "not",
    ),
    ("fatal: Authentication failed for 'https://git.example/'", "git.credentialsSecretRef"),
    ("fatal: could not read Username for 'https://git.example'", "git.credentialsSecretRef"),
    ("error: RPC failed; HTTP 403 curl 22 The requested URL returned error: 403", "credentials"),
    ("fatal: unable to access: SSL certificate problem: self-signed certificate", "git.caBundle"),
    (
        "fatal: unable to access 'https://git.example/': server certificate verification failed."
        " CAfile: none CRLfile: none",
        "git.caBundle",
    ),
    ("warning: redirecting\nfatal: unable to update url base from redirection", "redirect"),
    ("fatal: Remote branch nope not found in upstream origin", "has no ref 'nope'"),
    ("fatal: couldn't find remote ref refs/pull/9/head", "has no ref 'refs/pull/9/head'"),
    ("", "no reason given"),
]


@pytest.mark.parametrize("stderr", PASSING)
def test_what_passes_is_worth_another_try(stderr: str) -> None:
    problem = read_problem(stderr, 128, URL, credentials=False)
    assert (problem.passing, problem.class_) == (True, "workspace")
    assert URL in problem.message


@pytest.mark.parametrize(("stderr", "words"), LASTING)
def test_what_lasts_says_what_to_correct(stderr: str, words: str) -> None:
    problem = read_problem(stderr, 128, URL, credentials=False)
    assert (problem.passing, problem.class_) == (False, "workspace")
    assert words in problem.message


@pytest.mark.parametrize(
    ("stderr", "code", "class_", "words"),
    [
        ("", -9, "oom", "git.memory"),
        ("fatal: index-pack died of signal 9", 128, "oom", "git.memory"),
        ("fatal: Out of memory, malloc failed", 128, "oom", "git.depth"),
        ("fatal: write error: No space left on device", 128, "storage", "sizes.workspace"),
    ],
)
def test_what_the_clone_lacks_is_a_class_of_its_own(
    stderr: str, code: int, class_: str, words: str
) -> None:
    problem = read_problem(stderr, code, URL, credentials=False)
    assert (problem.class_, problem.passing) == (class_, False)
    assert words in problem.message
