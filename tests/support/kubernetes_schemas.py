"""Manifests against the schemas of a Kubernetes version, those that the package kubernetes-validate
has.

Its own `validate` reads 1.5 MB of definitions for each manifest, which takes longer than all else.
"""

import functools
import importlib.resources
import json
import re
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"


def validate(manifest: dict[str, Any], version: str) -> None:
    """Check a manifest; a field that the schema does not have is wrong.

    version: of Kubernetes, such as 1.34.

    Raises:
        FileNotFoundError: the version, or its kind in that version, is unknown.
        jsonschema.ValidationError: a field is wrong.
    """
    group_version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", manifest["apiVersion"])
    _validator(version, f"{manifest['kind'].lower()}-{group_version}.json").validate(manifest)


@functools.cache
def _validator(version: str, file: str) -> Draft202012Validator:
    return Draft202012Validator(_read(version, file), registry=_definitions(version))


@functools.cache
def _definitions(version: str) -> Registry[Any]:
    definitions: Resource[Any] = Resource.from_contents(_read(version, "_definitions.json"))
    return (definitions @ Registry()).crawl()


def _read(version: str, file: str) -> Any:
    return json.loads((SCHEMAS / f"v{version}.0-local-strict" / file).read_text(encoding="utf-8"))
