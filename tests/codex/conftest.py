"""Fixtures around the real Codex; codex_stand.py has what they give."""

import pytest
from codex_stand import Pod, find_codex, free_port, get, start, until


@pytest.fixture(scope="session")
def codex():
    """Path of the native binary."""
    return find_codex()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo model's base URL, without /v1."""
    port = free_port()
    log = (tmp_path_factory.mktemp("demo") / "log").open("wb")
    server = start("codexrun_demo_model", "--host", "127.0.0.1", "--port", str(port), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    until(lambda: get(f"{url}/healthz"), "the demo model answers")
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture
def pod(tmp_path, codex, demo):
    """A pod whose containers are started by the test; all of it ends with the test."""
    one = Pod(tmp_path, codex, demo)
    yield one
    one.clear()
