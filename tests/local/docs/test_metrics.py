"""The documentation lists every metric as it is exported, Prometheus' own linter accepts them all,
no name appears twice."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from expositions import exposition
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from promtools import need_prometheus

PAGE = Path(__file__).parents[3] / "docs/metrics.md"
COMPONENTS = ("operator", "api")

Shape = tuple[str, frozenset[str]]  # type, labels


@pytest.fixture(scope="module")
def expositions() -> dict[str, str]:
    return {component: exposition(component) for component in COMPONENTS}


def families(text: str) -> Iterator[Metric]:
    """Ours alone."""
    return (
        family
        for family in text_string_to_metric_families(text)
        if family.name.startswith("codexrun_")
    )


def exported(text: str) -> dict[str, Shape]:
    shapes = {}
    for family in families(text):
        labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
        assert family.samples, f"{family.name} has no series here, so nobody knows its labels"
        shapes[f"{family.name}_total" if family.type == "counter" else family.name] = (
            family.type,
            labels,
        )
    return shapes


def documented(component: str) -> dict[str, Shape]:
    (section,) = re.findall(
        rf"^## {component.capitalize()}\n(.*?)(?=^## )", PAGE.read_text(), re.M | re.S
    )
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", section, re.M)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_documentation_lists_what_is_exported(
    expositions: dict[str, str], component: str
) -> None:
    assert documented(component) == exported(expositions[component])


def test_both_export_only_what_each_could_not_read(expositions: dict[str, str]) -> None:
    operator, api = (set(exported(text)) for text in expositions.values())
    assert operator & api == {"codexrun_unreadable_objects_total"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_promtool_has_nothing_to_say(expositions: dict[str, str], component: str) -> None:
    need_prometheus()
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=expositions[component],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("component", COMPONENTS)
def test_no_label_is_about_one_run(expositions: dict[str, str], component: str) -> None:
    labels = {label for _, labels in exported(expositions[component]).values() for label in labels}
    assert not labels & {
        "name",
        "run",
        "run_id",
        "uid",
        "user",
        "requested_by",
        "pod",
        "ref",
        "branch",
    }
