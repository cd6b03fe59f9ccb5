"""Fixtures around shipping; shipping_stand.py has what they give. The stand of real Codex is
tests/support/stands/codex_stand.py."""

import pytest
from codex_stand import Pod, demo_model, find_codex

from codexrun_api.archive.archive import Archive


@pytest.fixture
def archive(tmp_path):
    """An open one in a folder of the test's."""
    made = Archive(tmp_path / "archive")
    made.open()
    return made


@pytest.fixture(scope="session")
def shipping_demo(tmp_path_factory):
    """The demo model's base URL, without /v1."""
    with demo_model(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture
def shipping_pods(tmp_path, shipping_demo):
    """Makes pods: make(name) is one whose containers the test starts."""
    made = []

    def make(name, **about):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ingest-token").write_text(about.pop("token", "token-of-the-pod"))
        made.append(Pod(tmp_path / name, find_codex(), shipping_demo, **about))
        return made[-1]

    yield make
    for pod in made:
        pod.clear()
