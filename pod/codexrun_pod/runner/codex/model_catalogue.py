"""Codex's list of models without the apply_patch tool: no key of its configuration turns that one
off."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from codexrun_pod.runner.settings import ConfigError, Settings

LIST_SECONDS = 30


def path(settings: Settings) -> Path:
    """Return where config.toml finds the list."""
    return settings.codex_home / "models.json"


def without_apply_patch(settings: Settings) -> None:
    """Write Codex's own list of models, without the tool.

    Raises:
        ConfigError: Codex does not print its list. OSError: it cannot be written.
    """
    # config.toml names a list that is not there yet
    scratch_home = settings.codex_home.with_name(".codex-models")
    scratch_home.mkdir(parents=True, exist_ok=True)
    environment = {
        "CODEX_HOME": str(scratch_home),
        "HOME": str(settings.home),
        "PATH": "/usr/bin:/bin",
    }
    try:
        result = subprocess.run(
            [str(settings.codex), "debug", "models"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=LIST_SECONDS,
            check=True,
        )
        catalogue = json.loads(result.stdout)
        for model in catalogue["models"]:
            model["apply_patch_tool_type"] = None
    except (subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"Codex does not list its models ({type(error).__name__}), so apply_patch cannot be"
            " turned off; add apply_patch to the job type's allowedTools, or use the Codex version"
            " that comes with the agent image"
        ) from error
    path(settings).write_text(json.dumps(catalogue), encoding="utf-8")
