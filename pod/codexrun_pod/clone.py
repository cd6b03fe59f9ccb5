"""`python3 -m codexrun_pod.clone`: puts the run's Git repository into /workspace, or says why it
cannot.

The only place of a run's pod that sees Git credentials: they come from a mounted Secret, through a
credential helper that answers for this one host, and are never on a command line, in a URL or in
.git/config.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

from codexrun_core.pod_contract import (
    CLONE_ENV,
    GIT_CREDENTIALS_FOLDER,
    TERMINATION_LOG,
    TERMINATION_LOG_ENV,
    WORKSPACE,
    WORKSPACE_ENV,
    ReportKey,
)
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_pod import loglines, termination, uncaught

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAX_NAMED_BRANCHES = 10  # of the repository's branches, in the message about a wrong ref


class CloneError(Exception):
    """No workspace; the message says what to correct."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to clone, and the paths. proxy: http:// URL of a proxy on the way."""

    url: str
    ref: str | None
    allowed: tuple[str, ...]
    workspace: Path
    credentials: Path
    proxy: str | None = None


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read CODEXRUN_CLONE (JSON); CODEXRUN_WORKSPACE and CODEXRUN_GIT_CREDENTIALS move the paths.

    Raises:
        CloneError: it is missing or broken.
    """
    try:
        config = json.loads(environ[CLONE_ENV])
        return Settings(
            url=config["url"],
            ref=config.get("ref"),
            allowed=tuple(config["allowedURLs"]),
            workspace=Path(environ.get(WORKSPACE_ENV, WORKSPACE)),
            credentials=Path(environ.get("CODEXRUN_GIT_CREDENTIALS", GIT_CREDENTIALS_FOLDER)),
            proxy=config.get("proxy"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CloneError(f"{CLONE_ENV} cannot be read: {error}") from error


class Git:
    """The git command line, shut off from every configuration but this one."""

    def __init__(self, settings: Settings, parts: SplitResult) -> None:
        """`parts`: the checked URL's."""
        self.settings = settings
        self.secrets = [
            text
            for name in ("username", "password")
            if (text := _read(settings.credentials / name)) is not None
        ]
        options = {
            "http.followRedirects": "false",
            "protocol.allow": "never",
            f"protocol.{parts.scheme}.allow": "always",
            "http.lowSpeedLimit": "1000",  # bytes a second
            "http.lowSpeedTime": "60",
            "core.hooksPath": "/dev/null",
            "submodule.recurse": "false",
            "safe.directory": "*",  # the mount point is root's
            "credential.helper": "",
        }
        if settings.proxy:
            options["http.proxy"] = settings.proxy
        if self.secrets:
            at = str(settings.credentials)
            options[f"credential.{parts.scheme}://{parts.netloc}.helper"] = (
                '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$(cat'
                f' "{at}/username")" "$(cat "{at}/password")"; }}; f'
            )
        self.options = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]

    def run(self, *arguments: str, must: bool = True) -> str:
        """Run git, and return its output without the last newline; with must=False "" if it failed.

        Raises:
            CloneError: it failed; the message is for people and holds no secret.
        """
        result = subprocess.run(
            ["git", *self.options, *arguments],
            cwd=self.settings.workspace,
            env={
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "HOME": "/nonexistent",
                "LC_ALL": "C",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
                **{
                    key: os.environ[key]
                    for key in ("SSL_CERT_FILE", "GIT_SSL_CAINFO")
                    if key in os.environ
                },
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if result.returncode == 0:
            return result.stdout.rstrip("\n")
        if not must:
            return ""
        raise CloneError(self._message_for(result.stderr))

    def _message_for(self, stderr: str) -> str:
        url = self.settings.url
        for secret in self.secrets:
            stderr = stderr.replace(secret, "***")
        if re.search(r"Authentication failed|returned error: 401|returned error: 403", stderr):
            if self.secrets:
                return (
                    f"{url} refuses the credentials of the job type's git.credentialsSecretRef;"
                    " renew that Secret"
                )
            return (
                f"{url} asks for credentials; name a Secret in the job type's"
                " git.credentialsSecretRef"
            )
        if re.search(r"could not read (Username|Password)", stderr):
            return (
                f"{url} asks for credentials; name a Secret in the job type's"
                " git.credentialsSecretRef"
            )
        if re.search(r"returned error: 30\d|redirect", stderr):
            return (
                f"{url} answers with a redirect, which is not followed; give the URL that it"
                " leads to"
            )
        if "SSL certificate problem" in stderr:
            return (
                f"{url} has a certificate of a CA that is not known; name its CAs in the chart's"
                " git.caBundle"
            )
        if re.search(r"not found|returned error: 404", stderr):
            return f"{url} does not exist, or the job type's credentials may not read it"
        lines = [
            line for line in stderr.splitlines() if line.startswith(("fatal:", "error:"))
        ] or stderr.splitlines()
        return f"git cannot clone {url}: {lines[-1] if lines else 'it gave no reason'}"


def clone(settings: Settings) -> str:
    """Clone with the whole history, check out the ref, and return the commit's id.

    Raises:
        CloneError: no workspace.
    """
    try:
        parts = allowed_url(settings.url, settings.allowed)
    except UrlError as error:
        raise CloneError(str(error)) from error
    _empty(settings.workspace)
    git = Git(settings, parts)
    git.run("clone", "--quiet", "--no-checkout", "--no-recurse-submodules", "--", settings.url, ".")
    if settings.ref is None:
        if not git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", must=False):
            raise CloneError(f"{settings.url} is empty: it has no commit to check out")
        git.run("checkout", "--quiet")
    else:
        _check_out(git, settings.url, settings.ref)
    return git.run("rev-parse", "HEAD")


def _check_out(git: Git, url: str, ref: str) -> None:
    """Check out a full commit id, a branch (as one), or a tag; short forms as git's own order has
    them."""
    if COMMIT.fullmatch(ref):
        if not git.run("cat-file", "-t", ref, must=False):
            # some servers give what no branch holds
            git.run("fetch", "--quiet", "origin", ref, must=False)
        if git.run("cat-file", "-t", ref, must=False) != "commit":
            raise CloneError(f"{url} has no commit {ref}")
        git.run("checkout", "--quiet", "--detach", ref)
        return
    if not git.run("check-ref-format", "--branch", ref.removeprefix("refs/"), must=False):
        raise CloneError(f"{ref!r} is not a valid name of a branch or tag")
    branch = ref.removeprefix("refs/heads/")
    tag = ref.removeprefix("refs/tags/")
    if not ref.startswith("refs/tags/") and _exists(git, f"refs/remotes/origin/{branch}"):
        git.run("checkout", "--quiet", "-B", branch, "--track", f"refs/remotes/origin/{branch}")
    elif not ref.startswith("refs/heads/") and _exists(git, f"refs/tags/{tag}"):
        git.run("checkout", "--quiet", "--detach", f"refs/tags/{tag}")
    else:
        names = git.run(
            "for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin"
        ).split()
        names = [name for name in names if name != "HEAD"]
        more = ", ..." if len(names) > MAX_NAMED_BRANCHES else ""
        some = ", ".join(names[:MAX_NAMED_BRANCHES]) + more
        raise CloneError(
            f"{url} has neither a branch nor a tag {ref!r}; its branches: {some or 'none'}"
        )


def _exists(git: Git, name: str) -> bool:
    return bool(git.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", must=False))


def _empty(workspace: Path) -> None:
    """Empty the workspace: an init container may run again after a node's restart."""
    for entry in workspace.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Clone and report; return 0, or 1 with a failure of class `workspace`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as PID 1 it would not be heard
    began = time.monotonic()
    report: dict[str, object] = {}
    try:
        settings = from_env(environ)
        report[ReportKey.COMMIT] = clone(settings)
        fields = {"commit": report[ReportKey.COMMIT], "url": settings.url, "ref": settings.ref}
        text = "workspace.cloned"
        code = 0
    except (CloneError, OSError) as error:
        report[ReportKey.FAILURE] = {
            ReportKey.CLASS: "workspace",
            ReportKey.MESSAGE: str(error)[: termination.LONGEST_MESSAGE],
        }
        fields = {"reason": str(error)}
        text = "workspace.failed"
        code = 1
    duration_ms = int((time.monotonic() - began) * 1000)
    level = "error" if code else "info"
    sys.stdout.buffer.write(
        loglines.line(
            "clone", level=level, text=text, phase="clone", duration_ms=duration_ms, **fields
        )
    )
    path = environ.get(TERMINATION_LOG_ENV, TERMINATION_LOG)
    termination.write(
        path,
        termination.encode(
            {ReportKey.VERSION: 1, ReportKey.SOURCE: "clone", **report},
            [(ReportKey.FAILURE, ReportKey.MESSAGE)],
        ),
    )
    return code


if __name__ == "__main__":
    uncaught.install("clone")
    sys.exit(main())
