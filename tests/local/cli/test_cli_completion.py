"""Completion in the shells themselves: keys typed into a real bash and zsh, and fish's own
engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clistand import PATIENCE, Stand
from programs import free_port
from test_cli_terminal import ESCAPE, Screen

BIN = Path(sys.executable).parent


@pytest.fixture(scope="session")
def shells() -> None:
    """bash, zsh and fish; as root on a Debian-like machine they are installed, else named."""
    missing = [name for name in ("bash", "zsh", "fish") if shutil.which(name) is None]
    if not missing:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.fail(f"missing here: {', '.join(missing)}; install them", pytrace=False)
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "-qq", "update"], env=env, check=False, capture_output=True)
    line = [
        "apt-get",
        "install",
        "-y",
        "--no-install-recommends",
        "-o",
        "DPkg::Lock::Timeout=120",
        *missing,
    ]
    done = subprocess.run(line, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def typed(stand: Stand, shell: list[str], setup: str, keys: str, wanted: str) -> str:
    """What a shell shows after these keys."""
    env = {
        **stand.env,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PS1": "ready> ",
        "INPUTRC": "/dev/null",
        "ZDOTDIR": str(stand.root),
    }
    screen = Screen.of(shell, env)
    screen.type(f"{setup}; echo set''up\n")
    screen.until("setup\r\n")
    screen.type(keys)
    screen.until(wanted)
    screen.process.kill()
    return ESCAPE.sub("", screen.text)


BASH = (["bash", "--norc", "--noprofile", "-i"], "source <(codexrun completion bash 2>/dev/null)")
ZSH = (
    ["zsh", "-f", "-i"],
    'autoload -U compinit; compinit -u -D; eval "$(codexrun completion zsh 2>/dev/null)"',
)


@pytest.mark.parametrize(("shell", "setup"), [BASH, ZSH], ids=["bash", "zsh"])
@pytest.mark.usefixtures("shells")
def test_a_command_and_a_runs_name_are_completed_on_tab(
    stand: Stand, shell: list[str], setup: str
) -> None:
    stand.start("--name", "alphabetical")
    typed(stand, shell, setup, "codexrun compl\t", "codexrun completion")
    typed(stand, shell, setup, "codexrun status alpha\t", "codexrun status alphabetical")
    typed(stand, shell, setup, "codexrun start hel\t", "codexrun start hello")


@pytest.mark.usefixtures("shells")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("codexrun compl", {"completion"}),
        ("codexrun status alpha", {"alphabetical"}),
        ("codexrun start h", {"hello"}),
        ("codexrun list --status r", {"running", "rejected"}),
        ("codexrun prompts show hello@", {"hello@v1"}),
        ("codexrun status @", {"@latest", "@latest-failed"}),
    ],
)
def test_fish_offers(stand: Stand, line: str, offered: set[str]) -> None:
    stand.start("--name", "alphabetical")
    env = {**stand.env, "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = f"codexrun completion fish 2>/dev/null | source; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert {found.split("\t")[0] for found in done.stdout.splitlines()} == offered, done.stderr


def test_powershells_script_is_printed(stand: Stand) -> None:
    assert "Register-ArgumentCompleter" in stand.cli("completion", "powershell").out


def asked(stand: Stand, *words: str, **env: Any) -> subprocess.CompletedProcess[str]:
    """As kubectl asks its plug-ins."""
    program = str(BIN / "kubectl_complete-codexrun")
    given = {**stand.env, **env}
    return subprocess.run(
        [program, *words], env=given, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


def test_kubectl_is_told_what_could_stand_there(stand: Stand) -> None:
    stand.start("--name", "alphabetical")
    done = asked(stand, "status", "alpha")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alphabetical\tstarting\n:4\n", "")
    assert re.match(r"start\t", asked(stand, "star").stdout)
    assert asked(stand).stdout.endswith(":4\n")


def test_a_server_that_is_away_is_silence(stand: Stand) -> None:
    done = asked(stand, "status", "x", CODEX_CONTROL_URL=f"http://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")


def test_the_plug_in_calls_itself_by_kubectls_name(stand: Stand) -> None:
    done = subprocess.run(
        [str(BIN / "kubectl-codexrun"), "-h"],
        env=stand.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: kubectl codexrun [OPTIONS] COMMAND")
