"""What we use of Codex is there in each version that is tested: in the oldest that images may have,
and in ours."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from codexrun_cluster.images.codex import pins
from codexrun_core.codex import efforts, events, policy
from codexrun_core.codex.tools import DEFAULT_TOOLS
from codexrun_core.prices.table import built_in
from codexrun_pod.runner import settings
from codexrun_pod.runner.codex import config

ROOT = Path(__file__).resolve().parents[3]
OFFERS: dict[str, Any] = json.loads((ROOT / "tests/support/codex_offers.json").read_text())
PINNED = pins()[-1].version
RUN = {
    "runId": "1",
    "name": "n",
    "jobType": "t",
    "attempt": 1,
    "prompt": {"version": "v1", "sha256": "0"},
    "model": "gpt-5.5",
    "effort": "high",
    "timeoutSeconds": 60,
    "stallSeconds": 600,
    "gatePort": 1,
}


@pytest.fixture(params=OFFERS)
def offer(request: pytest.FixtureRequest) -> Any:
    return OFFERS[request.param]


@pytest.fixture
def agent() -> settings.Settings:
    schema = {"CODEXRUN_OUTPUT_SCHEMA": "e30="}
    return settings.from_env({"CODEXRUN_RUN": json.dumps(RUN), "HOME": "/home/agent", **schema})


def test_it_is_told_of_each_pinned_version() -> None:
    assert list(OFFERS) == [pin.version for pin in pins()]


def test_every_flag_is_there(offer: Any, agent: settings.Settings) -> None:
    for command, thread in (("exec", None), ("exec resume", "t1")):
        words = config.command(agent, thread)
        used = {word for word in words if word.startswith("--")}
        assert "--output-schema" in used
        assert used <= set(offer["flags"][command])


def test_every_feature_that_is_set_is_there(offer: Any, agent: settings.Settings) -> None:
    ours = tomllib.loads(config.config_toml(agent))["features"]
    managed = tomllib.loads(policy.requirements(DEFAULT_TOOLS, "pod"))["features"]
    for feature in {**ours, **managed}:
        assert offer["features"].get(feature, "removed") != "removed", feature


def test_every_event_and_item_can_be_read(offer: Any) -> None:
    kinds = {events.THREAD_STARTED, events.TURN_STARTED, events.TURN_COMPLETED, events.TURN_FAILED}
    assert set(offer["events"]) <= kinds | events.ITEM_EVENTS | {events.ERROR}
    assert set(offer["items"]) <= events.ITEM_TYPES


def test_every_model_that_codex_lists_has_a_price() -> None:
    priced = {price.model for price in built_in().prices}
    assert set(OFFERS[PINNED]["models"]) <= priced


def test_the_default_efforts_are_known(offer: Any) -> None:
    assert {model["defaultEffort"] for model in offer["models"].values()} <= set(efforts.DEFAULTS)


def test_the_readme_names_the_versions() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"\bCodex (\d+\.\d+\.\d+)", text) == [PINNED]
    oldest = ".".join(pins()[0].version.split(".")[:2])
    assert f"with Codex {oldest} or newer" in text
