"""`python3 -m codexrun_pod.clone`: puts the run's Git repository into /workspace, or says why it
cannot.

The only place of a run's pod that sees Git credentials: they come from a mounted Secret, through a
credential helper that answers for this one host, and are never on a command line, in a URL or in
.git/config.
"""

import contextlib
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
    WORKSPACE,
    WORKSPACE_ENV,
    ReportKey,
)
from codexrun_core.resources.git_urls import UrlError, allowed_url
from codexrun_pod import termination, uncaught
from codexrun_pod.clone.git_problems import GitProblem, read_problem
from codexrun_pod.clone.log import CloneLog
from codexrun_pod.masking import Mask

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAX_NAMED_BRANCHES = 10  # of the repository's branches, in the message about a wrong ref
MAX_NAMED_FILES = 3  # in a warning
MAX_NAME_CHARS = 80  # of such a file
RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0)  # before each further try after a failure that may pass


class CloneError(Exception):
    """No workspace; the message says what to correct."""

    def __init__(self, message: str, class_: str = "workspace", *, retryable: bool = False) -> None:
        """`class_`: a failure class; retryable: the same run has a fair chance later."""
        super().__init__(message)
        self.class_ = class_
        self.retryable = retryable


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to clone, and the paths. proxy: http:// URL of a proxy on the way; depth: commits of
    history, None for all; timeout: seconds, None for no bound."""

    url: str
    ref: str | None
    allowed: tuple[str, ...]
    workspace: Path
    credentials: Path
    proxy: str | None = None
    depth: int | None = None
    timeout: float | None = None


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
            depth=config.get("depth"),
            timeout=config.get("timeoutSeconds"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CloneError(f"{CLONE_ENV} cannot be read: {error}") from error


class Git:
    """The git command line, shut off from every configuration but this one."""

    def __init__(self, settings: Settings, parts: SplitResult, log: CloneLog) -> None:
        """`parts`: the checked URL's."""
        self.settings = settings
        self.log = log
        self._deadline = time.monotonic() + (settings.timeout or float("inf"))
        credentials = {
            name: text
            for name in ("username", "password")
            if (text := _read(settings.credentials / name)) is not None
        }
        self.has_credentials = bool(credentials)
        self.mask = Mask(credentials, min_chars=1)
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
        if self.has_credentials:
            at = str(settings.credentials)
            options[f"credential.{parts.scheme}://{parts.netloc}.helper"] = (
                '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$(cat'
                f' "{at}/username")" "$(cat "{at}/password")"; }}; f'
            )
        self.options = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]

    def run(self, *arguments: str, must: bool = True) -> str:
        """Run git, and return its output without the last newline; with must=False "" if it failed.

        Raises:
            CloneError: it failed, or the time is over; the message is for people and holds no
                secret.
        """
        code, output, stderr = self._execute(arguments)
        if code == 0:
            return output.rstrip("\n")
        if not must:
            return ""
        problem = self._problem(stderr, code)
        raise CloneError(problem.message, problem.class_, retryable=problem.passing)

    def run_remote(self, *arguments: str) -> None:
        """Run a command that talks to the host, and again, after a pause, while its failure may
        pass.

        Raises:
            CloneError: it failed for good, or the last try did too.
        """
        for pause in (*RETRY_SECONDS, None):
            code, _, stderr = self._execute(arguments)
            if code == 0:
                return
            problem = self._problem(stderr, code)
            if not problem.passing:
                raise CloneError(problem.message, problem.class_)
            if pause is None or time.monotonic() + pause >= self._deadline:
                raise CloneError(f"{problem.message} (the retries failed too)", retryable=True)
            self.log.write(
                "clone.retried", level="warning", reason=problem.message, pause_seconds=pause
            )
            time.sleep(pause)
            if arguments[0] == "clone":
                _empty(self.settings.workspace)

    def _execute(self, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        """Run git once; return its exit code, and what it printed to stdout and stderr.

        Raises:
            CloneError: the time is over.
        """
        process = subprocess.Popen(
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
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        remaining = self._deadline - time.monotonic()
        try:
            output, stderr = process.communicate(
                timeout=None if self.settings.timeout is None else max(0.0, remaining)
            )
        except subprocess.TimeoutExpired as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its helpers too
            process.communicate()
            raise CloneError(
                f"cloning {self.settings.url} took longer than {self.settings.timeout:g} s"
                " (git.timeoutSeconds in the job type); raise that limit, or clone fewer commits"
                " (git.depth)"
            ) from error
        return process.returncode, output, stderr

    def _problem(self, stderr: str, code: int) -> GitProblem:
        return read_problem(
            self.mask.text(stderr), code, self.settings.url, credentials=self.has_credentials
        )


@dataclass(frozen=True)
class Cloned:
    """What lies in the workspace. lfs_files: those of which it has Git LFS's pointers only."""

    commit: str
    lfs_files: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """Return what people should know of the workspace."""
        if not self.lfs_files:
            return []
        names = ", ".join(name[:MAX_NAME_CHARS] for name in self.lfs_files[:MAX_NAMED_FILES])
        more = ", ..." if len(self.lfs_files) > MAX_NAMED_FILES else ""
        return [
            "the contents of files in Git LFS were not fetched; the workspace has only their"
            f" pointers: {names}{more}"
        ]


def clone(settings: Settings, log: CloneLog) -> Cloned:
    """Clone, check out the ref, and return what is there now.

    Raises:
        CloneError: no workspace.
    """
    try:
        parts = allowed_url(settings.url, settings.allowed)
    except UrlError as error:
        raise CloneError(str(error)) from error
    ref = settings.ref
    git = Git(settings, parts, log)
    # `check-ref-format --branch` refuses revision expressions and options
    if (
        ref is not None
        and not COMMIT.fullmatch(ref)
        and not git.run("check-ref-format", "--branch", ref.removeprefix("refs/"), must=False)
    ):
        raise CloneError(f"{ref!r} is not a valid name for a branch or tag")
    _empty(settings.workspace)
    history = ["--depth", str(settings.depth)] if settings.depth else []
    only = _branch_or_tag(ref) if history else None
    git.run_remote(
        *("clone", "--quiet", "--no-checkout", "--no-recurse-submodules"),
        *history,
        *(["--branch", only] if only else []),
        *("--", settings.url, "."),
    )
    if ref is None:
        if not git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}", must=False):
            raise CloneError(f"{settings.url} is empty: it has no commit to check out")
        git.run("checkout", "--quiet")
    else:
        _check_out(git, settings.url, ref, history)
    # without a filter for it, Git leaves the pointers
    lfs_files = git.run("ls-files", "-z", ":(attr:filter=lfs)", must=False).split("\0")
    return Cloned(git.run("rev-parse", "HEAD"), tuple(name for name in lfs_files if name))


def _branch_or_tag(ref: str | None) -> str | None:
    """Return the name for `git clone --branch`; None for no ref, a commit, and a ref that is
    neither a branch nor a tag."""
    if ref is None or COMMIT.fullmatch(ref):
        return None
    name = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
    return None if name.startswith("refs/") else name


def _check_out(git: Git, url: str, ref: str, history: list[str]) -> None:
    """Check out a full commit id, a branch (as one), a tag, or any other full ref, such as
    refs/pull/7/head; short forms as git's own order has them."""
    if COMMIT.fullmatch(ref):
        if not git.run("cat-file", "-t", ref, must=False):
            try:  # some servers give what no branch holds
                git.run_remote("fetch", "--quiet", *history, "origin", ref)
            except CloneError as error:
                if error.retryable:
                    raise
        if git.run("cat-file", "-t", ref, must=False) != "commit":
            raise CloneError(f"{url} has no commit {ref}")
        git.run("checkout", "--quiet", "--detach", ref)
        return
    if _branch_or_tag(ref) is None:
        git.run_remote("fetch", "--quiet", *history, "origin", f"+{ref}:{ref}")
        git.run("checkout", "--quiet", "--detach", ref)
        return
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
        raise CloneError(f"{url} has no branch or tag {ref!r}; its branches: {some or 'none'}")


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
        return path.read_text("utf-8").strip() or None
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise CloneError(
            f"git.credentialsSecretRef in the job type: {path.name} in the Secret is not UTF-8;"
            " correct the Secret"
        ) from None


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Clone and report; return 0, or 1 with the failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as PID 1 it would not be heard
    log = CloneLog()
    report: dict[str, object] = {}
    try:
        settings = from_env(environ)
        cloned = clone(settings, log)
        report[ReportKey.COMMIT] = cloned.commit
        report[ReportKey.WARNINGS] = cloned.warnings or None
        log.write(
            "workspace.cloned",
            commit=cloned.commit,
            url=settings.url,
            ref=settings.ref,
            depth=settings.depth,
            reason="; ".join(cloned.warnings) or None,
        )
        log.hand_over(settings.workspace)
        code = 0
    except (CloneError, OSError) as error:
        failure = error if isinstance(error, CloneError) else CloneError(str(error))
        report[ReportKey.FAILURE] = {
            **termination.failure(failure.class_, str(error)),
            ReportKey.RETRYABLE: failure.retryable,
        }
        log.write("workspace.failed", level="error", reason=str(error))
        code = 1
    termination.write(
        termination.log_path(environ),
        termination.encode(
            {ReportKey.VERSION: 1, ReportKey.SOURCE: "clone", **report},
            [(ReportKey.FAILURE, ReportKey.MESSAGE)],
        ),
    )
    if code:
        log.upload(environ)
    return code


if __name__ == "__main__":
    uncaught.install("clone")
    sys.exit(main())
