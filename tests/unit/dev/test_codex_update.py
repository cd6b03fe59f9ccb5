"""What `make codex-update` reads from Codex, and what it says has changed."""

from typing import Any

import pytest
from codex_update import differences, features, flags, mentioning, models, moved, shapes

from codexrun_cluster.images.codex import Pin

HELP = """\
Options:
  -c, --config <key=value>
          Override a value, as in `--config model="o3"`
      --json
          Print events
  -h, --help
          Print help (see a summary with '-h')
"""
LIST = """\
apps                                     stable             true
rollout_budget                           under development  false
"""


def pins(*versions: str) -> list[Pin]:
    return [Pin(version, {}) for version in versions]


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        (["1"], "2", ["1", "2"]),
        (["1", "2"], "3", ["1", "3"]),
        (["1", "2"], "2", ["1", "2"]),
        (["1", "2"], "1", ["1"]),
    ],
)
def test_the_oldest_pin_stays(before: list[str], version: str, after: list[str]) -> None:
    assert moved(pins(*before), Pin(version, {})) == pins(*after)


def test_flags_are_read_from_the_help() -> None:
    assert flags(HELP) == ["--config", "--help", "--json"]


def test_features_are_read_from_the_list() -> None:
    assert features(LIST) == {"apps": "stable", "rollout_budget": "under development"}


def test_models_that_are_listed() -> None:
    model = {
        "slug": "m",
        "context_window": 9,
        "supported_reasoning_levels": [{"effort": "low"}],
        "default_reasoning_level": "low",
    }
    catalogue = [{**model, "visibility": "list"}, {**model, "slug": "n", "visibility": "hide"}]
    told = {"contextWindow": 9, "efforts": ["low"], "defaultEffort": "low"}
    assert models({"models": catalogue}) == {"m": told}


def test_the_shapes_of_events() -> None:
    events = [
        {"type": "item.started", "item": {"type": "reasoning", "id": "1"}},
        {"type": "item.completed", "item": {"type": "reasoning", "text": "x"}},
        {"type": "turn.started"},
    ]
    assert shapes(events) == {
        "events": {
            "item.completed": ["item", "type"],
            "item.started": ["item", "type"],
            "turn.started": ["type"],
        },
        "items": {"reasoning": ["id", "text", "type"]},
    }


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"flags": ["--a"]}, {"flags": ["--a"]}, []),
        ({"flags": ["--a"]}, {"flags": ["--b"]}, ["- flags: --a", "+ flags: --b"]),
        ({"m": {"window": 1}}, {"m": {"window": 2}}, ["! m: window: 1 -> 2"]),
        ({}, {"m": {"window": 2}}, ["+ m"]),
        ({"f": "stable"}, {"f": "removed"}, ["! f: stable -> removed"]),
    ],
)
def test_differences(before: Any, after: Any, lines: list[str]) -> None:
    assert differences(before, after) == lines


def test_a_page_gets_the_version_where_it_names_one_whole() -> None:
    page = "Codex 0.169.0 and a runner; Codex 0.169 or newer; Python 3.9.1"
    assert mentioning(page, "0.171.0") == page.replace("0.169.0", "0.171.0")
