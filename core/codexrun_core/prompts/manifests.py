"""What does a folder of prompts and job types look like in a cluster? The same bytes for the same
folder, always.

A folder has `prompts/index.json` with its texts, and `configs/jobs/<job type>.yaml`. Each prompt
version becomes one immutable ConfigMap; each job type is passed on with the sha256 of the prompt
version that it names written into it, so that operator and runner can prove that they use the text
which was reviewed.
"""

import copy
import json
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from codexrun_core.prompts import index as prompts
from codexrun_core.prompts.index import FolderError, PromptIndex, PromptVersion
from codexrun_core.prompts.rendering import placeholders
from codexrun_core.prompts.stored import TEXT_KEY
from codexrun_core.resources.field_problems import explain_field
from codexrun_core.runs.annotations import PROMPT_OWNER, PROMPT_SHA256, PROMPT_UPDATED_AT
from codexrun_core.runs.label_keys import (
    MANAGED_BY_LABEL,
    MANAGER,
    PROMPT_LABEL,
    PROMPT_VERSION_LABEL,
)

Manifest = dict[str, Any]

PROMPTS = "prompts"
JOB_TYPES = "configs/jobs"

_HEADER = (
    "# Written by `codexrun prompts manifests` from prompts/ and configs/jobs/: change those, not"
    " this.\n"
)


@dataclass(frozen=True)
class Folder:
    """A proven folder: every prompt is what its checksum says, every job type names a prompt that
    is there."""

    index: PromptIndex
    job_types: tuple[Manifest, ...]

    def manifests(self, namespace: str | None = None) -> list[Manifest]:
        objects = [config_map(version) for version in self.index.all()] + [
            copy.deepcopy(j) for j in self.job_types
        ]
        if namespace is not None:
            for manifest in objects:
                metadata = manifest["metadata"]
                manifest["metadata"] = {"name": metadata["name"], "namespace": namespace} | {
                    key: value
                    for key, value in metadata.items()
                    if key not in ("name", "namespace")
                }
        return objects


def load(folder: Path) -> Folder:
    """Read and prove a folder.

    Raises:
        FolderError: with every problem found, not only the first.
    """
    index = prompts.load(folder / PROMPTS, shown_as=PROMPTS)
    job_types: list[Manifest] = []
    problems: list[str] = []
    for file in sorted((folder / JOB_TYPES).glob("*.y*ml")):
        location = f"{JOB_TYPES}/{file.name}"
        try:
            job_types.append(job_type(location, file, index))
        except FolderError as error:
            problems += error.problems
    if problems:
        raise FolderError(problems)
    return Folder(
        index, tuple(sorted(job_types, key=lambda manifest: str(manifest["metadata"]["name"])))
    )


