"""Write the CRDs from the pydantic models: `python -m codexrun_core.resources.crd ROOT` (that is
`make generate`).

A CRD wants a structural schema (no $ref, no anyOf with null, no titles); `structural` turns
pydantic's JSON Schema into one.
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from codexrun_core.resources import GROUP, VERSION, CodexJobType, CodexRun
from codexrun_core.resources.fields import Part
from codexrun_core.resources.phases import Phase

Json = dict[str, Any]

# What an object says before the operator has seen it; kstatus and `kubectl wait` read -1 as "not
# yet".
UNSEEN = {"phase": Phase.PENDING.value, "observedGeneration": -1}


def structural(schema: Json, definitions: Json) -> Json:
    """Return the structural form of a schema that pydantic generated; `definitions` are its
    $defs."""
    schema = dict(schema)
    if "allOf" in schema and len(schema["allOf"]) == 1:
        schema.update(schema.pop("allOf")[0])
    if ref := schema.pop("$ref", None):
        target = definitions[ref.rsplit("/", 1)[1]]
        # What stands beside the reference describes this use of it and wins.
        schema = {**target, **schema}
    if options := schema.pop("anyOf", None):
        options = [option for option in options if option.get("type") != "null"]
        if schema.get("x-kubernetes-int-or-string") or any(
            "x-kubernetes-int-or-string" in o for o in options
        ):
            kept = {key: value for key, value in schema.items() if key in ("description",)}
            return {**kept, "x-kubernetes-int-or-string": True}
        if len(options) == 2 and {option.get("type") for option in options} == {
            "integer",
            "string",
        }:
            return {"x-kubernetes-int-or-string": True}
        (option,) = options
        schema = {**structural(option, definitions), **schema}
    schema.pop("title", None)
    if "const" in schema:
        schema.setdefault("type", "string")
        schema["enum"] = [schema.pop("const")]
    if not isinstance(schema.get("default"), (str, int)):
        schema.pop("default", None)
    if "properties" in schema:
        schema["properties"] = {
            name: structural(s, definitions) for name, s in schema["properties"].items()
        }
        schema.pop("additionalProperties", None)
    elif isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = structural(schema["additionalProperties"], definitions)
    elif schema.get("additionalProperties") is True:
        schema.pop("additionalProperties")
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        schema["items"] = structural(schema["items"], definitions)
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    return schema


def without_defaults(schema: Json) -> Json:
    """Return a status without defaults: nobody but the operator fills it in, and what it does not
    know stays absent."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in schema:
        schema["properties"] = {
            name: without_defaults(s) for name, s in schema["properties"].items()
        }
    if "items" in schema:
        schema["items"] = without_defaults(schema["items"])
    return schema


def object_schema(model: type[Part]) -> Json:
    """Return the openAPIV3Schema of one resource."""
    generated = model.model_json_schema(by_alias=True)
    schema = structural(generated, generated.pop("$defs"))
    schema.pop("$defs", None)
    schema["properties"]["status"] = without_defaults(schema["properties"]["status"])
    schema["properties"]["apiVersion"] = {"type": "string"}
    schema["properties"]["kind"] = {"type": "string"}
    schema["properties"]["metadata"] = {"type": "object"}
    schema["required"] = ["spec"]
    return schema


def column(
    name: str, path: str, *, type_: str = "string", wide: bool = False, description: str = ""
) -> Json:
    entry: Json = {"name": name, "type": type_, "jsonPath": path}
    if description:
        entry["description"] = description
    if wide:
        entry["priority"] = 1
    return entry


AGE = column("Age", ".metadata.creationTimestamp", type_="date")

RUN_COLUMNS = [
    column("Phase", ".status.phase"),
    column("Type", ".spec.jobType", description="Job type"),
    column("Reason", ".status.reason"),
    column("Tokens", ".status.usage.totalTokens", type_="integer"),
    column("Cost", ".status.usage.cost"),
    column("Duration", ".status.duration"),
    AGE,
    column("Prompt", ".status.prompt.name", wide=True),
    column("Version", ".status.prompt.version", wide=True, description="Prompt version"),
    column("Model", ".status.model", wide=True),
    column("Attempt", ".status.attempt", type_="integer", wide=True),
    column("Job", ".status.jobName", wide=True),
]

JOB_TYPE_COLUMNS = [
    column("Ready", ".status.conditions[?(@.type=='Ready')].status"),
    column("Reason", ".status.conditions[?(@.type=='Ready')].reason"),
    column("Prompt", ".spec.prompt.name"),
    column("Version", ".spec.prompt.version", description="Prompt version"),
    column("Model", ".spec.model"),
    column(
        "Limit",
        ".spec.concurrencyLimit",
        type_="integer",
        description=("Maximum number of runs at the same time"),
    ),
    AGE,
]


def crd(
    model: type[Part], *, plural: str, short: str, columns: list[Json], selectable: tuple[str, ...]
) -> Json:
    """Return a whole CustomResourceDefinition."""
    kind = model.__name__
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": object_schema(model)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    if selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["codex"],
            },
            "versions": [version],
        },
    }


def crds() -> dict[str, Json]:
    """Return the CRDs by file name."""
    runs = crd(
        CodexRun,
        plural="codexruns",
        short="cxr",
        columns=RUN_COLUMNS,
        selectable=(".spec.jobType", ".status.phase"),
    )
    runs["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["default"] = (
        UNSEEN
    )
    types = crd(
        CodexJobType, plural="codexjobtypes", short="cjt", columns=JOB_TYPE_COLUMNS, selectable=()
    )
    return {"codexruns.yaml": runs, "codexjobtypes.yaml": types}


class _WithoutAnchors(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def text(document: Json) -> str:
    return yaml.dump(
        document, Dumper=_WithoutAnchors, sort_keys=False, width=120, allow_unicode=True
    )


HEADER = "# Generated by `make generate` from core/codexrun_core/resources; change it there.\n"


def chart_text(document: Json) -> str:
    """Return the CRD as a template of the chart: Helm's own crds/ folder is never upgraded."""
    escaped = text(document).replace("{{", "{{ `{{` }}")
    keep = "    {{- if .Values.crds.keep }}\n    helm.sh/resource-policy: keep\n    {{- end }}\n"
    name = f"  name: {document['metadata']['name']}\n"
    annotations = f"  annotations:\n    codexrun.dev/version: {VERSION}\n{keep}"
    annotated = escaped.replace(f"metadata:\n{name}", f"metadata:\n{name}{annotations}", 1)
    return f"{HEADER}{{{{- if .Values.crds.install }}}}\n{annotated}{{{{- end }}}}\n"


def write(root: Path) -> list[Path]:
    """Write crds/ and the chart's copy below `root`; returns the files."""
    written = []
    for name, document in crds().items():
        for path, content in (
            (root / "crds" / name, HEADER + text(document)),
            (root / "charts/codexrun/templates/crds" / name, chart_text(document)),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            written.append(path)
    return written


if __name__ == "__main__":
    for file in write(Path(sys.argv[1] if len(sys.argv) > 1 else ".")):
        sys.stdout.write(f"wrote {file}\n")
