"""Prompts, job types, doctor, versions: what there is, and whether it is as it should be."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clistand import Stand, command
from manifests import prompt

from codexrun_cli import versions
from codexrun_cli.versions import skew

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("prompts", "configs"):
        shutil.copytree(ROOT / part, tmp_path / "team" / part)
    return tmp_path / "team"


def test_prompts_of_the_cluster(both: Stand) -> None:
    both.at_once(
        both.kube.put,
        both.kube.config_maps,
        prompt(version="v2", text="Hi {{name}}.\n", sha256="0" * 64),
    )
    both.until(lambda: "v2" in both.cli("prompts", "list").out)
    done = both.cli("prompts", "list")
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["NAME", "VERSION", "CHECKSUM"],
        ["hello", "v1", "ok"],
        ["hello", "v2", "MISMATCH"],
    ]
    assert "checksum mismatch: hello@v2" in done.err
    assert both.cli("prompts", "show", "hello").out == "Hi {{name}}.\n"
    assert both.cli("prompts", "show", "hello@v1").out == "Say hello to {{name}}.\n"
    assert both.cli("prompts", "render", "hello@v1", "-p", "name=Ada").out == "Say hello to Ada.\n"
    missing = both.cli("prompts", "render", "hello@v1")
    assert (missing.code, missing.out) == (1, "")
    assert "hint: add -p name=VALUE" in missing.err
    differ = both.cli("prompts", "diff", "hello@v1", "hello@v2")
    assert (differ.code, differ.out.splitlines()[-2:]) == (
        1,
        ["-Say hello to {{name}}.", "+Hi {{name}}."],
    )
    assert both.cli("prompts", "diff", "hello@v1", "hello@v1").code == 0
    assert both.cli("prompts", "show", "hello@v9").code == 5
    assert both.cli("prompts", "show", "nothing").code == 5


def test_prompts_of_a_folder(stand: Stand, folder: Path) -> None:
    stand.stop()
    listed = stand.cli("prompts", "list", "--dir", str(folder), "-o", "name").out.splitlines()
    assert "hello@v1" in listed
    shown = stand.cli("prompts", "show", "hello", "--dir", str(folder)).out
    assert shown == (folder / "prompts/hello/v1.md").read_text()


def test_add_makes_a_new_version_and_touches_no_old_one(stand: Stand, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.glob("prompts/*/*.md")}
    new = folder.parent / "new.md"
    new.write_text("Greet {{name}} warmly.\n")
    done = stand.cli("prompts", "add", "hello", str(new), "--dir", str(folder))
    versions = json.loads((folder / "prompts/index.json").read_text())["hello"]
    latest = versions[-1]
    assert (done.code, done.out) == (0, f"hello@{latest['version']}\n")
    assert latest["checksum"] == f"sha256:{hashlib.sha256(new.read_bytes()).hexdigest()}"
    assert {path: path.read_bytes() for path in before} == before
    assert stand.cli("prompts", "verify", str(folder)).code == 0
    again = stand.cli("prompts", "add", "hello", str(new), "--dir", str(folder))
    assert (again.code, again.out) == (1, "")
    assert json.loads((folder / "prompts/index.json").read_text())["hello"] == versions


def test_add_refuses_a_file_that_is_in_the_way(stand: Stand, folder: Path) -> None:
    index = (folder / "prompts/index.json").read_bytes()
    number = len(json.loads(index)["hello"]) + 1
    left = folder / f"prompts/hello/v{number}.md"
    left.write_text("of an earlier attempt")
    new = folder.parent / "new.md"
    new.write_text("Another {{name}}.\n")
    done = stand.cli("prompts", "add", "hello", str(new), "--dir", str(folder))
    assert (done.code, done.out) == (1, "")
    assert left.read_text() == "of an earlier attempt"
    assert (folder / "prompts/index.json").read_bytes() == index


def test_add_a_prompt_that_is_new_needs_an_owner(stand: Stand, folder: Path) -> None:
    new = folder.parent / "new.md"
    new.write_text("Do {{thing}}.\n")
    assert stand.cli("prompts", "add", "chore", str(new), "--dir", str(folder)).code == 2
    done = stand.cli("prompts", "add", "chore", str(new), "--dir", str(folder), "--owner", "ops")
    assert (done.code, done.out) == (0, "chore@v1\n")


def test_verify_fails_on_a_checksum_that_differs(stand: Stand, folder: Path) -> None:
    (folder / "prompts/hello/v1.md").write_text("changed")
    done = stand.cli("prompts", "verify", str(folder))
    assert (done.code, done.out) == (1, "")


def test_job_types(both: Stand) -> None:
    both.start()
    row = both.cli("jobtypes", "list").out.splitlines()[1].split()
    assert row[:5] == ["hello", "hello@v1", "gpt-5.5", "1/2", "0"]
    shown = both.cli("jobtypes", "show", "hello")
    assert "Slots:       1 of 2 taken, 0 waiting\n" in shown.out
    assert "Inputs:\n  name  text, required\n" in shown.out
    assert shown.err == "next: codexrun start hello -p name=...\n"
    assert both.cli("jobtypes", "show", "nothing").code == 5


def test_validate_a_job_type_file(stand: Stand, folder: Path) -> None:
    file = folder / "configs/jobs/hello.yaml"
    assert stand.cli("jobtypes", "validate", str(file)).out == "1 job type: valid\n"
    alone = folder.parent / "hello.yaml"
    shutil.copy(file, alone)
    assert stand.cli("jobtypes", "validate", str(alone)).code == 0
    file.write_text(file.read_text().replace("concurrencyLimit:", "concurrencyLimt:"))
    done = stand.cli("jobtypes", "validate", str(file))
    assert (done.code, done.out) == (1, "")
    assert "spec.concurrencyLimt: unknown field" in done.err


# -- versions, start-up
# -------------------------------------------------------------------------------


def test_version_tells_client_server_and_crd(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests may keep the processors busy for longer than a person would wait.
    monkeypatch.setattr(versions, "TIMEOUT_SECONDS", 60.0)
    done = stand.cli("--version")
    assert re.fullmatch(r"codexrun \S+\nserver   \S+\ncrd      codexrun.dev/v1alpha1\n", done.out)
    away = stand.cli("--version", "--server", "http://127.0.0.1:9")
    assert away.code == 0
    assert away.out.endswith("server   unknown\n")


@pytest.mark.parametrize(
    ("mine", "theirs", "far"),
    [
        ("0.1.0", "0.1.9", False),
        ("0.1.0", "0.2.0", False),
        ("0.1.0", "0.3.0", True),
        ("0.1.0", "1.1.0", True),
    ],
)
def test_skew(mine: str, theirs: str, far: bool) -> None:
    assert skew(mine, theirs) is far


def test_a_server_that_is_far_apart_is_warned_about(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stand.cli("--version").err == ""
    monkeypatch.setattr("codexrun_cli.versions.own", lambda: "9.0.0")
    done = stand.cli("--version")
    assert (done.code, done.out.splitlines()[0]) == (0, "codexrun 9.0.0")
    assert re.fullmatch(
        r"client 9\.0\.0 and server \S+ differ by more than one minor version; update the older"
        r" one\n",
        done.err,
    )


def test_a_crd_that_this_client_does_not_speak_is_warned_about(stand: Stand) -> None:
    stand.rest = False
    stand.kube.more["/apis/codexrun.dev"] = {"versions": [{"version": "v1alpha1"}]}
    assert stand.cli("--version").err == ""
    stand.kube.more["/apis/codexrun.dev"] = {"versions": [{"version": "v1"}]}
    done = stand.cli("--version")
    assert (done.code, done.out.splitlines()[1]) == (0, "crd      v1")
    assert "but this client supports only v1alpha1; update the client or the chart\n" in done.err


HEAVY = {
    "kubernetes",
    "aiohttp",
    "rich",
    "jsonschema",
    "httpx",
    "sqlalchemy",
    "codexrun_core.resources.codexrun",
}


def test_what_is_slow_to_import_is_left_out_where_it_is_not_needed(stand: Stand) -> None:
    """Start-up is measured by `make bench`; here is what it depends on."""
    for words in (["--help"], ["list"], ["status", stand.start()], ["completion", "bash"]):
        code = (
            f"import sys\nsys.argv = ['codexrun', *{words!r}]\nfrom codexrun_cli.main import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
            f"print('loaded:', *sorted({HEAVY!r} & sys.modules.keys()), file=sys.stderr)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], env=stand.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines()[-1] == "loaded:", (words, done.stderr)


@pytest.mark.parametrize(
    "words",
    [
        *(
            [name]
            for name in (
                "start",
                "list",
                "status",
                "logs",
                "tail",
                "wait",
                "cancel",
                "retry",
                "diff",
                "open",
                "stats",
            )
        ),
        *([name] for name in ("doctor", "cleanup", "completion", "login", "help")),
        *(["prompts", name] for name in ("list", "show", "diff", "render", "add")),
        *(["jobtypes", name] for name in ("list", "show", "validate")),
        *(["config", name] for name in ("view", "set", "path")),
    ],
    ids=" ".join,
)
def test_help_of_everything_fits_80_columns(stand: Stand, words: list[str]) -> None:
    done = stand.cli(*words, "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    assert stand.cli("help", *words).out.splitlines()[2:] == done.out.splitlines()[2:]


def test_cleanup_has_its_old_name_too(stand: Stand) -> None:
    ours = stand.cli("cleanup", "--dry-run")
    old = stand.cli("cleanup_runs", "--dry-run")
    assert (ours.code, old.code) == (0, 0)
    assert re.sub(r"\d", "", ours.out) == re.sub(r"\d", "", old.out)
    assert "cleanup_runs" not in stand.cli("--help").out


def test_the_module_is_the_program(stand: Stand) -> None:
    done = subprocess.run(
        [*command(), "help", "exit-codes"],
        env=stand.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("   0  the command succeeded")
