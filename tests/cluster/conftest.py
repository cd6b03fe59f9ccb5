"""Tests against the cluster of `make up`.

Those of disruption/ stop parts of a release of their own; they come first, since they take longest.
Those marked `disruptive` stop parts that others use: they come last, and after them only those
marked `afterwards`, which look at what all of them have left. Those marked `faults` are for
`make faults`.
"""

from collections.abc import Iterator

import pytest
from fault_choice import WHOLE
from git_host import serving
from lab import Lab
from own_release import own_release
from rest_facade import Facade


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not WHOLE:
        long = {item for item in items if item.get_closest_marker("faults")}
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=list(long))
    late = ("afterwards", "disruptive", "alone")

    def place(item: pytest.Item) -> list[bool]:
        marked = [item.get_closest_marker(mark) is not None for mark in late]
        return [*marked, "own_lab" not in getattr(item, "fixturenames", ())]

    items.sort(key=place)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    lab = Lab()
    yield lab
    lab.clean_up()


@pytest.fixture(scope="session")
def own_lab() -> Iterator[Lab]:
    """A release of this process of pytest alone."""
    with own_release(Lab(), "own") as lab:
        yield lab


@pytest.fixture(scope="session")
def facade(lab: Lab) -> Facade:
    return Facade(lab)


@pytest.fixture(scope="session")
def host(lab: Lab) -> Iterator[str]:
    """Of a Git server in the cluster."""
    with serving(lab) as name:
        yield name
