"""One name, one meaning: which entry of allowedTools each of Codex's names needs, and what an entry
covers."""

import re
import tomllib

import pytest

from codexrun_core.codex import policy as codex_policy
from codexrun_core.codex import tools
from codexrun_pod.runner.codex import config


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("exec_command", "shell"),
        ("Bash", "shell"),
        ("apply_patch", "apply_patch"),
        ("view_image", "view_image"),
        ("update_plan", None),
        ("exec", None),
        ("mcp__docs__search", "mcp:docs/search"),
        ("mcp__docs__get__it", "mcp:docs/get__it"),
        ("mcp__docs", "mcp__docs"),
        ("spawn_agent", "spawn_agent"),
        ("read_mcp_resource", None),
    ],
)
def test_what_a_name_needs(name: str, entry: str | None) -> None:
    assert tools.required_entry(name) == entry


@pytest.mark.parametrize(
    ("allowed", "entry", "covered"),
    [
        (["shell"], "shell", True),
        (["shell"], "apply_patch", False),
        ([], None, True),
        (["mcp:docs"], "mcp:docs/search", True),
        (["mcp:docs/search"], "mcp:docs/search", True),
        (["mcp:docs/search"], "mcp:docs/delete", False),
        (["mcp:docs/search"], "mcp:docs", False),
        (["mcp:docs/get-it"], "mcp:docs/get_it", True),  # as code mode spells it
        (["mcp:doc"], "mcp:docs/search", False),
        (["shell", "apply_patch"], "spawn_agent", False),
    ],
)
def test_what_an_entry_covers(allowed: list[str], entry: str | None, covered: bool) -> None:
    assert tools.permits(allowed, entry) is covered


def test_a_resource_is_as_powerful_as_its_server() -> None:
    assert tools.required_entry("read_mcp_resource", {"server": "docs", "uri": "x"}) == "mcp:docs"


@pytest.mark.parametrize("entry", ["shell", "mcp:docs", "mcp:docs/get-it.v2"])
def test_an_entry_that_may_be_written(entry: str) -> None:
    assert re.search(tools.ENTRY_PATTERN, entry)


@pytest.mark.parametrize(
    "entry",
    [
        "Shell",
        "exec_command",
        "mcp:",
        "mcp:my_docs",
        "mcp:my-docs",
        "mcp:docs/",
        "mcp:docs/a b",
        "shell ",
    ],
)
def test_an_entry_that_may_not_be_written(entry: str) -> None:
    assert not re.search(tools.ENTRY_PATTERN, entry)


def test_servers_and_their_tools() -> None:
    assert tools.mcp_servers(["shell", "mcp:a/x", "mcp:a/y", "mcp:b", "mcp:b/z"]) == {
        "a": ["x", "y"],
        "b": None,
    }


@pytest.mark.parametrize("sandbox", ["pod", "codex"])
@pytest.mark.parametrize(
    "allowed", [[], ["shell"], ["web_search", "view_image"], ["mcp:docs/a b'c"]]
)
def test_the_policy_is_toml_and_allows_what_the_configuration_asks_for(
    allowed: list[str], sandbox: str
) -> None:
    policy = tomllib.loads(codex_policy.requirements(allowed, sandbox))
    assert config.SANDBOX_MODES[sandbox] in policy["allowed_sandbox_modes"]
    assert policy["allowed_web_search_modes"] == ["live" if "web_search" in allowed else "disabled"]
    assert policy["features"]["shell_tool"] is ("shell" in allowed)
    assert policy["features"]["hooks"] is True
    assert ("mcp_servers" in policy) is (not any(entry.startswith("mcp:") for entry in allowed))
    assert policy["hooks"]["PreToolUse"][0]["hooks"][0]["command"].startswith(
        "/opt/codexrun/bin/audit-tool"
    )
