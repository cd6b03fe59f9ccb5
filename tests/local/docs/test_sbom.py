"""The SBOMs name what the locks have, with version and hashes, and are valid CycloneDX."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import sbom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from codexrun_cluster.images.codex import PINS

ROOT = Path(__file__).parents[3]
ELSEWHERE = {"colorama"}  # in the lock for Windows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("sbom") / "dist"
    sbom.main(folder)
    return folder


def document(folder: Path, image: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{image}.cdx.json").read_text())
    return loaded


def test_both_are_valid(folder: Path) -> None:
    files = sorted(folder.iterdir())
    assert [file.name for file in files] == ["codexrun-agent.cdx.json", "codexrun.cdx.json"]
    for file in files:
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read_text()) is None


def test_the_control_image_has_each_locked_package_with_version_and_hashes(folder: Path) -> None:
    lock = (ROOT / "requirements/runtime.lock").read_text()
    locked = {
        (name, version): set(re.findall(r"sha256:(\w{64})", rest))
        for name, version, rest in re.findall(
            r"^([\w.-]+)==(\S+)((?:.*\\\n)+.*)", lock, re.MULTILINE
        )
        if name not in ELSEWHERE
    }
    assert len(locked) == len(re.findall(r"^\S+==", lock, re.MULTILINE)) - len(ELSEWHERE)
    assert all(locked.values())
    shown = document(folder, "codexrun")
    assert {
        (part["name"], part["version"]): {
            each["content"] for each in part["externalReferences"][0]["hashes"]
        }
        for part in shown["components"]
    } == locked
    assert {part["purl"] for part in shown["components"]} == {
        f"pkg:pypi/{name}@{version}" for name, version in locked
    }


def test_the_agents_image_has_codex_for_each_processor_as_it_is_pinned(folder: Path) -> None:
    *_, (version, pinned) = json.loads(PINS.read_text()).items()
    shown = {
        part["version"]: part["hashes"] for part in document(folder, "codexrun-agent")["components"]
    }
    assert shown == {
        f"{version}-linux-{cpu}": [
            {"alg": "SHA-512", "content": base64.b64decode(pinned[processor][7:]).hex()}
        ]
        for processor, cpu in (("amd64", "x64"), ("arm64", "arm64"))
    }


def test_each_is_about_its_image_which_depends_on_all_of_it(folder: Path) -> None:
    for image in ("codexrun", "codexrun-agent"):
        shown = document(folder, image)
        subject = shown["metadata"]["component"]
        assert (subject["name"], subject["type"]) == (image, "container")
        assert f'version = "{subject["version"]}"' in (ROOT / "pyproject.toml").read_text()
        (root,) = [each for each in shown["dependencies"] if each["ref"] == subject["bom-ref"]]
        assert set(root["dependsOn"]) == {part["bom-ref"] for part in shown["components"]}
