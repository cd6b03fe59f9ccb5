"""What git's error messages mean: why there is no workspace, what to correct, and whether the same
command may work a moment later. Pure.

Git has no error codes; the words are those of git 2.30 to 2.51 and libcurl, with LC_ALL=C.
"""

import re
from dataclasses import dataclass

MEMORY_ADVICE = (
    "git needed more memory than the clone step has (git.memory in the job type); raise that"
    " limit, or clone fewer commits (git.depth)"
)

# What passes: the host is overloaded, restarts, or the network blinked.
PASSING = re.compile(
    r"returned error: (408|425|429|5\d\d)"
    r"|Could not resolve (host|proxy)|Temporary failure in name resolution"
    r"|Failed to connect|Couldn't connect|Connection (refused|reset|timed out)|No route to host"
    r"|Network is unreachable|Recv failure|Send failure|Empty reply from server|RPC failed"
    r"|early EOF|unexpected disconnect|remote end hung up|fetch-pack: invalid index-pack output"
    r"|Operation (timed out|too slow)|(SSL|TLS|gnutls).*(connection|handshake).*(reset|terminated"
    r"|timed out|was non-properly)|HTTP/2 (stream|framing)|transfer closed with"
    r"|Resource temporarily unavailable",
    re.IGNORECASE,
)
# OpenSSL's words, and GnuTLS's, with which Debian builds its git.
UNKNOWN_CA = re.compile(
    r"SSL certificate problem|(server|certificate) verification failed", re.IGNORECASE
)


@dataclass(frozen=True)
class GitProblem:
    """Why git failed, for people. class_: a failure class; passing: it may work a moment later."""

    message: str
    class_: str = "workspace"
    passing: bool = False


def read_problem(stderr: str, code: int, url: str, *, credentials: bool) -> GitProblem:
    """Return what a failure of git means. The first rule that fits decides; the more certain ones
    stand first.

    Args:
        stderr: what it printed, without secrets.
        code: its exit code; minus the number of the signal that killed it.
        credentials: whether it had some to show.
    """
    if code == -9 or "died of signal 9" in stderr or "out of memory" in stderr.lower():
        return GitProblem(MEMORY_ADVICE, "oom")
    if "No space left on device" in stderr:
        return GitProblem(
            f"{url} does not fit in the workspace; raise sizes.workspace in the job type, or clone"
            " fewer commits (git.depth)",
            "storage",
        )
    lines = [
        line for line in stderr.splitlines() if line.startswith(("fatal:", "error:"))
    ] or stderr.splitlines()
    last = lines[-1] if lines else "no reason given"
    if re.search(
        r"Authentication failed|returned error: 40[13]|could not read (Username|Password)", stderr
    ):
        if credentials:
            return GitProblem(
                f"{url} rejects the credentials of the job type's git.credentialsSecretRef; update"
                " that Secret"
            )
        return GitProblem(
            f"{url} asks for credentials; name a Secret in the job type's git.credentialsSecretRef"
            " (some hosts limit anonymous clones of public repositories too)"
        )
    if missing := re.search(r"(?:Remote branch|couldn't find remote ref) (\S+)", stderr):
        return GitProblem(f"{url} has no ref {missing[1]!r}; use a ref that exists")
    if PASSING.search(stderr):
        return GitProblem(f"git cannot clone {url}: {last}", passing=True)
    if re.search(r"returned error: 30\d|redirect", stderr):
        return GitProblem(
            f"{url} responds with a redirect, which is not followed; use the URL that the redirect"
            " points to"
        )
    if UNKNOWN_CA.search(stderr):
        return GitProblem(
            f"the certificate of {url} cannot be verified ({last}); if it comes from a private CA,"
            " add that CA to the chart's git.caBundle"
        )
    if re.search(r"not found|returned error: 404", stderr):
        return GitProblem(
            f"{url} does not exist, or the job type has no access to it; correct the URL, or check"
            " git.credentialsSecretRef in the job type"
        )
    return GitProblem(f"git cannot clone {url}: {last}")
