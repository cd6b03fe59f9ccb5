"""Which runs: filters go to the server, and both ways know the same ones; every namespace; no
secret is ever a flag."""

import socket
import subprocess
import urllib.parse
from typing import Any

import click
import pytest
import typer
from clistand import Stand
from test_cli_completion import asked

from codexrun_cli.main import app

FILTERS = [
    (["--status", "running,queued"], {"status": "running,queued"}),
    (["--phase", "Running", "--phase", "queued"], {"status": "running,queued"}),
    (["--job-type", "hello,other"], {"job_type": "hello,other"}),
    (["--prompt", "hello@v1"], {"prompt": "hello@v1"}),
    (["--user", "ada"], {"user": "ada"}),
    (["--model", "gpt-5.5"], {"model": "gpt-5.5"}),
    (["--since", "7d"], {"since": "7d"}),
    (["--older", "14d"], {"until": "14d"}),
    (["--search", "wrong branch"], {"search": "wrong branch"}),
]


@pytest.mark.parametrize(("flags", "query"), FILTERS, ids=[" ".join(row[0]) for row in FILTERS])
def test_a_filter_is_sent_to_the_server(
    stand: Stand, flags: list[str], query: dict[str, str]
) -> None:
    done = stand.cli("list", *flags, "--debug")
    assert done.code == 0, done.err
    (line,) = [line for line in done.err.splitlines() if "/runs?" in line]
    (url,) = [word for word in line.split() if "/runs?" in word]
    asked_for = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query))
    assert asked_for == {**query, "page_size": "51"}


@pytest.mark.parametrize(
    "flags",
    [
        ["--prompt", "hello@v1"],
        ["--model", "gpt-5.5"],
        ["--since", "1h"],
        ["--search", "wor"],
        ["--user", "shared"],
    ],
    ids=" ".join,
)
def test_both_ways_choose_the_same_runs(stand: Stand, flags: list[str]) -> None:
    used = {"name": "hello", "version": "v1", "sha256": "0" * 64}
    stand.finished("--name", "first", prompt=used)
    stand.finished("--name", "second", "--model", "gpt-5.5", "-p", "name=Bern")
    listed = []
    for stand.rest in (True, False):
        listed.append(stand.cli("list", *flags, "-o", "name").out)
    assert listed[0] == listed[1]
    assert listed[0]


def test_every_namespace_of_the_cluster(stand: Stand) -> None:
    stand.rest = False
    stand.start("--name", "mine")
    done = stand.cli("list", "-A")
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        ["NAMESPACE", "NAME"],
        ["codexrun", "mine"],
    ]


def parameters(
    command: click.Command, path: tuple[str, ...] = ()
) -> list[tuple[str, click.Parameter]]:
    found = [(" ".join(path), one) for one in command.params]
    for name, sub in getattr(command, "commands", {}).items():
        found += parameters(sub, (*path, name))
    return found


def test_no_command_takes_a_secret_as_a_flags_value() -> None:
    every = parameters(typer.main.get_command(app))
    assert len(every) > 100
    secret = ("token", "password", "secret", "api_key", "apikey", "credential")
    taken = [
        (path, one.name) for path, one in every if any(word in str(one.name) for word in secret)
    ]
    assert [(path, name) for path, name in taken if not flag(every, path, name)] == []


def flag(every: list[tuple[str, Any]], path: str, name: str) -> bool:
    """It only says yes or no."""
    return any(
        p == path and one.name == name and getattr(one, "is_flag", False) for p, one in every
    )


def test_a_token_is_refused_by_config_set(stand: Stand) -> None:
    done = stand.cli("config", "set", "token", "s3cret")
    assert done.code == 2
    assert "s3cret" not in stand.cli("config", "view").out


def test_a_server_that_never_answers_is_silence_in_completion(stand: Stand) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        done: subprocess.CompletedProcess[str] = asked(stand, "status", "x", CODEX_CONTROL_URL=url)
    assert (done.returncode, done.stdout, done.stderr) == (0, ":4\n", "")
