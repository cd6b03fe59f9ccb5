"""Fixtures of the command line's tests; clistand.py has what they give. The apiserver in memory is
tests/support/fakes/fake_cluster.py."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from clistand import Stand, stands


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Over REST."""
    yield from stands(tmp_path, monkeypatch)


@pytest.fixture(params=["rest", "cluster"])
def both(stand: Stand, request: pytest.FixtureRequest) -> Stand:
    """Over REST, and straight on the cluster."""
    stand.rest = request.param == "rest"
    return stand


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """A shell's background job ignores Ctrl-C, and so would every program that its tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
