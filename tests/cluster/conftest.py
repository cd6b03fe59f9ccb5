"""Tests against the cluster of `make up`. Those marked `disruptive` stop parts that others use:
they come last, and after them only those marked `afterwards`, which look at what all of them have
left. Those marked `faults` are for `make faults`."""

from collections.abc import Iterator

import pytest
from fault_choice import WHOLE
from git_host import serving
from lab import Lab
from rest_facade import Facade


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not WHOLE:
        long = {item for item in items if item.get_closest_marker("faults")}
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=list(long))
    late = ("afterwards", "disruptive", "alone")
    items.sort(key=lambda item: [item.get_closest_marker(mark) is not None for mark in late])


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.clean_up()


@pytest.fixture(scope="session")
def facade(lab: Lab) -> Facade:
    return Facade(lab)


@pytest.fixture(scope="session")
def host(lab: Lab) -> Iterator[str]:
    """Of a Git server in the cluster."""
    with serving(lab) as name:
        yield name
