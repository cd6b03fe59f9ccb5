"""Tests that stop, kill and starve parts of a release have one of their own: others go on beside
them."""

from collections.abc import Iterator

import pytest
from git_host import serving
from lab import Lab
from rest_facade import Facade


@pytest.fixture(scope="session")
def lab(own_lab: Lab) -> Lab:
    return own_lab


@pytest.fixture(scope="session")
def facade(lab: Lab) -> Facade:
    return Facade(lab)


@pytest.fixture(scope="session")
def host(lab: Lab) -> Iterator[str]:
    with serving(lab) as name:
        yield name
