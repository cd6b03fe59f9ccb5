"""Where a browser shows a run: --web, `open`, and the address that status and start print."""

import dataclasses
import re

import pytest
from clistand import Stand
from test_cli_terminal import Screen

OUTSIDE = "https://runs.example.com"


@pytest.fixture
def opened(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that a browser was asked to show; the api says by which address the world knows
    it."""
    stand.services.settings = dataclasses.replace(stand.services.settings, external_url=OUTSIDE)
    found: list[str] = []
    monkeypatch.setattr("typer.launch", found.append)
    return found


def test_the_address_is_the_one_that_the_server_is_known_by(
    stand: Stand, opened: list[str]
) -> None:
    name = stand.start()
    page = f"{OUTSIDE}/console/runs/{stand.run_id(name)}"
    assert re.search(rf"^Console: +{re.escape(page)}$", stand.cli("status", name).out, re.M)
    assert stand.cli("open", name).out == f"{page}\n"
    assert stand.cli("status", name, "--web").err == f"opening {page}\n"
    assert opened == [page, page]


def test_a_start_opens_its_run(stand: Stand, opened: list[str]) -> None:
    name = stand.start("--web")
    assert opened == [f"{OUTSIDE}/console/runs/{stand.run_id(name)}"]


@pytest.mark.usefixtures("opened")
def test_on_a_terminal_a_start_prints_it_as_a_link(stand: Stand) -> None:
    code, text = Screen(stand, "start", "hello", "-p", "name=world").end()
    (name,) = stand.kube.run_names
    page = f"{OUTSIDE}/console/runs/{stand.run_id(name)}"
    assert code == 0
    assert f"console: \x1b]8;;{page}\x1b\\{page}\x1b]8;;\x1b\\" in text


def test_without_the_api_there_is_no_page(stand: Stand) -> None:
    name = stand.start()
    stand.rest = False
    assert "Console:" not in stand.cli("status", name).out
    done = stand.cli("open", name)
    assert (done.code, "the console needs the REST API" in done.err) == (7, True)
