"""Codex's managed policy, /etc/codex/requirements.toml: what its own configuration, flags and the
agent cannot change. Pure.

Mounted read-only from an annotation of the pod. Standard library only, Python 3.9 compatible.
https://developers.openai.com/codex/enterprise/managed-configuration
"""

from __future__ import annotations

import json
import shlex
from typing import Iterable  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import tools

REQUIREMENTS_PATH = "/etc/codex/requirements.toml"
HOOK_FOLDER = "/opt/codexrun/bin"
HOOK_PROGRAM = "audit-tool"
HOOK_TIMEOUT_SECONDS = 30

# pod: the container is the sandbox, whose seccomp profile lets bubblewrap make no namespace. codex:
# Codex's own as well. The policy and the runner's configuration must agree, or Codex refuses it.
SANDBOX_MODES = {"pod": "danger-full-access", "codex": "workspace-write"}


def requirements(allowed: Iterable[str], sandbox: str, *, hooks: str = HOOK_FOLDER) -> str:
    """Return the file's text. sandbox: a key of SANDBOX_MODES; hooks: the folder that holds the
    hook."""
    allowed = list(allowed)
    return f"{policy(allowed, sandbox)}\n{hook(allowed, hooks)}"


def policy(allowed: Iterable[str], sandbox: str) -> str:
    """Return the part that says what Codex may be configured to do."""
    allowed = list(allowed)
    lines = [
        # Codex insists on read-only, too; that one is no danger.
        f'allowed_sandbox_modes = ["read-only", {_toml(SANDBOX_MODES[sandbox])}]',
        'allowed_approval_policies = ["never"]',
        (
            "allowed_web_search_modes ="
            f" [{_toml('live' if tools.WEB_SEARCH in allowed else 'disabled')}]"
        ),
        "allow_managed_hooks_only = true",
        *([] if tools.mcp_servers(allowed) else ["mcp_servers = {}"]),
        "",
        "[features]",
        f"shell_tool = {_toml(tools.SHELL in allowed)}",
        f"view_image = {_toml(tools.VIEW_IMAGE in allowed)}",
        "hooks = true",
        "multi_agent = false",
        "unbounded_connection_retries = false",
        "",
    ]
    return "\n".join(lines)


def hook(allowed: Iterable[str], hooks: str = HOOK_FOLDER) -> str:
    """Return the part that says what Codex has to ask before each call of a tool, also from a
    script in code mode."""
    lines = [
        "[hooks]",
        f"managed_dir = {_toml(hooks)}",
        "[[hooks.PreToolUse]]",
        "[[hooks.PreToolUse.hooks]]",
        'type = "command"',
        f"command = {_toml(shlex.join([f'{hooks}/{HOOK_PROGRAM}', *allowed]))}",
        f"timeout = {HOOK_TIMEOUT_SECONDS}",
        "",
    ]
    return "\n".join(lines)


def _toml(value: str | bool) -> str:
    return json.dumps(value)
