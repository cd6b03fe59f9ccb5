"""From folder to manifests: the same bytes each time, each text back out of the YAML exactly as it
went in."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import kubernetes_schemas
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.prompts import index as prompts
from codexrun_core.prompts import manifests
from codexrun_core.prompts.index import FolderError, PromptVersion
from codexrun_core.resources import CodexJobType

ROOT = Path(__file__).parents[3]
TEXT = "Say hello to {{name}}.\n"
SHA256 = prompts.sha256_of(TEXT.encode())

JOB_TYPE = """\
apiVersion: codexrun.dev/v1alpha1
kind: CodexJobType
metadata:
  name: hello
spec:
  prompt: {name: hello, version: v1}
  model: gpt-5.5
"""


def folder(tmp_path: Path, **job_types: str) -> Path:
    (tmp_path / "prompts/hello").mkdir(parents=True)
    (tmp_path / "prompts/hello/v1.md").write_text(TEXT)
    fields = {
        "path": "hello/v1.md",
        "checksum": f"sha256:{SHA256}",
        "owner": "team",
        "updated_at": "2026-11-24",
    }
    (tmp_path / "prompts/index.json").write_text(
        json.dumps({"hello": [{"version": "v1", **fields}]})
    )
    (tmp_path / "configs/jobs").mkdir(parents=True)
    for name, text in job_types.items():
        (tmp_path / f"configs/jobs/{name}.yaml").write_text(text)
    return tmp_path


def problems(path: Path) -> str:
    with pytest.raises(FolderError) as caught:
        manifests.load(path)
    return str(caught.value)


def version(text: str, **changes: str) -> PromptVersion:
    fields = {
        "name": "p",
        "version": "v1",
        "path": "p/v1.md",
        "owner": "o",
        "updated_at": "2026-11-24",
    } | changes
    return PromptVersion(**fields, sha256=prompts.sha256_of(text.encode()), text=text)


def written(path: Path, namespace: str | None = None) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(manifests.to_yaml(manifests.load(path).manifests(namespace))))


def test_a_prompt_becomes_an_immutable_config_map(tmp_path: Path) -> None:
    assert written(folder(tmp_path)) == [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": "prompt-hello-v1",
                "labels": {
                    "app.kubernetes.io/managed-by": "codexrun",
                    "codexrun.dev/prompt": "hello",
                    "codexrun.dev/prompt-version": "v1",
                },
                "annotations": {
                    "codexrun.dev/owner": "team",
                    "codexrun.dev/sha256": SHA256,
                    "codexrun.dev/updated-at": "2026-11-24",
                },
            },
            "immutable": True,
            "data": {"prompt.md": TEXT},
        }
    ]


def test_a_job_type_gets_the_sha256_of_its_prompt(tmp_path: Path) -> None:
    _, job_type = written(folder(tmp_path, hello=JOB_TYPE))
    assert job_type["spec"] == {
        "prompt": {"name": "hello", "version": "v1", "sha256": SHA256},
        "model": "gpt-5.5",
    }


def test_the_namespace_is_in_every_object(tmp_path: Path) -> None:
    objects = written(folder(tmp_path, hello=JOB_TYPE), "team-a")
    assert [o["metadata"]["namespace"] for o in objects] == ["team-a", "team-a"]


def test_our_own_folder_gives_valid_objects_and_the_same_bytes_twice() -> None:
    first, second = (
        manifests.to_yaml(manifests.load(ROOT).manifests("codexrun")) for _ in range(2)
    )
    assert first == second
    for manifest in yaml.safe_load_all(first):
        if manifest["kind"] == "ConfigMap":
            kubernetes_schemas.validate(manifest, "1.34")
        else:
            CodexJobType.model_validate(manifest, extra="forbid")


def test_bytes_do_not_depend_on_the_order_of_names_in_the_index(tmp_path: Path) -> None:
    index = tmp_path / "prompts/index.json"
    path = folder(tmp_path)
    (tmp_path / "prompts/hello/w1.md").write_text("other")
    one = json.loads(index.read_text())["hello"]
    other = [one[0] | {"path": "hello/w1.md", "checksum": f"sha256:{prompts.sha256_of(b'other')}"}]
    index.write_text(json.dumps({"hello": one, "aloha": other}))
    before = manifests.to_yaml(manifests.load(path).manifests())
    index.write_text(json.dumps({"aloha": other, "hello": one}))
    assert manifests.to_yaml(manifests.load(path).manifests()) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("version: v1", "version: v2"),
            'spec.prompt: prompt "hello" has no version "v2"; add it to the index',
        ),
        (
            ("name: hello,", "name: hallo,"),
            'spec.prompt: prompt "hallo" is not in the index; add it there, or use one of',
        ),
        (
            ("v1}", f"v1, sha256: {'0' * 63}f}}"),
            f"f is not the sha256 of hello v1, which is {SHA256}; correct the value",
        ),
        (
            ("  name: hello\n", "  name: hi\n"),
            'metadata.name: "hi" does not match the file name; rename the file to hi.yaml',
        ),
        (
            ("  name: hello\n", "  name: Hello\n"),
            'metadata.name: "Hello" is not a valid name for a job type; use at most 63',
        ),
        (
            ("  name: hello\n", "  name: hello\n  namespace: x\n"),
            "metadata.namespace: not allowed here; leave it out",
        ),
        (("  model: gpt-5.5\n", ""), "spec.model: missing; add it"),
        (("model:", "modell:"), "spec.modell: unknown field; correct its name or remove it"),
        (
            ("  model:", "  concurrencyLimit: 0\n  model:"),
            "spec.concurrencyLimit: must be at least 1",
        ),
        (
            ("  model:", "  limits: {maxTokens: '5'}\n  model:"),
            "spec.limits.maxTokens: must be a whole number, not a string",
        ),
        (
            ("  model:", "  resources: {limits: {cpu: 0.5}}\n  model:"),
            (
                "spec.resources.limits.cpu: 0.5 is neither a whole number nor a string; write a"
                " string"
            ),
        ),
        (
            (
                "  model:",
                "  env: [{name: A-B, valueFrom: {secretKeyRef: {name: s, key: k}}}]\n  model:",
            ),
            "spec.env.0.name: must contain only letters, digits and _, and must not start with"
            " a digit",
        ),
        (
            ("  model:", "  inputsSchema: {default: .nan}\n  model:"),
            "contains a value that JSON cannot represent",
        ),
        (
            ("  model:", "  inputsSchema: {type: objekt}\n  model:"),
            "spec.inputsSchema/type: 'objekt' is not valid",
        ),
        (
            ("  model:", "  inputsSchema: {type: object}\n  model:"),
            'has the placeholder "name", but a run may leave that input out',
        ),
        (("kind: CodexJobType", "kind: CodexRun"), "kind: must be CodexJobType; correct it"),
        (("v1alpha1", "v1"), "apiVersion: must be codexrun.dev/v1alpha1; correct it"),
        (("  model:", "  model: a\n  model:"), '"model" appears twice'),
        (
            (JOB_TYPE, "- a"),
            "must contain exactly one CodexJobType; put each job type in its own file",
        ),
        ((JOB_TYPE, f"{JOB_TYPE}---\n{JOB_TYPE}"), "must contain exactly one CodexJobType"),
        ((JOB_TYPE, "a: ["), "not valid YAML: "),
    ],
    ids=lambda value: value[1][:40] if isinstance(value, tuple) else "",
)
def test_a_wrong_job_type_is_explained(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    found = problems(folder(tmp_path, hello=JOB_TYPE.replace(*change)))
    assert found.startswith("configs/jobs/hello.yaml: ")
    assert said in found


@pytest.mark.parametrize(
    "schema",
    [
        "{type: object, required: [name]}",
        "{type: object, properties: {name: {type: string, default: you}}}",
        "{allOf: [{type: object, required: [name]}]}",
    ],
)
def test_a_schema_that_gives_each_placeholder_a_value_is_fine(tmp_path: Path, schema: str) -> None:
    manifests.load(folder(tmp_path, hello=f"{JOB_TYPE}  inputsSchema: {schema}\n"))


def test_a_file_of_another_ending_is_not_passed_over(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "configs/jobs/hello.yml").write_text(JOB_TYPE)
    assert problems(path) == (
        "configs/jobs/hello.yml: job types are read from .yaml files; rename this file to"
        " hello.yaml"
    )


def test_the_problems_of_all_files_come_at_once(tmp_path: Path) -> None:
    wrong = JOB_TYPE.replace("version: v1", "version: v9")
    assert len(problems(folder(tmp_path, hello=wrong, hi=wrong)).splitlines()) == 3


def test_a_date_in_a_job_type_stays_text(tmp_path: Path) -> None:
    _, job_type = written(folder(tmp_path, hello=JOB_TYPE + "  description: 2026-11-24\n"))
    assert job_type["spec"]["description"] == "2026-11-24"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_survives_yaml(text: str) -> None:
    manifest = manifests.config_map(version(text))
    assert yaml.safe_load(manifests.to_yaml([manifest])) == manifest


@pytest.mark.parametrize(
    "text",
    [
        "1e5",
        "0o7",
        "0x1f",
        "1_000",
        "y",
        "N",
        "on",
        "null",
        "~",
        "2026-11-24",
        "-",
        ".inf",
        "<<",
        "=",
    ],
)
def test_text_that_other_readers_take_for_something_else_is_quoted(text: str) -> None:
    """kubectl reads with Go's YAML 1.1, which sees numbers and truth values where Python's sees
    text."""
    line = manifests.to_yaml([{"owner": text}]).splitlines()[-1]
    assert line[len("owner: ")] in "\"'"


def test_readable_text_is_a_literal_block_and_the_rest_is_escaped() -> None:
    assert "prompt.md: |\n    one\n    two\n" in manifests.to_yaml(
        [manifests.config_map(version("one\ntwo\n"))]
    )
    for text in (
        "one\r\ntwo",
        " one\ntwo",
        "one\n\ttwo",
        "one\u2028\ntwo",
        "one\x85\ntwo",
        "\ufeffone\ntwo",
    ):
        assert 'prompt.md: "' in manifests.to_yaml([manifests.config_map(version(text))]), (
            base64.b64encode(text.encode())
        )


def test_a_promotion_is_one_line_and_changes_the_job_type_alone(tmp_path: Path) -> None:
    for part in ("prompts", "configs"):
        shutil.copytree(ROOT / part, tmp_path / part)
    file = tmp_path / "configs/jobs/code-review.yaml"
    new = manifests.load(tmp_path).manifests()
    old_text = file.read_text()
    text = file.read_text().replace("version: v2", "version: v1")
    assert sum(a != b for a, b in zip(old_text.splitlines(), text.splitlines(), strict=True)) == 1
    file.write_text(text)
    old = manifests.load(tmp_path).manifests()
    ((was, now),) = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert now["kind"] == "CodexJobType"
    assert {
        key: (was["spec"][key], now["spec"][key])
        for key in now["spec"]
        if was["spec"][key] != now["spec"][key]
    }.keys() == {"prompt"}
    assert was["spec"]["prompt"]["sha256"] != now["spec"]["prompt"]["sha256"]
