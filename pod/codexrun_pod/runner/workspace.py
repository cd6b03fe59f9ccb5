"""What the agent changed in a Git workspace, as a patch that `git apply` takes.

By then the agent may have written everything in /workspace, its .git included, and the runner has
what the agent may have been denied: commands, the network, the Secrets of the job type. So Git
works with a directory of the runner's own: own configuration, own index (as it was before the agent
began), own objects. Of the agent's .git it reads objects, and nothing that Git would execute or
follow: no configuration (filters, fsmonitor, hooks, remotes), no refs, no replacements, no
alternates. Of the agent's index it takes names, which tell the ignored files that were added.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import CLONE_LOG
from codexrun_pod.runner import git_index
from codexrun_pod.runner.files import read_regular

PATCH_SECONDS = 15.0  # of the 20 that all artifacts have
MAX_CLONE_LOG_BYTES = 64 * 1024
MAX_INDEX_BYTES = 2**26  # of the agent's; some 600,000 files
INDEX_SECONDS = 3.0  # of PATCH_SECONDS, for the agent's index
SHA256_CHARS = 64  # of a commit's id
BINARY = b"\nGIT binary patch\n"
GITLINK = b"160000"  # the mode of a submodule
NOT_ALL_ADDED = 1  # exit code of `git add --ignore-errors`: some files cannot be read
CONFIG = """
[core]
    bare = false
    hooksPath = /dev/null
    attributesFile = /dev/null
    excludesFile = /dev/null
    fsmonitor = false
    commitGraph = false
    multiPackIndex = false
[protocol]
    allow = never
[safe]
    directory = *
