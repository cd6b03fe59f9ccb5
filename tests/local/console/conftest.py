"""A console, a browser and visits to it. One event loop a file: server, browser and test share
it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from apistand import TOKEN
from browsers import chromium, visiting
from console_seed import fill
from console_stand import Console, running
from cut_network import Through
from playwright.async_api import expect

expect.set_options(timeout=20_000)  # a busy machine is no failure


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def console(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """With one job type and no run."""
    async with running(tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def team(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Console, dict[str, str]]]:
    """With runs in every state."""
    async with running(tmp_path_factory.mktemp("team")) as made:
        yield made, await fill(made, history=60)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def visit(browser, console: Console):
    async with visiting(browser, console.url, TOKEN) as made:
        yield made
        assert made.trouble == []


@pytest_asyncio.fixture(loop_scope="module")
async def plain(browser, console: Console):
    """The same without JavaScript."""
    async with visiting(browser, console.url, TOKEN, java_script_enabled=False) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def through(console: Console) -> AsyncIterator[Through]:
    """A way to the console that can be cut."""
    async with Through.to(console.url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def http(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without a screen, logged in."""
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as client:
        answer = await client.post("/console/login", data={"token": TOKEN})
        assert answer.status_code == 303, answer.text
        yield client


@pytest.fixture(scope="session")
def axe() -> str:
    return (Path(__file__).parent / "vendor/axe-4.14.0.min.js").read_text(encoding="utf-8")
