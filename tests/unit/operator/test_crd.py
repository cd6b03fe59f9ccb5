"""The CRDs are what the models say, are structural, and explain every field to `kubectl
explain`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from codexrun_core.resources import crd
from codexrun_core.resources.phases import Phase

ROOT = Path(__file__).parents[3]
CRDS = crd.crds()
SCHEMAS = {
    name: document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name, document in CRDS.items()
}
FILES = pytest.mark.parametrize("name", list(CRDS))


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


@FILES
def test_what_is_committed_is_what_the_models_say(name: str, tmp_path: Path) -> None:
    """`make generate` has been run."""
    for path in crd.write(tmp_path):
        assert (ROOT / path.relative_to(tmp_path)).read_text() == path.read_text()


@FILES
def test_structural(name: str) -> None:
    for path, node in nodes(SCHEMAS[name]):
        typed = (
            "type" in node
            or node.get("x-kubernetes-int-or-string")
            or node.get("x-kubernetes-preserve-unknown-fields")
        )
        assert typed, path
        assert (
            node.keys()
            & {
                "$ref",
                "$defs",
                "anyOf",
                "allOf",
                "oneOf",
                "title",
                "const",
                "examples",
                "prefixItems",
            }
            == set()
        ), path
        assert not ("properties" in node and "additionalProperties" in node), path
        if node.get("type") == "array":
            assert "items" in node, path
        if "x-kubernetes-list-map-keys" in node:
            keys = node["x-kubernetes-list-map-keys"]
            assert set(keys) <= set(node["items"]["required"]), path


@FILES
def test_every_field_of_the_spec_is_explained(name: str) -> None:
    bare = [
        path
        for path, node in nodes(SCHEMAS[name]["properties"]["spec"], "spec")
        if not path.endswith("[]") and not node.get("description")
    ]
    assert bare == []


@FILES
def test_every_rule_says_the_field_and_the_way_out(name: str) -> None:
    rules = [
        rule
        for _, node in nodes(SCHEMAS[name])
        for rule in node.get("x-kubernetes-validations", [])
    ]
    assert rules
    for rule in rules:
        assert rule["message"].startswith(("spec.", "metadata.")), rule
        assert "\n" not in rule["message"]


@FILES
def test_what_cel_costs_is_bounded(name: str) -> None:
    """The apiserver estimates a rule's cost from the largest value: strings and lists under a rule
    need a bound."""
    for path, node in nodes(SCHEMAS[name]["properties"]["spec"], "spec"):
        if node.get("type") == "string" and "enum" not in node and "format" not in node:
            assert "maxLength" in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path


def test_a_run_is_pending_before_the_operator_has_seen_it() -> None:
    status = SCHEMAS["codexruns.yaml"]["properties"]["status"]
    assert status["default"] == {"phase": "Pending", "observedGeneration": -1}
    assert status["properties"]["phase"]["enum"] == [phase.value for phase in Phase]
    assert not any("default" in node for path, node in nodes(status) if path)


def test_names_columns_and_selectable_fields() -> None:
    runs = CRDS["codexruns.yaml"]["spec"]
    kinds = CRDS["codexjobtypes.yaml"]["spec"]
    assert (runs["names"]["shortNames"], kinds["names"]["shortNames"]) == (["cxr"], ["cjt"])
    assert [field["jsonPath"] for field in runs["versions"][0]["selectableFields"]] == [
        ".spec.jobType",
        ".status.phase",
    ]
    columns = [
        column["name"]
        for column in runs["versions"][0]["additionalPrinterColumns"]
        if not column.get("priority")
    ]
    assert columns == ["Phase", "Type", "Reason", "Tokens", "Cost", "Duration", "Age"]
    for spec in (runs, kinds):
        assert spec["scope"] == "Namespaced"
        assert spec["versions"][0]["subresources"] == {"status": {}}


def test_only_the_named_fields_of_a_run_may_change() -> None:
    spec = SCHEMAS["codexruns.yaml"]["properties"]["spec"]
    fixed = {
        rule["rule"].split("self.")[1].split(")")[0]
        for rule in spec["x-kubernetes-validations"]
        if "== has(oldSelf" in rule["rule"]
    }
    assert spec["properties"].keys() - fixed == {"cancel", "priority", "ttlSecondsAfterFinished"}


def test_nothing_that_grants_power_is_in_a_run() -> None:
    spec = SCHEMAS["codexruns.yaml"]["properties"]["spec"]["properties"]
    assert (
        spec.keys() & {"image", "env", "resources", "podTemplate", "git", "runtimeClassName"}
        == set()
    )


def test_helm_sees_no_template_in_the_texts() -> None:
    """`{{name}}` in a description is text, not a template."""
    text = crd.chart_text({"metadata": {"name": "x"}, "spec": {"description": "a {{name}}"}})
    body = "\n".join(
        line for line in text.splitlines() if not line.strip().startswith(("{{-", "#"))
    )
    assert "{{ `{{` }}name" in body
    assert yaml.safe_load(crd.text({"a": "{{name}}"})) == {"a": "{{name}}"}