"""
VERSION = "[core]\n    repositoryFormatVersion = {}\n"
SHA256 = "[extensions]\n    objectFormat = sha256\n"
ENVIRONMENT = {
    "PATH": os.defpath,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
}


class PatchError(Exception):
    """There is no patch; the message says why."""


@dataclass(frozen=True)
class Checkout:
    """What was cloned, as it was before the agent began: in memory, where no agent writes.

    program: git's path; the agent may write into folders of PATH. index: the file, and its time in
    ns, since Git compares contents where a file is as young as the index that knows it.
    """

    program: str
    commit: str
    index: bytes
    index_ns: int


@dataclass(frozen=True)
class Patch:
    """content: for `git apply`. lacks: what is not in it and why; empty if nothing. binary_text:
    the same with its binary files as they are, where they were asked for."""

    content: bytes
    lacks: str
    binary_text: bytes = b""


def read_checkout(workspace: Path) -> Checkout:
    """Return what was cloned. To be called before the agent begins.

    Raises:
        PatchError: the image has no git, or the workspace no commit.
    """
    program = shutil.which("git")
    if program is None:
        raise PatchError("the agent's image has no git")
    head = subprocess.run(
        [program, "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD"],
        cwd=str(workspace),
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if head.returncode != 0:
        raise PatchError("no commit is checked out")
    index = workspace / ".git" / "index"
    try:
        return Checkout(
            program=program,
            commit=head.stdout.decode("ascii").strip(),
            index=index.read_bytes(),
            index_ns=index.stat().st_mtime_ns,
        )
    except OSError as error:
        raise PatchError(f"{index} cannot be read: {error.strerror}") from error


def take_clone_log(workspace: Path) -> bytes:
    """Return the lines that the clone step has left, and remove them before the agent can find
    them; an older clone step leaves none."""
    path = workspace / CLONE_LOG
    try:
        content = read_regular(path, MAX_CLONE_LOG_BYTES)
        path.unlink()
    except OSError:
        return b""
    return content


def patch(
    checkout: Checkout, workspace: Path, tmp: Path, limit: int, *, text: bool = False
) -> Patch:
    """Return a patch of everything that differs from the checkout, committed or not, new files too;
    ignored ones if the agent's index has them (`git add --force`). Of one above `limit` bytes only
    so many and one more are read.

    What lies in the folder of a submodule is not looked at. The workspace stays as it is. text:
    give what binary files hold, too, which a patch has compressed.

    Raises:
        PatchError: the objects of the checkout are gone or not as a clone leaves them, Git failed
            on them, or took too long.
        OSError: there is not enough room.
    """
    objects = workspace / ".git" / "objects"
    _check_objects(objects)
    with tempfile.TemporaryDirectory(dir=str(tmp)) as folder:
        git = _Git(checkout, workspace, Path(folder), objects)
        submodules = [
            path for path in git.gitlinks() if stat.S_ISDIR(_mode(workspace / os.fsdecode(path)))
        ]
        if submodules:
            # `git add` would run `git status` in each, with the configuration that it has there.
            git.run("update-index", "--skip-worktree", "--", *submodules)
        git.run("add", "--all", "--ignore-errors", codes=(0, NOT_ALL_ADDED))
        lacks = ""
        try:
            git.add(_ignored_files(workspace, checkout, set(git.names())))
        except (OSError, ValueError, PatchError) as error:
            lacks = (
                f"ignored files that the agent added, because the Git index cannot be read: {error}"
            )
        options = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short")
        diff = git.run("diff", "--cached", *options, checkout.commit, "--", limit=limit)
        binary_text = b""
        if text and BINARY in diff:
            plain = ("--text", *(option for option in options if option != "--binary"))
            binary_text = git.run("diff", "--cached", *plain, checkout.commit, "--", limit=limit)
        return Patch(diff, lacks, binary_text)


class _Git:
    """Git in a directory of its own, within PATCH_SECONDS."""

    def __init__(
        self, checkout: Checkout, workspace: Path, repository: Path, objects: Path
    ) -> None:
        """repository: an empty folder; objects: where those of the checkout are."""
        self._deadline = time.monotonic() + PATCH_SECONDS
        self._program = checkout.program
        self._workspace = str(workspace)
        self._repository = repository
        self._environment = {
            **ENVIRONMENT,
            "GIT_DIR": str(repository),
            "GIT_WORK_TREE": str(workspace),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects),
        }
        sha256 = len(checkout.commit) == SHA256_CHARS
        (repository / "HEAD").write_text("ref: refs/heads/none\n")
        (repository / "config").write_text(
            VERSION.format(1 if sha256 else 0) + (SHA256 if sha256 else "") + CONFIG
        )
        (repository / "objects").mkdir()
        (repository / "refs").mkdir()
        (repository / "index").write_bytes(checkout.index)
        os.utime(repository / "index", ns=(checkout.index_ns, checkout.index_ns))

    def gitlinks(self) -> Iterator[bytes]:
        """Return the paths of the checkout's submodules."""
        for entry in self.run("ls-files", "--stage", "-z").split(b"\0"):
            head, _, path = entry.partition(b"\t")
            if head.startswith(GITLINK):
                yield path

    def names(self) -> list[bytes]:
        """Return the names in the index."""
        return self.run("ls-files", "-z").split(b"\0")[:-1]

    def add(self, files: Sequence[bytes]) -> None:
        """Add files by their names, ignored ones too. `git add` would compare each name with each
        file, and stop at one in a submodule."""
        names = self._repository / "names"
        names.write_bytes(b"".join(name + b"\0" for name in files))
        with names.open("rb") as stdin:
            self.run("update-index", "--add", "-z", "--stdin", stdin=stdin)

    def run(
        self,
        *arguments: str | bytes,
        codes: Sequence[int] = (0,),
        limit: int | None = None,
        stdin: int | BinaryIO = subprocess.DEVNULL,
    ) -> bytes:
        """Return the output of git, or the first `limit` bytes of it and one more.

        Raises:
            PatchError: it ended with another exit code, or in the time there was not at all.
            OSError: it cannot be started.
        """
        process = subprocess.Popen(
            [self._program, *arguments],
            cwd=self._workspace,
            env=self._environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        remaining = max(0.0, self._deadline - time.monotonic())
        timer = threading.Timer(remaining, _kill, (process.pid,))
        timer.daemon = True
        timer.start()
        with process.stdout as pipe:
            output = pipe.read() if limit is None else pipe.read(limit + 1)
        try:
            process.returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])
        except ChildProcessError:
            # The runner has ended all processes; Popen.wait() would call that a success.
            process.returncode = -signal.SIGKILL
        timer.cancel()
        if limit is not None and len(output) > limit:
            return output
        if time.monotonic() >= self._deadline:
            raise PatchError(f"git took longer than {PATCH_SECONDS:g} s")
        if process.returncode not in codes:
            command = os.fsdecode(arguments[0])
            raise PatchError(f"git {command} ended with exit code {process.returncode}")
        return output


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _ignored_files(workspace: Path, checkout: Checkout, added: set[bytes]) -> list[bytes]:
    """Return the files that the agent's index has beside those that are added already.

    Raises:
        OSError: there is no index, or it is not a file that can be read.
        ValueError: it is too large, took too long, or is not as Git writes it.
    """
    deadline = time.monotonic() + INDEX_SECONDS
    index = read_regular(workspace / ".git" / "index", MAX_INDEX_BYTES)
    if len(index) > MAX_INDEX_BYTES:
        raise ValueError(f"it is larger than the limit of {MAX_INDEX_BYTES} bytes")
    files = set()
    for name in git_index.file_names(index, len(checkout.commit) // 2):
        if time.monotonic() >= deadline:
            raise ValueError(f"reading it took longer than {INDEX_SECONDS:g} s")
        if (
            name not in added
            and _is_readable(workspace / os.fsdecode(name))
            and all(
                # A folder that is added is a submodule; a file behind a link is another one.
                folder not in added and stat.S_ISDIR(_mode(workspace / os.fsdecode(folder)))
                for folder in _folders(name)
            )
        ):
            files.add(name)
    return sorted(files)


def _folders(name: bytes) -> Iterator[bytes]:
    """Yield the folders that a file is in, the outermost first."""
    for end, char in enumerate(name):
        if char == ord("/"):
            yield name[:end]


def _is_readable(path: Path) -> bool:
    """Return whether a link, or a file that can be read, is there."""
    mode = _mode(path)
    return stat.S_ISLNK(mode) or (stat.S_ISREG(mode) and os.access(path, os.R_OK))


def _check_objects(objects: Path) -> None:
    """Check that Git finds folders and files in .git/objects, as a clone leaves them: a link or an
    alternate would lead it elsewhere, a FIFO would keep it waiting.

    Raises:
        PatchError: it would not.
    """
    for folder in (objects.parent, objects):
        if not stat.S_ISDIR(_mode(folder)):
            raise PatchError(f"{folder} is no longer a directory")
    for name in ("alternates", "http-alternates"):
        if _mode(objects / "info" / name):
            raise PatchError(f"{objects}/info/{name}: a clone never has this file")
    for folder in _check_entries(objects):  # pack, info, 00 to ff
        _check_entries(folder)


def _check_entries(folder: Path) -> list[Path]:
    """Return the folders in `folder`, which holds folders and files alone."""
    folders = []
    with os.scandir(str(folder)) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(folder / entry.name)
            elif not entry.is_file(follow_symlinks=False):
                raise PatchError(f"{entry.path} is neither a directory nor a file")
    return folders


def _mode(path: Path) -> int:
    """Return the mode of what is there, links not followed; 0 if nothing is."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0
