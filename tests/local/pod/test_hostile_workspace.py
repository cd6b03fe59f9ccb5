"""What an agent leaves in its workspace for the runner's Git: nothing of it is executed, followed
or waited for."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from codexrun_pod.runner import workspace
from codexrun_pod.runner.workspace import Checkout, Patch, PatchError, patch, read_checkout

LIMIT = 2**24
WHO = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always")


@dataclass
class Pod:
    """A cloned workspace, and the folders that the agent may write."""

    root: Path
    checkout: Checkout

    @property
    def at(self) -> Path:
        return self.root / "workspace"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def mark(self) -> Path:
        """Made by every command that the agent has left."""
        return self.root / "executed"

    @property
    def command(self) -> str:
        return f"touch {self.mark}; cat"

    def git(self, *arguments: str | Path, at: Path | None = None) -> str:
        """Git as the agent calls it, with whatever configuration there is."""
        return subprocess.run(
            ["git", *WHO, *map(str, arguments)],
            cwd=at or self.at,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def configure(self, text: str, file: str = "workspace/.git/config") -> None:
        with (self.root / file).open("a") as config:
            config.write(text)

    def patch(self) -> bytes:
        return self.made().content

    def made(self) -> Patch:
        return patch(self.checkout, self.at, self.root / "tmp", LIMIT)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    for name in ("home", "tmp", "library", "upstream"):
        (tmp_path / name).mkdir()
    made = Pod(tmp_path, Checkout("git", "", b"", 0))
    library = tmp_path / "library"
    made.git("init", "-q", at=library)
    (library / "f").write_text("1\n")
    made.git("add", "f", at=library)
    made.git("commit", "-qm", "library", at=library)
    upstream = tmp_path / "upstream"
    made.git("init", "-q", at=upstream)
    (upstream / "a.txt").write_text("before\n")
    (upstream / "other.txt").write_text("other\n")
    made.git("submodule", "--quiet", "add", library, "sub", at=upstream)
    made.git("add", "--all", at=upstream)
    made.git("commit", "-qm", "first", at=upstream)
    made.git("clone", "-q", "--no-local", upstream, made.at, at=tmp_path)
    made.checkout = read_checkout(made.at)
    (made.at / "a.txt").write_text("after\n")
    return made


def filter_in_the_repository(pod: Pod) -> None:
    pod.configure(f'[filter "x"]\n\tclean = "{pod.command}"\n')
    (pod.at / ".gitattributes").write_text("* filter=x\n")


def required_filter_in_the_home(pod: Pod) -> None:
    pod.configure(f'[filter "x"]\n\tclean = "{pod.command}"\n\trequired\n', "home/.gitconfig")
    (pod.at / ".git/info").mkdir(exist_ok=True)
    (pod.at / ".git/info/attributes").write_text("* filter=x\n")


def filter_process_by_an_included_file(pod: Pod) -> None:
    pod.configure("[include]\n\tpath = ../more\n")
    pod.configure(f'[filter "x"]\n\tprocess = "touch {pod.mark}; exit 1"\n', "workspace/more")
    (pod.at / ".gitattributes").write_text("* filter=x\n")


def fsmonitor(pod: Pod) -> None:
    pod.configure(f'[core]\n\tfsmonitor = "touch {pod.mark}; false"\n')


def hook_after_a_change_of_the_index(pod: Pod) -> None:
    hook = pod.at / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {pod.mark}\n")
    hook.chmod(0o755)


def external_diff(pod: Pod) -> None:
    pod.configure(f'[diff]\n\texternal = "touch {pod.mark}; true"\n')


def text_conversion(pod: Pod) -> None:
    pod.configure(f'[diff "x"]\n\ttextconv = "touch {pod.mark}; cat"\n')
    (pod.at / ".gitattributes").write_text("* diff=x\n")


def submodule(pod: Pod) -> None:
    """No write to the top .git, as in Codex's sandbox: Git asks for the submodule's status."""
    sub = pod.at / "sub"
    pod.git("init", "-q", at=sub)
    (sub / "f").write_text("1\n")
    pod.git("add", "f", at=sub)
    pod.git("commit", "-qm", "mine", at=sub)
    pod.configure(f'[filter "x"]\n\tclean = "{pod.command}"\n', "workspace/sub/.git/config")
    (sub / ".gitattributes").write_text("* filter=x\n")
    (sub / "f").write_text("2\n")
    os.utime(sub / "f", (1, 1))
    head = (sub / ".git/HEAD").read_text().split()[1]
    (sub / ".git" / head).write_text(pod.git("rev-parse", "HEAD:sub"))


def repository_elsewhere(pod: Pod) -> None:
    (pod.at / ".git").rename(pod.home / "git")
    (pod.at / ".git").write_text(f"gitdir: {pod.home}/git\n")
    pod.configure(f'[filter "x"]\n\tclean = "{pod.command}"\n', "home/git/config")
    (pod.at / ".gitattributes").write_text("* filter=x\n")


def link_to_a_repository_elsewhere(pod: Pod) -> None:
    (pod.at / ".git").rename(pod.home / "git")
    (pod.at / ".git").symlink_to(pod.home / "git")
    pod.configure(f'[core]\n\tfsmonitor = "touch {pod.mark}; false"\n', "home/git/config")


def missing_object_that_a_remote_promises(pod: Pod) -> None:
    """A partial clone fetches what it lacks, by any transport that its configuration allows."""
    pod.git("config", "extensions.partialClone", "evil")
    pod.git("config", "core.repositoryFormatVersion", "1")
    pod.git("config", "remote.evil.url", f"ext::sh -c touch% {pod.mark}")
    pod.git("config", "remote.evil.promisor", "true")
    pod.git("config", "protocol.ext.allow", "always")
    packs = pod.at / ".git/objects/pack"
    shutil.move(packs, pod.root / "packs")
    packs.mkdir()
    for pack in (pod.root / "packs").glob("*.pack"):
        unpack = subprocess.run(
            ["git", "unpack-objects", "-q"],
            cwd=pod.at,
            input=pack.read_bytes(),
            check=True,
            capture_output=True,
        )
        assert unpack.returncode == 0
    blob = pod.git("rev-parse", "HEAD:a.txt").strip()
    (pod.at / ".git/objects" / blob[:2] / blob[2:]).unlink()


ADD = ("add", "--all")
DIFF = ("diff", "HEAD")
EXECUTED: list[tuple[Callable[[Pod], None], tuple[str, ...]]] = [
    (filter_in_the_repository, ADD),
    (required_filter_in_the_home, ADD),
    (filter_process_by_an_included_file, ADD),
    (fsmonitor, ADD),
    (hook_after_a_change_of_the_index, ADD),
    (external_diff, DIFF),
    (text_conversion, DIFF),
    (submodule, ADD),
    (repository_elsewhere, ADD),
    (link_to_a_repository_elsewhere, ADD),
    (missing_object_that_a_remote_promises, DIFF),
]


@pytest.mark.parametrize(
    ("attack", "control"), EXECUTED, ids=[attack.__name__ for attack, _ in EXECUTED]
)
def test_nothing_that_the_agent_wrote_is_executed(
    pod: Pod, attack: Callable[[Pod], None], control: tuple[str, ...]
) -> None:
    attack(pod)
    try:
        content = pod.patch()
    except PatchError:
        content = None
    assert not pod.mark.exists()
    if (pod.at / ".git").is_dir() and not (pod.at / ".git").is_symlink():
        lost = attack is missing_object_that_a_remote_promises
        assert lost or (content and b"+after" in content)
    else:
        assert content is None
    # The same with the agent's configuration: the attack is one.
    subprocess.run(
        ["git", *control],
        cwd=pod.at,
        env={"PATH": os.environ["PATH"], "HOME": str(pod.home), "GIT_CONFIG_NOSYSTEM": "1"},
        check=False,
        capture_output=True,
    )
    assert pod.mark.exists()


def test_git_is_the_one_from_before_the_agent_began(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{pod.home}/bin:{os.environ['PATH']}")
    pod.checkout = read_checkout(pod.at)
    (pod.home / "bin").mkdir()
    (pod.home / "bin/git").write_text(f"#!/bin/sh\ntouch {pod.mark}\n")
    (pod.home / "bin/git").chmod(0o755)
    assert b"+after" in pod.patch()
    assert not pod.mark.exists()


def alternates(pod: Pod) -> None:
    (pod.at / ".git/objects/info").mkdir(exist_ok=True)
    (pod.at / ".git/objects/info/alternates").write_text("/proc/1/root\n")


def fifo_as_alternates(pod: Pod) -> None:
    (pod.at / ".git/objects/info").mkdir(exist_ok=True)
    os.mkfifo(pod.at / ".git/objects/info/alternates")


def link_to_objects_elsewhere(pod: Pod) -> None:
    (pod.at / ".git/objects").rename(pod.home / "objects")
    (pod.at / ".git/objects").symlink_to(pod.home / "objects")


def link_as_a_pack(pod: Pod) -> None:
    (pod.at / ".git/objects/pack/pack-1.idx").symlink_to("/proc/self/environ")


def fifo_as_a_pack(pod: Pod) -> None:
    os.mkfifo(pod.at / f".git/objects/pack/pack-{'0' * 40}.idx")


def link_as_a_folder_of_objects(pod: Pod) -> None:
    (pod.at / ".git/objects/aa").symlink_to("/")


def no_repository_any_more(pod: Pod) -> None:
    shutil.rmtree(pod.at / ".git")


def objects_that_are_none(pod: Pod) -> None:
    for path in (pod.at / ".git/objects/pack").iterdir():
        path.chmod(0o644)
        path.write_bytes(os.urandom(path.stat().st_size))


@pytest.mark.parametrize(
    "attack",
    [
        alternates,
        fifo_as_alternates,
        link_to_objects_elsewhere,
        link_as_a_pack,
        fifo_as_a_pack,
        link_as_a_folder_of_objects,
        no_repository_any_more,
        objects_that_are_none,
    ],
    ids=lambda attack: attack.__name__,
)
def test_objects_that_no_clone_leaves_give_no_patch(
    pod: Pod, attack: Callable[[Pod], None]
) -> None:
    attack(pod)
    with pytest.raises(PatchError) as refused:
        pod.patch()
    assert "longer than" not in str(refused.value)


def replaced_commit(pod: Pod) -> None:
    pod.git("checkout", "-q", "--orphan", "mine")
    pod.git("commit", "-qam", "mine")
    mine = pod.git("rev-parse", "HEAD").strip()
    pod.git("replace", pod.checkout.commit, mine)


def grafted_history(pod: Pod) -> None:
    (pod.at / ".git/info").mkdir(exist_ok=True)
    (pod.at / ".git/info/grafts").write_text(f"{pod.checkout.commit}\n")
    (pod.at / ".git/shallow").write_text(f"{pod.checkout.commit}\n")


def another_head(pod: Pod) -> None:
    pod.git("commit", "-qam", "after")
    (pod.at / ".git/HEAD").write_text(pod.git("rev-parse", "HEAD"))


def index_that_knows_the_change(pod: Pod) -> None:
    pod.git("add", "--all")


def fifo_as_index(pod: Pod) -> None:
    (pod.at / ".git/index").unlink()
    os.mkfifo(pod.at / ".git/index")


def split_index(pod: Pod) -> None:
    pod.git("update-index", "--split-index")


def sparse_checkout(pod: Pod) -> None:
    pod.git("update-index", "--skip-worktree", "a.txt")


def change_assumed_to_be_none(pod: Pod) -> None:
    pod.git("update-index", "--assume-unchanged", "a.txt")


def another_worktree(pod: Pod) -> None:
    (pod.home / "elsewhere").mkdir()
    pod.git("config", "core.worktree", pod.home / "elsewhere")


def excluded_by_configuration(pod: Pod) -> None:
    pod.git("config", "core.excludesFile", pod.home / "all")
    (pod.home / "all").write_text("*\n")


def fifos_and_sockets(pod: Pod) -> None:
    os.mkfifo(pod.at / "pipe")
    os.mkfifo(pod.at / "sub/pipe")


@pytest.mark.parametrize(
    "change",
    [
        replaced_commit,
        grafted_history,
        another_head,
        index_that_knows_the_change,
        fifo_as_index,
        split_index,
        sparse_checkout,
        change_assumed_to_be_none,
        another_worktree,
        excluded_by_configuration,
        fifos_and_sockets,
    ],
    ids=lambda change: change.__name__,
)
def test_the_patch_is_against_what_was_cloned(pod: Pod, change: Callable[[Pod], None]) -> None:
    wanted = pod.patch()
    assert b"-before\n+after" in wanted
    change(pod)
    assert pod.patch() == wanted


def corrupt(index: Path) -> None:
    content = index.read_bytes()
    index.write_bytes(content[:12] + bytes(range(256)) * (len(content) // 256))


def cut_off(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:200])


def empty(index: Path) -> None:
    index.write_bytes(b"")


def of_another_version(index: Path) -> None:
    index.write_bytes(b"DIRC\0\0\0\5" + index.read_bytes()[8:])


def huge(index: Path) -> None:
    os.truncate(index, 2**40)


def fifo(index: Path) -> None:
    index.unlink()
    os.mkfifo(index)


def link_elsewhere(index: Path) -> None:
    index.rename(index.parent / "mine")
    index.symlink_to(index.parent / "mine")


def link_to_a_device(index: Path) -> None:
    index.unlink()
    index.symlink_to("/dev/zero")


def folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


def gone(index: Path) -> None:
    index.unlink()


def split(index: Path) -> None:
    subprocess.run(["git", "update-index", "--split-index"], cwd=index.parent.parent, check=True)


def split_with_a_path_elsewhere(index: Path) -> None:
    """Where Git looks for the other part is its own affair; this is a link out of the workspace."""
    split(index)
    (shared,) = index.parent.glob("sharedindex.*")
    shared.rename(index.parent.parent.parent / "elsewhere")
    shared.symlink_to(index.parent.parent.parent / "elsewhere")


def renamed(name: bytes) -> Callable[[Path], None]:
    """Return what writes a name over dist/bundle.js, of the same length."""

    def write(index: Path) -> None:
        content = index.read_bytes()
        assert content.count(b"dist/bundle.js") == 1
        assert len(name) == len(b"dist/bundle.js")
        index.write_bytes(content.replace(b"dist/bundle.js", name))

    return write


def with_entries_without_end(index: Path) -> None:
    content = index.read_bytes()
    index.write_bytes(content[:8] + b"\xff\xff\xff\xff" + content[12:])


@pytest.fixture
def bundle(pod: Pod) -> Pod:
    """A pod whose agent has added an ignored file, dist/bundle.js."""
    (pod.at / ".gitignore").write_text("/dist/\n/-x*\n")
    (pod.at / "dist").mkdir()
    (pod.at / "dist/bundle.js").write_text("bundle\n")
    pod.git("add", "--force", "dist/bundle.js")
    return pod


@pytest.mark.parametrize(
    "attack",
    [
        corrupt,
        cut_off,
        empty,
        of_another_version,
        huge,
        fifo,
        link_elsewhere,
        link_to_a_device,
        folder,
        gone,
        split,
        split_with_a_path_elsewhere,
        with_entries_without_end,
        pytest.param(renamed(b"../../secret_x"), id="a name above the workspace"),
        pytest.param(renamed(b"dist/../a.txtx"), id="a name with a way up"),
        pytest.param(renamed(b"dist/..\0xxxxxx"), id="a way up at its end"),
        pytest.param(renamed(b"/proc/self/env"), id="an absolute name"),
        pytest.param(renamed(b"dist//bundle.j"), id="a name with an empty part"),
    ],
    ids=lambda attack: attack.__name__,
)
def test_with_a_hostile_index_only_ignored_files_are_left_out(
    bundle: Pod, attack: Callable[[Path], None]
) -> None:
    (bundle.root / "secret_x").write_text("hunter2\n")
    assert b"+bundle" in bundle.patch()
    attack(bundle.at / ".git/index")
    made = bundle.made()
    assert b"-before\n+after" in made.content
    assert b"+/dist/" in made.content
    assert b"+bundle" not in made.content
    assert b"hunter2" not in made.content
    assert (
        "ignored files that the agent added, because the Git index cannot be read: "
    ) in made.lacks


def test_an_index_is_not_read_for_longer_than_its_time(
    bundle: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "INDEX_SECONDS", 0.0)
    made = bundle.made()
    assert b"-before\n+after" in made.content
    assert "it took longer than 0 s" in made.lacks


@pytest.mark.parametrize(
    "name",
    [
        b"-x-is-a-file.y",
        b"dist/:(top)*.a",
        b"dist/*.*.*.*.*",
        b'dist/"\n\t\\.js??',
        b"dist/umlaut-\xc3\xa4",
    ],
)
def test_a_name_in_the_index_is_that_of_one_file(bundle: Pod, name: bytes) -> None:
    (bundle.at / "dist/other").write_text("ignored\n")
    (bundle.at / os.fsdecode(name)).write_text("mine\n")
    renamed(name)(bundle.at / ".git/index")
    made = bundle.made()
    assert b"+mine" in made.content
    assert b"+bundle" not in made.content
    assert b"+ignored" not in made.content
    assert not made.lacks


def nothing_any_more(path: Path) -> None:
    path.unlink()


def fifo_there(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unreadable_file(path: Path) -> None:
    path.chmod(0)


def folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("bundle\n")


def file_behind_a_link(path: Path) -> None:
    path.parent.rename(path.parent.parent.parent / "elsewhere")
    path.parent.symlink_to("../elsewhere")


@pytest.mark.parametrize(
    "change",
    [
        nothing_any_more,
        fifo_there,
        pytest.param(
            unreadable_file,
            marks=pytest.mark.skipif(os.getuid() == 0, reason="root reads every file"),
        ),
        folder_there,
        file_behind_a_link,
    ],
    ids=lambda change: change.__name__,
)
def test_of_an_added_file_that_is_none_any_more_others_do_not_suffer(
    bundle: Pod, change: Callable[[Path], None]
) -> None:
    (bundle.at / "-x").write_text("another\n")
    bundle.git("add", "--force", "--", "-x")
    change(bundle.at / "dist/bundle.js")
    made = bundle.made()
    assert b"-before\n+after" in made.content
    assert b"+another" in made.content
    assert b"+bundle" not in made.content
    assert not made.lacks


def test_a_file_added_in_the_folder_of_a_submodule_is_not_looked_at(bundle: Pod) -> None:
    (bundle.at / "sub/f").write_text("mine\n")
    bundle.git("rm", "-q", "--cached", "sub")
    bundle.git("add", "--force", "sub/f")
    made = bundle.made()
    assert b"+bundle" in made.content
    assert b"+mine" not in made.content
    assert not made.lacks


def test_folders_of_a_sparse_index_are_not_opened(bundle: Pod) -> None:
    """Of a few trees Git would make names without end, and of one that is missing none at all."""
    (bundle.at / "far/deep").mkdir(parents=True)
    (bundle.at / "far/deep/f").write_text("far\n")
    bundle.git("add", "--all")
    bundle.git("commit", "-qm", "mine")
    bundle.git("sparse-checkout", "init", "--cone", "--sparse-index")
    bundle.git("sparse-checkout", "set", "dist")
    assert "040000" in bundle.git("ls-files", "--sparse", "--stage")
    tree = bundle.git("rev-parse", "HEAD:far").strip()
    (bundle.at / ".git/objects" / tree[:2] / tree[2:]).unlink()
    made = bundle.made()
    assert b"+bundle" in made.content
    assert not made.lacks


def test_a_link_is_in_the_patch_as_a_link(pod: Pod) -> None:
    secret = pod.root / "secret"
    secret.write_text("hunter2\n")
    (pod.at / "new").symlink_to(secret)
    (pod.at / "other.txt").unlink()
    (pod.at / "other.txt").symlink_to("/proc/self/environ")
    content = pod.patch()
    assert str(secret).encode() in content
    assert b"hunter2" not in content
    assert b"PATH=" not in content


@pytest.mark.parametrize("name", [".gitignore", ".gitattributes", "nested/.git/HEAD"])
def test_git_is_not_waited_for_when_it_waits_for_the_agent(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """All processes of the agent have ended: nobody will write into a FIFO."""
    monkeypatch.setattr(workspace, "PATCH_SECONDS", 3.0)
    path = pod.at / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "objects").mkdir()
    (path.parent / "refs").mkdir()
    os.mkfifo(path)
    with pytest.raises(PatchError, match="git took longer than 3 s"):
        pod.patch()


def test_of_a_patch_that_is_too_large_no_more_is_read(pod: Pod) -> None:
    (pod.at / "large").write_bytes(os.urandom(3_000_000))
    assert len(patch(pod.checkout, pod.at, pod.root / "tmp", 100_000).content) == 100_001


ENDED = """
import sys, threading, time
from pathlib import Path
from codexrun_pod.runner import processes, workspace

at, tmp, program, began = map(Path, sys.argv[1:])
checkout = workspace.read_checkout(at)

def work():
    slow = workspace.Checkout(str(program), checkout.commit, checkout.index, checkout.index_ns)
    try:
        print(workspace.patch(slow, at, tmp, 1000).content)
    except workspace.PatchError as error:
        print("no patch:", error)

thread = threading.Thread(target=work)
thread.start()
while not began.exists():
    time.sleep(0.01)
processes.end_all()
thread.join()
"""


def test_a_git_that_the_runner_has_ended_made_no_patch(pod: Pod) -> None:
    """When there is no time left all processes are ended; half of a patch is none."""
    began = pod.root / "began"
    slow = pod.root / "git"
    slow.write_text(
        f'#!/bin/sh\nif [ "$1" = diff ]; then echo half; touch {began}; exec sleep 600; fi\n'
        'exec git "$@"\n'
    )
    slow.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", ENDED, str(pod.at), str(pod.root / "tmp"), str(slow), str(began)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "no patch: git diff ended with exit code -9\n"
