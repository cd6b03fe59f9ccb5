"""Fixtures around the real Codex; codex_stand.py has what they give."""

import pytest
from codex_stand import Pod, demo_model, find_codex, find_each_codex
from ingest_stand import ingest_server

EACH_CODEX = find_each_codex()


@pytest.fixture(scope="session")
def codex():
    """Path of the native binary."""
    return find_codex()


@pytest.fixture(scope="session", params=EACH_CODEX, ids=[p.parts[-3] for p in EACH_CODEX])
def each_codex(request):
    """Path of the native binary, one version after the other."""
    return request.param


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo model's base URL, without /v1."""
    with demo_model(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture
def pod(tmp_path, codex, demo):
    """A pod whose containers are started by the test; all of it ends with the test."""
    one = Pod(tmp_path, codex, demo)
    yield one
    one.clear()


@pytest.fixture
def artifacts(pod):
    """What the run's gate ships to `pod.ingest`, by name."""
    (pod.root / "ingest-token").write_text("token")
    with ingest_server() as (pod.ingest, kept):
        yield kept
