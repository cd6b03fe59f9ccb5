"""The patch of what an agent changed: nothing that it changed may be missing, `git apply` makes the
same tree of it, whatever the agent did."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from codexrun_pod.runner import workspace
from codexrun_pod.runner.workspace import patch, read_checkout

LONG_AGO = 1_700_000_000 * 10**9  # ns
LIMIT = 2**24
ADD = ("add", "--all", "--ignore-errors")  # a FIFO where a file was is an error, and left out
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(
    at: Path, *arguments: str | Path, index: Path | None = None, codes: tuple[int, ...] = (0,)
) -> bytes:
    environment = ENVIRONMENT | ({"GIT_INDEX_FILE": str(index)} if index else {})
    command = ["git", "-c", "protocol.file.allow=always", *map(str, arguments)]
    done = subprocess.run(command, cwd=at, env=environment, check=False, capture_output=True)
    assert done.returncode in codes, (arguments, done.stderr)
    return done.stdout


BASE: dict[str, bytes] = {
    "a.txt": b"one\ntwo\nthree\nfour\nfive\n",
    "crlf.txt": b"one\r\ntwo\r\n",
    "no-newline": b"the end",
    "binary": bytes(range(256)) * 8,
    "folder/b.txt": b"b\n" * 50,
    "folder/deep/c.txt": b"c\n",
    "script.sh": b"#!/bin/sh\n",
    ".gitignore": b"*.ignored\n/build/\n",
    ".gitattributes": b"*.lf text eol=lf\n*.crlf text eol=crlf\n",
    "text.lf": b"one\n",
    "text.crlf": b"one\n",
}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with files of each kind and a submodule."""
    root = tmp_path_factory.mktemp("upstream")
    (root / "library").mkdir()
    git(root / "library", "init", "-q")
    (root / "library/f").write_text("1\n")
    git(root / "library", "add", "f")
    git(root / "library", "commit", "-qm", "library")
    at = root / "app"
    at.mkdir()
    git(at, "init", "-q")
    for name, content in BASE.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(content)
    (at / "script.sh").chmod(0o755)
    (at / "link").symlink_to("a.txt")
    git(at, "submodule", "--quiet", "add", root / "library", "sub")
    git(at, "add", "--all")
    git(at, "commit", "-qm", "app")
    return at


def clone(upstream: Path, at: Path) -> Path:
    git(at.parent, "clone", "-q", "--no-local", "--no-recurse-submodules", upstream, at)
    return at


def tree_of(at: Path, original: Path) -> bytes:
    """Return the tree that `git add --all` makes of a folder. original: its index after the clone;
    by a later one a file that nobody touched may have changed with .gitattributes."""
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        shutil.copy2(original, index)
        git(at, *ADD, index=index, codes=(0, 1))
        ignored = git(at, "ls-files", "-z", "--cached", "--ignored", "--exclude-standard")
        for name in ignored.split(b"\0")[:-1]:
            git(at, "add", "--force", "--", os.fsdecode(name), index=index, codes=(0, 1, 128))
        return git(at, "write-tree", index=index)


def applied(upstream: Path, at: Path, content: bytes) -> bytes:
    """Return the tree of a fresh clone with the patch."""
    fresh = clone(upstream, at)
    if content:
        (at.parent / "patch").write_bytes(content)
        git(fresh, "apply", "--index", "--whitespace=nowarn", at.parent / "patch")
    return git(fresh, "write-tree")


