"""Can Codex make its own sandbox here? Asked before it starts: later every command would fail and
the run still end well."""

from __future__ import annotations

import subprocess

from codexrun_pod.runner.codex import config
from codexrun_pod.runner.settings import ConfigError, Settings

CHECK_SECONDS = 30


def check(settings: Settings) -> None:
    """Check Codex's own sandbox, for `sandbox: codex`; the pod alone needs no check.

    Raises:
        ConfigError: it does not work; with Codex's output.
    """
    if settings.sandbox != "codex":
        return
    try:
        result = subprocess.run(
            [str(settings.codex), "sandbox", "--", "true"],
            cwd=str(settings.workspace),
            env=config.environment({"PATH": "/usr/local/bin:/usr/bin:/bin"}, settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_SECONDS,
            check=False,
        )
        failed = result.returncode != 0
        output = result.stdout.decode("utf-8", "replace").strip()
    except subprocess.TimeoutExpired:
        failed = True
        output = f"no response within {CHECK_SECONDS} s"
    if failed:
        raise ConfigError(
            "the job type's setting sandbox: codex does not work in this pod:"
            f" {output.splitlines()[-1] if output else 'no reason given'}; give the job type a"
            " runtimeClassName that allows user namespaces, or set sandbox: pod"
        )