def config_map(version: PromptVersion) -> Manifest:
    """Return the version's ConfigMap; the runner mounts it, nothing can change it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": version.config_map_name,
            "labels": {
                MANAGED_BY_LABEL: MANAGER,
                PROMPT_LABEL: version.name,
                PROMPT_VERSION_LABEL: version.version,
            },
            "annotations": {
                PROMPT_OWNER: version.owner,
                PROMPT_SHA256: version.sha256,
                PROMPT_UPDATED_AT: version.updated_at,
            },
        },
        "immutable": True,
        "data": {TEXT_KEY: version.text},
    }


def job_type(location: str, file: Path, index: PromptIndex) -> Manifest:
    """Return the job type of one file, with the sha256 of its prompt filled in.

    Raises:
        FolderError: the file is no job type, or its prompt is not the one in the index.
    """
    if file.suffix != ".yaml":
        raise FolderError(
            [
                f"{location}: job types are read from .yaml files; rename this file to"
                f" {file.stem}.yaml"
            ]
        )
    from codexrun_core.schemas.inputs import unfilled_placeholders  # late, as below

    manifest = read_job_type(location, file)
    problems: list[str] = []
    name = manifest["metadata"].get("name", "")
    if not prompts.NAME_PATTERN.fullmatch(name):
        problems.append(
            f'{location}: metadata.name: "{name}" is not a valid name for a job type;'
            f" {prompts.NAME_RULE}"
        )
    elif name != file.stem:
        problems.append(
            f'{location}: metadata.name: "{name}" does not match the file name; rename the file'
            f" to {name}.yaml, or change the name"
        )
    if "namespace" in manifest["metadata"]:
        problems.append(
            f"{location}: metadata.namespace: leave it out; the manifests command's --namespace"
            " sets it"
        )
    prompt = manifest["spec"]["prompt"]
    try:
        version = index.find(prompt["name"], prompt["version"])
    except LookupError as error:
        raise FolderError([*problems, f"{location}: spec.prompt: {error}"]) from None
    if prompt.setdefault("sha256", version.sha256) != version.sha256:
        problems.append(
            f"{location}: spec.prompt.sha256: {prompt['sha256']} is not the sha256 of"
            f" {version.name} {version.version}, which is {version.sha256}; correct the value, or"
            " leave it out to have it filled in"
        )
    problems += [
        f"{location}: {problem}"
        for problem in unfilled_placeholders(
            f"{version.name} {version.version}",
            placeholders(version.text),
            manifest["spec"].get("inputsSchema"),
        )
    ]
    if problems:
        raise FolderError(problems)
    return manifest


def read_job_type(location: str, file: Path) -> Manifest:
    """Return the job type of one file, validated without its prompt.

    Raises:
        FolderError: the file is no job type.
    """
    manifest = _parse(location, file)
    if problems := _model_problems(location, manifest):
        raise FolderError(problems)
    return manifest


def to_yaml(manifests: list[Manifest]) -> str:
    """Return one YAML stream; every document loads back to exactly what went in."""
    return _HEADER + "".join("---\n" + _document(manifest) for manifest in manifests)


def _document(manifest: Manifest) -> str:
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)


def _parse(location: str, file: Path) -> Manifest:
    try:
        documents = [
            d
            for d in yaml.load_all(file.read_text(encoding="utf-8"), Loader=_Loader)
            if d is not None
        ]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FolderError(
            [f"{location}: not valid YAML: {' '.join(str(error).split())}; correct the file"]
        ) from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise FolderError(
            [
                f"{location}: must contain exactly one CodexJobType; put each job type in its own"
                " file"
            ]
        )
    try:
        manifest: Manifest = json.loads(json.dumps(documents[0], allow_nan=False))
    except (TypeError, ValueError) as error:
        raise FolderError(
            [
                f"{location}: contains a value that JSON cannot represent ({error}); write it as a"
                " string"
            ]
        ) from None
    for field, expected in (("apiVersion", "codexrun.dev/v1alpha1"), ("kind", "CodexJobType")):
        if manifest.get(field) != expected:
            raise FolderError(
                [
                    f"{location}: {field}: must be {expected}; correct it, or move the file out of"
                    " this directory"
                ]
            )
    return manifest


def _model_problems(location: str, manifest: Manifest) -> list[str]:
    # Late: together they are most of the start-up time.
    from pydantic import ValidationError

    from codexrun_core.resources import CodexJobType
    from codexrun_core.schemas.inputs import inputs_schema_problem, output_schema_problem

    try:
        # As JSON and strictly, which is how the apiserver reads it: "5" is no number.
        CodexJobType.model_validate_json(json.dumps(manifest), strict=True, extra="forbid")
    except ValidationError as error:
        sentences = dict.fromkeys(_sentence(detail) for detail in error.errors(include_url=False))
        return [f"{location}: {sentence}" for sentence in sentences]
    spec = manifest["spec"]
    troubles = (
        inputs_schema_problem(spec.get("inputsSchema", {})),
        output_schema_problem(spec.get("outputSchema")),
    )
    return [f"{location}: {trouble}" for trouble in troubles if trouble]


def _sentence(detail: Mapping[str, Any]) -> str:
    """Return a problem with its field, and the fix."""
    *steps, last = detail["loc"] or ("",)
    if last in ("int", "str"):
        # Kubernetes quantities are either; each alternative reports the same trouble once more.
        return (
            f"{'.'.join(map(str, steps))}: {json.dumps(detail['input'])} is neither a whole number"
            ' nor a string; write a string, such as "500m"'
        )
    return explain_field(detail, "manifest")


class _Loader(yaml.SafeLoader):
    """YAML as the apiserver reads it: a key twice is an error, a date is text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and keys.count(key_node.value) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f'"{key_node.value}" appears twice', key_node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

# Text that every YAML reader takes from a literal block unchanged; anything else is written quoted,
# with escapes.
_PLAIN_LINES = re.compile(
    "[\n\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010fffe]*"
)

# Text that kubectl's reader would take for a number or a truth value where Python's reader sees
# text: 1e5, 0o7, y.
_NOT_TEXT_TO_GO = re.compile(r"[-+.0-9]|[yYnN]\Z")


class _Dumper(yaml.SafeDumper):
    """Readable where that is safe: texts of several lines as literal blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 PyYAML's signature
        return True

    def increase_indent(
        self,
        flow: bool = False,
        indentless: bool = False,  # noqa: ARG002 PyYAML's signature
    ) -> None:
        super().increase_indent(flow, False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if not _PLAIN_LINES.fullmatch(text) or _NOT_TEXT_TO_GO.match(text):
        style = '"'
    elif "\n" in text:
        style = '"' if text.startswith((" ", "\n")) else "|"
    else:
        style = None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
