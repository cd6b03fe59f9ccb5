"""On a real terminal, on a dumb one, on none, and with streams that are closed."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from typing import Any

import pytest
from clistand import LOG, PATIENCE, Stand, command, event

from codexrun_cli.terminal import harmless, terminal

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x1b]*\x1b\\")


class Screen:
    """A command on a pseudo-terminal; `out`: its stdout goes there too (else into a pipe)."""

    def __init__(self, stand: Stand, *arguments: str, width: int = 80, **env: str | None) -> None:
        given = {**stand.env, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env}
        for name in ("COLUMNS", *(() if "NO_COLOR" in env else ("NO_COLOR",))):
            given.pop(name, None)
        self._open([*command(), *arguments], given, width)

    @classmethod
    def of(cls, words: list[str], env: dict[str, str]) -> "Screen":
        """Any program."""
        made = cls.__new__(cls)
        made._open(words, {"TERM": "xterm", "LANG": "C.UTF-8", **env}, 120)
        return made

    def _open(self, words: list[str], given: Mapping[str, str | None], width: int) -> None:
        self.fd, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        self.process = subprocess.Popen(
            words,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={key: value for key, value in given.items() if value is not None},
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509 - Ctrl-C reaches it as from a keyboard
        )
        os.close(inner)
        self.text = ""
        self.data = b""

    def until(self, wanted: str) -> str:
        """What was printed so far, once it has this."""
        self._read(lambda: wanted in ESCAPE.sub("", self.text))
        assert wanted in ESCAPE.sub("", self.text), self.text
        return self.text

    def until_hidden(self) -> None:
        """What is typed is not shown; what was typed before is thrown away."""
        deadline = time.monotonic() + PATIENCE
        while termios.tcgetattr(self.fd)[3] & termios.ECHO:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def end(self) -> tuple[int, str]:
        """Exit code, and all that was printed."""
        self._read(lambda: False)
        code = self.process.wait(PATIENCE)
        os.close(self.fd)
        return code, self.text.replace("\r\n", "\n")

    def _read(self, enough: Any) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough() and time.monotonic() < deadline:
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # the other side is closed
                break
            self.data += piece
            self.text = self.data.decode("utf-8", "replace")


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def process(stand: Stand, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    given = {key: value for key, value in {**stand.env, **env}.items() if value}
    return subprocess.run(
        [*command(), *arguments], env=given, capture_output=True, check=False, timeout=PATIENCE
    )


def test_a_terminal_has_colour(stand: Stand) -> None:
    stand.finished("--name", "mine")
    code, text = Screen(stand, "list").end()
    assert code == 0
    assert "\x1b[32msucceeded\x1b[0m" in text
    assert "\x1b[1mNAME" in text


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_a_terminal_that_wants_none_gets_none(stand: Stand, env: dict[str, str]) -> None:
    stand.finished("--name", "mine")
    code, text = Screen(stand, "list", **env).end()
    assert code == 0
    assert "\x1b" not in text
    piped = process(stand, "list").stdout.decode()
    # An age may have got a digit more between the two.
    assert re.sub(r" +\d+s +", " 1s ", text) == re.sub(r" +\d+s +", " 1s ", piped)


def test_flags_beat_the_environment(stand: Stand) -> None:
    stand.finished("--name", "mine")
    assert b"\x1b[32m" in process(stand, "list", "--color", "always").stdout
    assert "\x1b" not in Screen(stand, "list", "--color", "never").end()[1]
    assert "\x1b" not in Screen(stand, "list", "--plain").end()[1]


@pytest.mark.parametrize("width", [40, 80, 132])
def test_a_table_is_as_wide_as_the_terminal(stand: Stand, width: int) -> None:
    stand.finished("--name", "mine", result={"message": "word " * 60})
    _, text = Screen(stand, "list", width=width).end()
    assert max(len(line) for line in ESCAPE.sub("", text).splitlines()) <= width


def test_without_a_terminal_a_message_is_cut_unless_all_is_asked_for(stand: Stand) -> None:
    stand.finished("--name", "mine", result={"message": "word " * 60})
    printed = process(stand, "list", COLUMNS="").stdout
    assert b"word " * 20 in printed
    assert b"word " * 25 not in printed
    assert b"word " * 59 in process(stand, "list", "-o", "wide", COLUMNS="").stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-"])
def test_closed_streams_are_empty_ones(stand: Stand, closed: str) -> None:
    stand.finished("--name", "mine")
    words = " ".join(command())
    done = subprocess.run(
        ["bash", "-c", f"{words} list {closed}"],
        env=stand.env,
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert (b"mine" in done.stdout) == (closed != ">&-")


def test_with_stdin_closed_nobody_is_asked(stand: Stand) -> None:
    words = " ".join(command())
    for arguments in ("status", "cancel -j hello", "start hello -f -"):
        stand.start()
        done = subprocess.run(
            ["bash", "-c", f"{words} {arguments} <&-"],
            env=stand.env,
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode in (1, 2), arguments
        assert b"Traceback" not in done.stderr


def play(stand: Stand, *, end: bool = True) -> str:
    """The run that the command has just started, up to its end or into its middle."""
    (name,) = stand.until(lambda: stand.kube.run_names)
    stand.phase(name, "Running", reason="Running", startedAt="2026-01-31T12:00:00Z")
    stand.log(name, *LOG, sealed=end)
    if end:
        stand.end(name)
    return str(name)


def test_following_on_a_terminal_moves_a_line_and_ends_with_markdown(stand: Stand) -> None:
    screen = Screen(stand, "start", "hello", "-p", "name=world", "--follow")
    (name,) = stand.until(lambda: stand.kube.run_names)
    stand.phase(name, "Running", reason="Running", startedAt="2026-01-31T12:00:00Z")
    screen.until("running  ")  # the line that moves
    stand.log(name, *LOG)
    screen.until("exit 2")
    stand.end(name)
    code, text = screen.end()
    assert code == 0
    words = ESCAPE.sub("", text)
    assert "$ make test" in words
    assert "± update a.py" in words
    assert f"{name}: succeeded, after 30s, 120 tokens, $0.0042" in words
    assert "Hello, \x1b[1mworld\x1b[0m!" in text, "Markdown is rendered"
    assert "\x1b[2K" in text or "\x1b[1A" in text, "the line is drawn over"
    assert "\x1b[?25h" in text, "the cursor is back"


def test_the_line_that_moves_has_tokens_and_money_against_their_limits(stand: Stand) -> None:
    limits = ("--limit", "max_tokens=1000", "--limit", "max_cost_cents=50")
    screen = Screen(stand, "start", "hello", "-p", "name=world", *limits, "--follow", width=120)
    (name,) = stand.until(lambda: stand.kube.run_names)
    usage = {"totalTokens": 240, "costMicroUSD": 125_000, "complete": False}
    stand.phase(name, "Running", reason="Running", startedAt="2026-01-31T12:00:00Z", usage=usage)
    screen.until("240/1000 tokens (24%)  $0.1250/$0.50 (25%)")
    stand.phase(name, "Stopping", reason="CancelRequested")
    screen.until("stopping for 0s")
    stand.end(name, "Cancelled")
    assert screen.end()[0] == 3


def test_ctrl_c_stops_following_and_says_how_to_stop_the_run(stand: Stand) -> None:
    screen = Screen(stand, "start", "hello", "-p", "name=world", "--follow")
    name = play(stand, end=False)
    screen.until("update a.py")
    screen.type("\x03")
    code, text = screen.end()
    assert code == 130
    assert (
        f"no longer following; the run continues. To stop it: codexrun cancel {name}"
        in ESCAPE.sub("", text)
    )
    assert "Traceback" not in text
    assert "\x1b[?25h" in text, "the cursor is back"
    assert "cancel" not in stand.kube.run(name)["spec"]


@pytest.mark.parametrize("words", [("logs", "-f"), ("wait",), ("tail",)], ids=" ".join)
def test_ctrl_c_without_a_terminal(stand: Stand, words: tuple[str, ...]) -> None:
    name = stand.start()
    stand.log(name, *LOG, sealed=False)
    stand.looks = 0
    done = subprocess.Popen(
        [*command(), *words, name], env=stand.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if words[0] == "wait":
        stand.until(lambda: stand.looks >= 3)  # once for its name, then again and again
    else:
        assert done.stdout
        done.stdout.readline()
    done.send_signal(signal.SIGINT)
    _, err = done.communicate(timeout=PATIENCE)
    assert done.returncode == 130, err
    assert b"the run continues. To stop it: codexrun cancel" in err
    assert b"Traceback" not in err


def test_a_run_is_picked_from_a_list_on_a_terminal(stand: Stand) -> None:
    stand.finished("--name", "one")
    screen = Screen(stand, "status", "-o", "name")
    screen.until("which run")
    screen.type("1\n")
    code, text = screen.end()
    assert code == 0
    assert "codexrun/one" in text


def test_a_missing_token_is_asked_for_and_not_shown(stand: Stand) -> None:
    screen = Screen(stand, "list", CODEX_CONTROL_TOKEN=None)
    screen.until("token for http")
    screen.until_hidden()
    screen.type("t0ken-of-the-tests\n")
    code, text = screen.end()
    assert code == 0, text
    assert "t0ken" not in text
    assert "no runs yet" in text


def test_many_are_asked_about_on_a_terminal(stand: Stand) -> None:
    names = [stand.start(), stand.start()]
    screen = Screen(stand, "cancel", "-j", "hello")
    screen.until("cancel 2 runs? [y/N]")
    screen.type("n\n")
    assert screen.end()[0] == 1
    assert not any("cancel" in stand.kube.run(name)["spec"] for name in names)


def test_watching_a_list_prints_what_changes(stand: Stand) -> None:
    stand.start("--name", "mine")
    watching = subprocess.Popen(
        [*command(), "list", "--watch"],
        env=stand.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert watching.stdout
    first = [watching.stdout.readline() for _ in range(2)]
    assert b"starting" in first[1]
    stand.end("mine")
    assert watching.stdout.readline().split()[:2] == [b"mine", b"succeeded"]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(PATIENCE) == 130


def test_what_a_terminal_can_do() -> None:
    class Stream:
        def __init__(self, tty: bool, encoding: str = "utf-8") -> None:
            self.encoding = encoding
            self._tty = tty

        def isatty(self) -> bool:
            return self._tty

    yes: Any = Stream(True)
    assert terminal(yes, env={"TERM": "xterm"}).colour
    assert not terminal(yes, env={"TERM": "dumb"}).tty
    assert not terminal(yes, env={"NO_COLOR": "1"}).colour
    assert terminal(yes, env={"NO_COLOR": ""}).colour
    assert not terminal(Stream(True, "ascii"), env={}).utf8  # type: ignore[arg-type]
    assert not terminal(yes, utf8=False, env={}).utf8
    assert terminal(None, env={}) == terminal(Stream(False, ""), env={})  # type: ignore[arg-type]
    no: Any = Stream(False)
    assert terminal(no, colour="always", env={"NO_COLOR": "1"}).colour


HOSTILE = (
    "done\x1b]0;pwned\x07\x1b]52;c;cm0gLXJmIH4K\x07\x1b[2J\x9b2J \u202egnp.exe Û2J\r"
    "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\"
)
# The same run: it has ended.
AGAIN = (
    "start",
    "hello",
    "-p",
    "name=world",
    "--name",
    "mine",
    "--idempotency-key",
    "k",
    "--wait",
)
OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\]8;;(http://127\.0\.0\.1:[0-9]+/console/[^\x1b]*)?\x1b\\")


def hostile(stand: Stand) -> bytes:
    """A run whose final message and log hold what terminals obey; its log."""
    stand.finished(
        "--name", "mine", "--idempotency-key", "k", result={"message": HOSTILE}, message=HOSTILE
    )
    return stand.log(
        "mine",
        event(type="item.completed", item={"id": "i", "type": "agent_message", "text": HOSTILE}),
        HOSTILE.encode(),
    )


@pytest.mark.parametrize(
    ("options", "env"),
    [
        ([], {}),
        (["--plain"], {}),
        (["--no-utf8"], {}),
        ([], {"TERM": "dumb"}),
        ([], {"PYTHONIOENCODING": "latin-1"}),
    ],
    ids=["default", "plain", "no-utf8", "dumb", "latin-1"],
)
def test_no_terminal_obeys_what_an_agent_said(
    stand: Stand, options: list[str], env: dict[str, str]
) -> None:
    hostile(stand)
    screen = Screen(stand, *AGAIN, *options, **env)
    code, text = screen.end()
    assert code == 0
    assert "done" in text
    assert not OBEYED.search(OWN.sub("", text)), repr(text)
    if "PYTHONIOENCODING" in env:
        assert b"\xc3\x9b2J" not in screen.data, "0x9b begins a control sequence in Latin-1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["logs", "mine", "--raw"],
        ["logs", "mine", "--format", "jsonl"],
        ["logs", "mine"],
        ["status", "mine"],
        ["status", "mine", "-o", "json"],
        ["status", "mine", "-o", "yaml"],
        ["status", "mine", "-o", "jsonpath={.result}"],
        ["list", "-o", "custom-columns=SAID:.result"],
        ["wait", "mine", "-o", "json"],
    ],
    ids=" ".join,
)
def test_no_terminal_obeys_any_other_output(stand: Stand, arguments: list[str]) -> None:
    hostile(stand)
    code, text = Screen(stand, *arguments).end()
    assert code == 0
    assert "done" in text
    assert not OBEYED.search(OWN.sub("", text)), repr(text)
    if arguments[-1] == "json":
        assert json.loads(text)["result"] == HOSTILE, "escaped, and still the same"


def test_a_pipe_gets_every_byte(stand: Stand) -> None:
    log = hostile(stand)
    assert process(stand, "logs", "mine", "--raw").stdout == log
    assert (
        process(stand, "status", "mine", "-o", "jsonpath={.result}").stdout.decode()
        == HOSTILE + "\n"
    )
    assert process(stand, *AGAIN).stdout.decode() == HOSTILE + "\n"


@pytest.mark.parametrize(
    "character",
    [*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\ufeff", "\U000e0041"],
)
def test_what_is_hidden_is_written_as_json_does(character: str) -> None:
    shown = harmless(f"a{character}b")
    assert shown == (
        f"a{character}b" if character in "\t\n" else f"a{json.dumps(character)[1:-1]}b"
    )
    assert json.loads(f'"{shown}"', strict=False) == f"a{character}b"


def test_only_sequences_of_this_program_are_kept() -> None:
    link = "\x1b]8;;http://api/console\x1b\\page\x1b]8;;\x1b\\"
    assert harmless("ok\r\n") == "ok\r\n"
    assert harmless("\x1b[31mred\x1b[0m") == "\x1b[31mred\x1b[0m"
    assert "\x1b" not in harmless("\x1b[2J \x1b[8m \x1b[31;8m \x1b[38;5;1m") + harmless(link)
    assert harmless(link, links=True) == link
