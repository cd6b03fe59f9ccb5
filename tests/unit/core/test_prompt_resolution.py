"""Prompt resolution: which version a run uses, and that one changed byte stops it at every door,
with both checksums."""

import shutil
from pathlib import Path

import pytest
from builders import PRICES, kind, prompt, run

from codexrun_core.prompts import index, manifests
from codexrun_core.prompts.index import FolderError
from codexrun_core.prompts.stored import StoredPrompt as Prompt
from codexrun_operator.decide.validation import Accepted, Missing, Rejected, validate_run
from codexrun_operator.watch.cache import Cache
from codexrun_pod.runner.codex import config
from codexrun_pod.runner.settings import ConfigError, from_env

ROOT = Path(__file__).resolve().parents[3]
RUNNING = {
    "runId": "r",
    "name": "n",
    "jobType": "hello",
    "attempt": 1,
    "model": "m",
    "timeoutSeconds": 1,
    "stallSeconds": 1,
}


def test_the_job_type_s_version_is_the_default() -> None:
    verdict = validate_run(run(), kind(), prompt(), PRICES)
    assert isinstance(verdict, Accepted)
    assert verdict.prompt.version == "v1"


def test_a_run_s_override_counts_where_the_job_type_allows_it() -> None:
    named = {"name": "hello", "version": "v1"}
    of = run(promptVersion="v2")
    v2 = prompt(version="v2")
    verdict = validate_run(of, kind(prompt={**named, "allowOverride": True}), v2, PRICES)
    assert isinstance(verdict, Accepted)
    assert verdict.prompt.version == "v2", "what is stored is the version, never a word like latest"
    assert isinstance(validate_run(of, kind(prompt=named), v2, PRICES), Rejected)


def test_a_version_that_is_not_there_is_waited_for() -> None:
    assert isinstance(validate_run(run(), kind(), None, PRICES), Missing)


@pytest.fixture
def changed(tmp_path: Path) -> tuple[Path, str, str]:
    """A folder whose prompt has one other byte than its index says; the two checksums."""
    for part in ("prompts", "configs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    text = tmp_path / "prompts/hello/v1.md"
    before = text.read_bytes()
    text.write_bytes(before[:-1] + b" ")
    return tmp_path, index.sha256_of(before), index.sha256_of(text.read_bytes())


def test_one_changed_byte_is_refused_by_library_and_manifests(
    changed: tuple[Path, str, str],
) -> None:
    folder, published, found = changed
    for door in (lambda: index.load(folder / "prompts"), lambda: manifests.load(folder)):
        with pytest.raises(FolderError) as caught:
            door()
        assert f"sha256:{found}" in str(caught.value)
        assert f"sha256:{published}" in str(caught.value)


def test_one_changed_byte_is_refused_at_admission(changed: tuple[Path, str, str]) -> None:
    """The ConfigMap is immutable; one that was deleted and made anew by hand is not what its
    annotation says."""
    folder, published, found = changed
    stored = manifests.config_map(manifests.load(ROOT).index.find("hello", "v1"))
    assert stored["immutable"] is True
    stored["metadata"]["uid"] = "u"
    stored["data"]["prompt.md"] = (folder / "prompts/hello/v1.md").read_text()
    cache = Cache(enqueue=lambda _: None)
    cache.update_prompt(stored)
    seen: Prompt = cache.prompts["hello", "v1"]
    verdict = validate_run(run(), kind(), seen, PRICES)
    assert isinstance(verdict, Rejected)
    assert verdict.reason == "PromptChecksumMismatch"
    assert found in verdict.message
    assert published in verdict.message


def test_one_changed_byte_is_refused_in_the_pod(
    changed: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    folder, published, found = changed
    told = {
        **RUNNING,
        "gatePort": 1,
        "prompt": {"name": "hello", "version": "v1", "sha256": published},
    }
    mounted = folder / "prompts/hello/v1.md"
    settings = from_env({"CODEXRUN_RUN": json.dumps(told), "CODEXRUN_PROMPT": str(mounted)})
    with pytest.raises(ConfigError) as caught:
        config.rendered_prompt(settings)
    assert found in str(caught.value)
    assert published in str(caught.value)
