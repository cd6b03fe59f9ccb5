"""Write the command line's types of the api's answers, from api/openapi.json.

`make generate` runs it. pydantic would cost the command line more than its start takes.
"""

import json
import keyword
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "api/openapi.json"
MODULE = ROOT / "cli/codexrun_cli/transports/schemas.py"
PATHS = ("/runs/{id}", "/runs/{id}/details", "/jobtypes", "/prompts", "/stats")
SCALARS = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}
HEADER = '''\
"""What the api answers with. Generated from api/openapi.json by `make generate`: do not edit.

A field that is not known may be absent.
"""

from typing import Any, NotRequired, TypedDict
'''


def type_name(component: str) -> str:
    return component.removesuffix("View")


def type_of(schema: Schema) -> str:
    """Return the Python type of a schema, as it is written in an annotation."""
    if "$ref" in schema:
        return type_name(component_of(schema))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(part) for part in schema["anyOf"]))
    match schema.get("type"):
        case "array":
            return f"list[{type_of(schema['items'])}]"
        case "object":
            values = schema.get("additionalProperties")
            return f"dict[str, {type_of(values) if isinstance(values, dict) else 'Any'}]"
        case str(scalar):
            return SCALARS[scalar]
    return "Any"


def component_of(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def typed_dict(component: str, schema: Schema) -> str:
    """Return the definition of one component; a field named like a keyword needs the call."""
    name = type_name(component)
    required = schema.get("required", ())
    fields = {
        field: type_of(value) if field in required else f"NotRequired[{type_of(value)}]"
        for field, value in schema["properties"].items()
    }
    if any(map(keyword.iskeyword, fields)):
        lines = "".join(f'        "{field}": {kind},\n' for field, kind in fields.items())
        return f'{name} = TypedDict(\n    "{name}",\n    {{\n{lines}    }},\n)\n'
    lines = "".join(f"    {field}: {kind}\n" for field, kind in fields.items())
    return f"class {name}(TypedDict):\n{lines}"


def in_order(document: Schema) -> list[str]:
    """Return the components that the paths answer with, those that others need first."""
    components = document["components"]["schemas"]
    order: list[str] = []

    def visit(part: Any) -> None:
        if isinstance(part, list):
            for item in part:
                visit(item)
        elif isinstance(part, dict):
            if "$ref" in part:
                component = component_of(part)
                if component not in order:
                    visit(components[component]["properties"])
                    order.append(component)
            for value in part.values():
                visit(value)

    for path in PATHS:
        visit(document["paths"][path]["get"]["responses"]["200"])
    return order


def module(document: Schema) -> str:
    components = document["components"]["schemas"]
    parts = [typed_dict(name, components[name]) for name in in_order(document)]
    text = "\n\n".join(parts)
    # Laid out as `ruff check` wants it: one empty line between imports and what is no class.
    return f"{HEADER}\n\n{text}" if text.startswith("class") else f"{HEADER}\n{text}"


if __name__ == "__main__":
    MODULE.write_text(module(json.loads(DOCUMENT.read_text())))
