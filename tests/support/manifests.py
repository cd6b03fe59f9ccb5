"""Manifests as users apply them. Each builder fills in what a test does not care about.
`builders.py` has the same objects as the operator sees them, with what apiserver and operator add.
"""

import hashlib
from typing import Any

Json = dict[str, Any]

API_VERSION = "codexrun.dev/v1alpha1"
PROMPT = "Say hello to {{name}}.\n"


def run(name: str = "hello", **spec: Any) -> Json:
    """Return a CodexRun of job type `hello`, unless the spec names another."""
    return {
        "apiVersion": API_VERSION,
        "kind": "CodexRun",
        "metadata": {"name": name},
        "spec": {"jobType": "hello", **spec},
    }


def job_type(name: str = "hello", **spec: Any) -> Json:
    """Return a CodexJobType of the prompt `hello`, with two slots."""
    defaults = {
        "prompt": {"name": "hello", "version": "v1"},
        "model": "gpt-5.5",
        "concurrencyLimit": 2,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "CodexJobType",
        "metadata": {"name": name},
        "spec": {**defaults, **spec},
    }


def prompt(
    name: str = "hello", version: str = "v1", text: str = PROMPT, sha256: str | None = None
) -> Json:
    """Return the ConfigMap of a prompt's version."""
    labels = {"codexrun.dev/prompt": name, "codexrun.dev/prompt-version": version}
    annotations = {
        "codexrun.dev/sha256": sha256 or hashlib.sha256(text.encode()).hexdigest(),
        "codexrun.dev/owner": "docs",
        "codexrun.dev/updated-at": "2026-01-31",
    }
    metadata = {
        "name": f"prompt-{name}-{version}",
        "labels": labels,
        "annotations": annotations,
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"prompt.md": text},
    }
