"""Where values come from: a flag beats the environment, the environment the file; and nothing ever
shows a token."""

import json
import stat
from pathlib import Path

import pytest
import yaml
from apistand import TOKEN
from clistand import Stand

from codexrun_cli.errors import CommandError
from codexrun_cli.settings import Flags, settle

FILE = {"server": "http://file", "token": "file-token", "context": "file-context", "color": "never"}
ENV = {"CODEX_CONTROL_URL": "http://env/", "CODEX_CONTROL_TOKEN": "env-token"}

PRECEDENCE = [
    ("nothing at all: the cluster", Flags(), {}, {}, (None, None)),
    ("the file", Flags(), {}, FILE, ("http://file", "file-token")),
    ("the environment beats the file", Flags(), ENV, FILE, ("http://env", "env-token")),
    ("a flag beats both", Flags(server="http://flag"), ENV, FILE, ("http://flag", "env-token")),
    (
        "a stored token is for the stored server alone",
        Flags(server="http://flag"),
        {},
        FILE,
        ("http://flag", None),
    ),
    (
        "also where the URL is the environment's",
        Flags(),
        {"CODEX_CONTROL_URL": "http://env"},
        FILE,
        ("http://env", None),
    ),
    (
        "a flag that names a cluster beats a URL from elsewhere",
        Flags(context="kind"),
        ENV,
        FILE,
        (None, None),
    ),
    ("so does a namespace", Flags(namespace="team"), ENV, FILE, (None, None)),
]


@pytest.mark.parametrize(
    ("flags", "env", "stored", "wanted"),
    [row[1:] for row in PRECEDENCE],
    ids=[row[0] for row in PRECEDENCE],
)
def test_precedence(
    flags: Flags, env: dict[str, str], stored: dict[str, str], wanted: tuple[str | None, str | None]
) -> None:
    found = settle(flags, env, stored)
    assert (found.server, found.token) == wanted


def test_contradictions_are_refused() -> None:
    with pytest.raises(CommandError, match="use one or the other"):
        settle(Flags(server="http://x", context="kind"), {}, {})


def test_login_proves_the_token_and_stores_it_for_its_owner_alone(stand: Stand) -> None:
    env = {"CODEX_CONTROL_URL": None, "CODEX_CONTROL_TOKEN": None}
    wrong = stand.cli("login", stand.url, "--with-token", stdin="wrong\n", env=env)
    assert (wrong.code, wrong.out) == (4, "")
    file = stand.root / "config/codexrun/config.yaml"
    assert not file.exists()
    done = stand.cli("login", stand.url, "--with-token", stdin=f"{TOKEN}\n", env=env)
    assert (done.code, done.out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert yaml.safe_load(file.read_text()) == {"server": stand.url, "token": TOKEN}
    assert TOKEN not in done.err
    assert stand.cli("jobtypes", "list", "-o", "name", env=env).out == "hello\n"


def test_login_without_a_terminal_says_how_to_pipe_a_token(stand: Stand) -> None:
    done = stand.cli("login", stand.url)
    assert done.code == 2
    assert "--with-token" in done.err


def test_view_hides_tokens_and_says_where_each_value_is_from(stand: Stand) -> None:
    stand.cli("config", "set", "color", "never")
    done = stand.cli("config", "view", "-o", "json")
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(done.out)["settings"]}
    assert rows == {
        "server": (stand.url, "environment (CODEX_CONTROL_URL)"),
        "token": ("********", "environment (CODEX_CONTROL_TOKEN)"),
        "color": ("never", "file"),
    }
    for shown in (done, stand.cli("config", "view"), stand.cli("config", "view", "-o", "yaml")):
        assert TOKEN not in shown.out + shown.err


def test_set_and_remove(stand: Stand) -> None:
    assert stand.cli("config", "set", "namespace", "team").code == 0
    file = Path(stand.cli("config", "path").out.strip())
    assert yaml.safe_load(file.read_text()) == {"namespace": "team"}
    stand.cli("config", "set", "namespace", "")
    assert yaml.safe_load(file.read_text()) == {}
    assert stand.cli("config", "set", "server", "nowhere").code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: [", "not valid YAML"),
        ("servr: x", "servr: unknown setting; use server, token"),
        ("- a", "must contain settings as KEY: VALUE lines"),
    ],
)
def test_a_file_that_is_wrong_says_where(stand: Stand, text: str, said: str) -> None:
    file = stand.root / "config/codexrun/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = stand.cli("list")
    assert (done.code, done.out) == (1, "")
    assert str(file) in done.err
    assert said in done.err


def test_global_options_may_stand_anywhere(stand: Stand) -> None:
    name = stand.start()
    for words in (
        ["--server", stand.url, "list"],
        ["list", "--server", stand.url],
        ["list", f"--server={stand.url}"],
    ):
        done = stand.cli(*words, "-o", "name", env={"CODEX_CONTROL_URL": None})
        assert done.out == f"codexrun/{name}\n", words
