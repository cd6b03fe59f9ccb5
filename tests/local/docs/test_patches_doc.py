"""docs/patches.md as far as it goes without a cluster: its repository, its Git server and its job
type. tests/cluster/install/test_docs_on_cluster.py types all of it."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_schemas
import pytest
import yaml
from docblocks import ROOT, blocks, working_copy
from programs import free_port

from codexrun_core.resources import CodexJobType
from codexrun_core.resources.git_urls import allowed_url
from codexrun_pod.clone import __main__ as cloning

REPOSITORY, SERVER, JOB_TYPE, RUN, *_ = (
    block.text for block in blocks(ROOT / "docs/patches.md") if block.test == "cluster"
)


def bash(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PATH": f"{ROOT}/.venv/bin{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's checkout after the first block, and what the second one bundles."""
    copy = working_copy(tmp_path)
    done = bash(REPOSITORY + SERVER.partition("kubectl create")[0], copy)
    assert done.returncode == 0, done.stderr
    return copy


def manifests() -> list[dict[str, Any]]:
    match = re.search(r"<<YAML\n(.*?)^YAML$", SERVER, re.DOTALL | re.MULTILINE)
    assert match
    return list(yaml.safe_load_all(match[1].replace("$image", "registry.example.com/codexrun:1")))


@pytest.fixture
def url(folder: Path, tmp_path: Path) -> Iterator[str]:
    """Where the pod's command serves the bundle, on loopback."""
    pod, _ = manifests()
    port = free_port()
    *shell, command = pod["spec"]["containers"][0]["command"]
    command = command.replace("http.server 8000", f"http.server {port} -b 127.0.0.1")
    command = command.replace("/bundle/", f"{folder}/")
    (tmp_path / "served").mkdir()
    with subprocess.Popen(
        [*shell, command.replace("python3 -m", "python3 -u -m")],
        cwd=tmp_path / "served",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        assert "Serving HTTP" in server.stdout.readline()
        yield f"http://127.0.0.1:{port}/shop.git"
        server.terminate()


def test_the_manifests_of_the_git_server_are_kubernetes_own() -> None:
    pod, service = manifests()
    for manifest in (pod, service):
        kubernetes_schemas.validate(manifest, "1.34")
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()


@pytest.mark.parametrize("ref", ["main", None])
def test_what_the_pod_serves_is_cloned_as_a_run_clones(
    url: str, tmp_path: Path, ref: str | None
) -> None:
    (tmp_path / "workspace").mkdir()
    settings = cloning.Settings(
        url=url,
        ref=ref,
        allowed=(url,),
        workspace=tmp_path / "workspace",
        credentials=tmp_path / "none",
    )
    cloning.clone(settings, cloning.CloneLog())
    assert (tmp_path / "workspace/test_cart.py").exists()


def test_the_test_of_the_repository_fails_until_the_change_of_the_hint(folder: Path) -> None:
    check = re.search(r"-p command='([^']+)'", RUN)
    hint = re.search(r"in cart.py `([^`]+)` should be `([^`]+)`", RUN)
    assert check
    assert hint
    shop = folder / "shop"
    assert "FAILED" in bash(check[1], shop).stderr
    text = (shop / "cart.py").read_text()
    assert hint[1] in text
    (shop / "cart.py").write_text(text.replace(hint[1], hint[2]))
    assert bash(check[1], shop).returncode == 0


def test_the_job_type_allows_the_url_after_the_edit_and_not_before(folder: Path) -> None:
    url = re.search(r"--git (\S+)", RUN)
    assert url

    def allowed() -> list[str]:
        done = bash("codexrun prompts manifests -n codexrun", folder)
        assert done.returncode == 0, done.stderr
        (git,) = (
            CodexJobType.model_validate(document).spec.git
            for document in yaml.safe_load_all(done.stdout)
            if document["metadata"]["name"] == "fix-failing-test"
        )
        assert git
        return git.allowed_urls

    before = allowed()
    assert not any(entry.startswith("http://git-server") for entry in before)
    done = bash(JOB_TYPE.partition("codexrun")[0], folder)
    assert done.returncode == 0, done.stderr
    assert allowed_url(url[1], allowed())
    last = [b.text for b in blocks(ROOT / "docs/patches.md") if b.test == "cluster"][-1]
    removal = next(line for line in last.splitlines() if line.startswith("sed"))
    assert bash(removal, folder).returncode == 0
    assert allowed() == before