def test_a_change_of_the_same_size_within_the_second_of_the_checkout_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells an unchanged file by size and time, but where the file is as young as the index
    ("racy git")."""
    # the one time that no test can set
    monkeypatch.setattr(workspace, "CONFIG", workspace.CONFIG + "[core]\n trustctime = false\n")
    at = tmp_path / "workspace"
    at.mkdir()
    file = at / "cart.py"
    index = at / ".git/index"
    git(at, "init", "-q")
    file.write_text("total + discount\n")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    git(at, "add", "--all")
    git(at, "commit", "-q", "-m", "first")
    os.utime(index, ns=(LONG_AGO, LONG_AGO))
    checkout = read_checkout(at)
    file.write_text("total - discount\n")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert b"+total - discount" in patch(checkout, at, tmp_path, LIMIT).content


VERSIONS = [(version, form) for version in (2, 3, 4) for form in ("sha1", "sha256")]


@pytest.mark.parametrize(("version", "form"), VERSIONS)
def test_an_ignored_file_that_was_added_is_in_it(tmp_path: Path, version: int, form: str) -> None:
    """With names of all lengths, since some indexes fill entries and others share prefixes."""
    at = tmp_path / "workspace"
    at.mkdir()
    git(at, "init", "-q", f"--object-format={form}")
    (at / ".gitignore").write_text("dist/\n")
    git(at, "add", "--all")
    git(at, "commit", "-q", "-m", "first")
    checkout = read_checkout(at)
    git(at, "update-index", "--index-version", str(version))
    names = [f"dist/{'ab' * (length % 7)}/{'c' * length}" for length in range(1, 250)]
    names = [os.path.normpath(name) for name in names]
    for name in (*names, "dist/not-added"):
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text("bundle\n")
    git(at, "add", "--force", *names)
    if version == 3:  # written only where an entry has more flags
        git(at, "update-index", "--skip-worktree", names[3])
    git(at, "commit", "-q", "-m", "bundle")
    assert (at / ".git/index").read_bytes()[7] == version
    made = patch(checkout, at, tmp_path, LIMIT)
    assert not made.lacks
    headers = [line for line in made.content.decode().splitlines() if line.startswith("+++ ")]
    assert sorted(headers) == sorted(f"+++ b/{name}" for name in names)


NAMES = [
    *BASE,
    "link",
    "new.txt",
    "folder/new/d.txt",
    "folder",
    "folder/deep",
    "a.txt/inside",
    "x.ignored",
    "build/out",
    "umlaut-ä",
    'quote"\\',
    "tab\tand\nnewline",
    "-rf",
    " blank ",
    "\udcff\udcfe",  # bytes that are no UTF-8
    "sub/f",
    "sub/new",
    "sub",
    "nested/g",
    "new.lf",
    "new.crlf",
]
FORCED = ["x.ignored", "build/out", "build", "-rf", "sub/f", "nested/g", "new.txt", "a.txt/inside"]
contents = st.one_of(
    st.sampled_from(
        [
            b"",
            b"one\n",
            b"one",
            b"one\r\ntwo\r\n",
            b"mixed\r\nends\n",
            b"\0\1\2",
            bytes(range(256)) * 40,
            *BASE.values(),
        ]
    ),
    st.binary(max_size=200),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
)
names = st.sampled_from(NAMES)
edits = st.one_of(
    st.tuples(st.just("write"), names, contents),
    st.tuples(st.just("append"), names, contents),
    st.tuples(st.just("delete"), names, st.none()),
    st.tuples(st.just("chmod"), names, st.sampled_from([0o755, 0o644, 0o600])),
    st.tuples(st.just("link"), names, st.sampled_from(["a.txt", "folder", "../..", "nowhere"])),
    st.tuples(st.just("rename"), names, names),
    # as .gitignore it would keep Git waiting: test_hostile_workspace.py
    st.tuples(st.just("fifo"), st.sampled_from(["a.txt", "folder", "new.txt", "sub/f"]), st.none()),
    st.tuples(st.just("repository"), st.sampled_from(["nested", "folder/other"]), st.none()),
    st.tuples(st.just("commit"), st.none(), st.none()),
    st.tuples(st.just("force"), st.sampled_from(FORCED), contents),
)


def edit(at: Path, kind: str, name: str, value: object) -> None:
    """Do one thing as an agent would; what cannot be done is left."""
    if kind == "commit":
        git(at, *ADD, codes=(0, 1))
        git(at, "commit", "-q", "--allow-empty", "-m", "the agent's")
        return
    if kind == "force":
        edit(at, "write", name, value)
        git(at, "add", "--force", "--", name, codes=(0, 1, 128))
        return
    path = at / name
    if kind == "repository":
        path.mkdir(parents=True, exist_ok=True)
        git(path, "init", "-q")
        git(path, "commit", "-q", "--allow-empty", "-m", "nested")
        return
    if kind in ("write", "link", "fifo", "rename"):
        target = at / str(value) if kind == "rename" else path
        for parent in reversed(target.relative_to(at).parents):
            if (at / parent).is_symlink() or (at / parent).is_file():
                (at / parent).unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
    if kind == "append" and path.is_file():
        path.write_bytes(path.read_bytes() + bytes(value))  # type: ignore[call-overload]
    elif kind == "chmod" and path.is_file():
        path.chmod(int(value))  # type: ignore[call-overload]
    elif kind == "rename" and os.path.lexists(path):
        path.rename(at / str(value))
    elif kind in ("write", "delete", "link", "fifo"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if kind == "write":
            path.write_bytes(bytes(value))  # type: ignore[call-overload]
        elif kind == "link":
            path.symlink_to(str(value))
        elif kind == "fifo":
            os.mkfifo(path)


def state(at: Path) -> dict[Path, tuple[int, int, bytes]]:
    """Return mode, time and content of each file, but for the times of .git, where Git freshens
    packs."""
    return {
        path: (
            path.lstat().st_mode,
            0 if path.is_relative_to(at / ".git") else path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in at.rglob("*")
    }


@settings(
    max_examples=60,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(edits, min_size=1, max_size=8))
def test_applied_to_a_fresh_clone_it_makes_the_same_tree(
    upstream: Path, tmp_path: Path, done: list[tuple[str, str, object]]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        at = clone(upstream, Path(folder, "workspace"))
        # Else what nobody touched is compared anew in the second of the clone, by whatever
        # .gitattributes says by then.
        for path in filter(Path.is_file, at.rglob("*")):
            os.utime(path, ns=(LONG_AGO, LONG_AGO))
        git(at, "update-index", "-q", "--refresh")
        checkout = read_checkout(at)
        original = shutil.copy2(at / ".git/index", Path(folder, "original"))
        for kind, name, value in done:
            try:
                edit(at, kind, name, value)
            except OSError:  # a name that another edit has made a folder or a FIFO
                continue
        before = state(at)
        made = patch(checkout, at, Path(folder), LIMIT)
        assert state(at) == before
        assert not made.lacks
        assert applied(upstream, Path(folder, "fresh"), made.content) == tree_of(at, original), done
