"""Every test gets its lane here, and what the unit lane promises is enforced. lanes.py has the
table.

pyproject.toml puts tests/ and the folders of tests/support on the path.
"""

import gc
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from lanes import Guard, NoLane, group_of, in_turns, lane_of, skipped
from xdist.scheduler import LoadScopeScheduling

# Others take the time that an example, or its making, has. The rest is as Hypothesis chose it: CI
# has a profile of its own.
SLOW = {*hypothesis.settings.default.suppress_health_check, hypothesis.HealthCheck.too_slow}
hypothesis.settings.register_profile(
    "beside others", hypothesis.settings.default, deadline=None, suppress_health_check=tuple(SLOW)
)
hypothesis.settings.load_profile("beside others")

HERE = Path(__file__).parent
GUARD = Guard()


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no garbage collection need look at it again."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    folder = collection_path.relative_to(HERE).parts[:1]
    if not folder or (collection_path.is_dir() and collection_path.parent != HERE):
        return None
    marks = collection_path.read_text(encoding="utf-8") if collection_path.is_file() else None
    return True if skipped(folder[0], config.option.markexpr, marks) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    path = item.path.relative_to(HERE)
    try:
        lane = lane_of(path, (mark.name for mark in item.iter_markers()))
    except NoLane as error:
        raise pytest.UsageError(str(error)) from None
    item.add_marker(lane)
    shared = {
        name
        for name, fixtures in getattr(item, "_fixtureinfo").name2fixturedefs.items()  # noqa: B009
        if fixtures[-1].scope in ("class", "module") and not name.startswith("_")  # pytest's own
    }
    # Each worker would make it for its own few tests.
    if shared and group_of(item.nodeid) == item.nodeid:
        raise pytest.UsageError(
            f"tests/{path}: its tests share {' and '.join(sorted(shared))}, but run on any worker;"
            " add the file to SHARING in tests/lanes.py"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers of pytest-xdist; cluster/conftest.py orders its own."""
    if hasattr(config, "workerinput") and not any(
        item.get_closest_marker("cluster") for item in items
    ):
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[nodeid] for nodeid in in_turns([*by_id])]


class Groups(LoadScopeScheduling):
    """Groups of our own. `--dist loadgroup` of pytest-xdist 3.8 makes none with pytest 9.2: it
    changes `_nodeid`, which pytest no longer reads."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Groups:
    return Groups(config, log)


def guarded(item: pytest.Item) -> Generator[None, None, None]:
    """One phase of a test, its fixtures of every scope included."""
    if item.get_closest_marker("unit") is None:
        return (yield)
    GUARD.install()
    GUARD.watching = True
    try:
        return (yield)
    finally:
        GUARD.watching = False
        seen = GUARD.take()
        if seen:
            pytest.fail("\n".join(seen), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    return (yield from guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    return (yield from guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    return (yield from guarded(item))
