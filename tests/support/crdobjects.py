"""CodexRuns and CodexJobTypes as their CRDs admit them: each one systematically, and generated
ones.

Both come from walking the schemas in crds/, so a field that is added is covered by itself. The CEL
rules are not evaluated: what comes out is all that they let through, and a little more.
"""

import copy
import json
import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

Json = dict[str, Any]
Path_ = tuple[str | int, ...]  # of a field in an object

CRDS = Path(__file__).parents[2] / "crds"
INT64 = 2**63 - 1
PRESERVED = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
DEEP = 31  # levels

# The same objects each time. What fails is not made smaller: that would render every page some
# thousand times, and an answer that is wrong says what it is about.
GENERATED = settings(
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

# The shortest and the longest text of each pattern; a new pattern needs a pair here.
EXAMPLES = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": ("a", "a-" * 31 + "z"),
    r"^v[1-9][0-9]{0,6}$": ("v1", "v9999999"),
    r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$": ("m", "Model/" * 21 + "-9"),
    r"^[a-z]+$": ("x", "x" * 16),
    r"^[A-Za-z0-9_][A-Za-z0-9._/@+-]*$": ("_", "feature/" * 31 + "@+-v1.0"),
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$": (
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-1111-2222-3333-444444444444",
    ),
    r"^[0-9a-f]{64}$": ("0" * 64, "f" * 64),
    r"^[0-9a-f]{40,64}$": ("0" * 40, "f" * 64),
    r"^[1-9][0-9]{0,6}[MG]i$": ("1Mi", "9999999Gi"),
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": (
        "k",
        "d." * 126 + "e/" + "K" * 63,
    ),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": ("s", "s." * 126 + "z"),
    r"^https?://[^/@*]+/[^*]*\*?$": ("http://h/", "https://h.example/" + "r/" * 502 + "*"),
    r"^[-._a-zA-Z0-9]+$": (".", "k" * 253),
    r"^[A-Za-z_][A-Za-z0-9_]*$": ("_", "V" * 128),
    r"^[a-z][a-z0-9]{0,31}$": ("s", "s" * 32),
    r"^https?://[^\s@?#]+$": ("http://h", "https://h.example/" + "p" * 1006),
    r"^(shell|apply_patch|web_search|view_image"
    r"|mcp:[a-z][a-z0-9]{0,31}(/[A-Za-z0-9_.-]{1,64})?)$": (
        "shell",
        "mcp:" + "s" * 32 + "/" + "t" * 64,
    ),
}
TIMES = (
    "2026-01-31T12:00:00Z",
    "2026-01-31T12:00:00.123456789+14:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
)
ODD = (
    "",
    " ",
    "\n",
    "a\nb\r\nc\td",
    "\x1b]0;title\x07\x1b[2J\x1b[31mred\x9b2J",
    "\u202egnp.exe \u2066x\u2069 \u200b\u0000 \u2028 \ufeff",
    "<script>alert(1)</script> &amp; '\" {{ 7 * 7 }} {% x %}",
    "é漢字🏳️‍🌈 e\u0301 \U0010ffff",
    "[link](javascript:alert(1)) | a | b |\n|---|---|",
    "%s %(x)s {0} ${y}",
    "null",
    "-",
    "../..",
    "---\n- yaml: [",
)
NUMBERS = (0, -1, 1, 2**31, 2**53, INT64, -INT64 - 1, -0.0, 0.1, 1e308, 5e-324, -1.5e300)

TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text(string.ascii_letters + " ", max_size=12),
)
_LEAVES = st.one_of(st.none(), st.booleans(), st.sampled_from(NUMBERS), TEXTS)


def deep(levels: int = DEEP) -> Json:
    """An object so many levels deep, lists and objects in turn."""
    found: Any = "the bottom"
    for level in range(levels - 1):
        found = [found] if level % 2 else {"next": found}
    return {"deep": found}


def anything() -> st.SearchStrategy[Json]:
    """An object of any JSON, as a field that preserves what it does not know admits."""
    keys = TEXTS | st.sampled_from(WORDS)
    values = st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=6,
    )
    return st.one_of(
        st.just({}),
        st.just(deep()),
        st.sampled_from(NO_SCHEMAS),
        st.dictionaries(keys, values, max_size=4),
    )


# JSON Schemas that are none: inputsSchema may be any JSON until the operator has judged it.
WORDS = (
    "properties",
    "required",
    "enum",
    "const",
    "type",
    "default",
    "title",
    "description",
    "minimum",
    "maxLength",
    "format",
)
NO_SCHEMAS: tuple[Json, ...] = (
    {"properties": None, "required": None},
    {"properties": [], "required": {}},
    {"properties": "x", "required": "x"},
    {"properties": {"a": None, "b": [], "c": "x", "": {}}, "required": [{}, [], None, "a"]},
    {
        "properties": {
            str(value): dict.fromkeys(WORDS, value)
            for value in (None, {}, [], "x", 1.5, True, [{}])
        }
    },
    {
        "properties": {
            kind: {"type": kind, "minimum": "x", "maxLength": {}, "default": {}}
            for kind in ("string", "integer", "boolean")
        }
    },
)

ANYTHING: Json = {
    "name": "world",
    "": None,
    "odd": list(ODD),
    "numbers": list(NUMBERS),
    "flags": [True, False, None, [], {}],
    **deep(),
}


def schema(plural: str) -> Json:
    """Of the objects, without their metadata: that is the apiserver's, and `metadata()` makes
    it."""
    crd = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    found: Json = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    properties = {
        name: part for name, part in found["properties"].items() if name in ("spec", "status")
    }
    return {**found, "properties": properties}


RUN = schema("codexruns")
JOB_TYPE = schema("codexjobtypes")


# -- generated
# ---------------------------------------------------------------------------------------


def admitted(of: Json) -> st.SearchStrategy[Any]:
    """Values that a schema admits; of the subset that the CRDs use.

    Raises:
        AssertionError: the schema has something that is not known here.
    """
    if of.get(INT_OR_STRING):
        return st.sampled_from((0, 1, INT64, "", "500m", "4Gi", ODD[5]))
    match of["type"]:
        case "object":
            return _objects(of)
        case "array":
            key = next(iter(of.get("x-kubernetes-list-map-keys", ())), None)
            unique = None if key is None else (lambda item: item[key])
            return st.lists(
                admitted(of["items"]),
                min_size=of.get("minItems", 0),
                max_size=min(3, of.get("maxItems", 3)),
                unique_by=unique,
            )
        case "string":
            return (
                st.sampled_from(ends(of))
                if {"enum", "pattern", "format"} & of.keys()
                else _texts(of)
            )
        case "integer":
            low, high = ends(of)
            return st.sampled_from((low, high)) | st.integers(low, high)
        case "boolean":
            return st.booleans()
    raise AssertionError(f"nothing is known of {of}")


def _texts(of: Json) -> st.SearchStrategy[str]:
    least = of.get("minLength", 0)
    most = of.get("maxLength", 4096)
    return (TEXTS | st.sampled_from(ends(of))).filter(lambda text: least <= len(text) <= most)


def _objects(of: Json) -> st.SearchStrategy[Json]:
    if of.get(PRESERVED):
        return anything()
    if "additionalProperties" in of:
        most = min(3, of.get("maxProperties", 3))
        return st.dictionaries(TEXTS, admitted(of["additionalProperties"]), max_size=most)
    must = {
        name: admitted(part)
        for name, part in of["properties"].items()
        if name in of.get("required", ())
    }
    may = {name: admitted(part) for name, part in of["properties"].items() if name not in must}
    return st.fixed_dictionaries(must, optional=may)


def metadata() -> st.SearchStrategy[Json]:
    """What people and programs put there; names are given by whoever stores the object."""
    values = st.sampled_from(("", "a", "team-1", "x" * 63))
    notes = {
        "codexrun.dev/requested-by": TEXTS,
        "codexrun.dev/origin": TEXTS | st.sampled_from(("api", "cli", "console")),
    }
    return st.fixed_dictionaries(
        {},
        optional={
            "labels": st.dictionaries(
                st.sampled_from(("team", "example.com/env", "x" * 63)), values
            ),
            "annotations": st.fixed_dictionaries({}, optional=notes),
        },
    )


def runs() -> st.SearchStrategy[Json]:
    return st.builds(lambda meta, body: {"metadata": meta, **body}, metadata(), admitted(RUN))


def job_types() -> st.SearchStrategy[Json]:
    return st.builds(lambda body: {"metadata": {}, **body}, admitted(JOB_TYPE))


# -- systematic
# --------------------------------------------------------------------------------------


def ends(of: Json) -> Sequence[Any]:
    """The values at the ends of what a leaf admits; of an enumeration all."""
    if of.get(INT_OR_STRING):
        return (0, "4Gi")
    if "enum" in of:
        return tuple(of["enum"])
    match of["type"]:
        case "string":
            if of.get("format") == "date-time":
                return TIMES
            least = of.get("minLength", 0)
            most = of.get("maxLength", 300)
            if "pattern" in of:
                found = tuple(text[:most] for text in EXAMPLES[of["pattern"]])
                assert all(
                    re.search(of["pattern"], text) and least <= len(text) <= most for text in found
                ), of
                return found
            return ("x" * least, ("🏳é\u202e<" * most)[:most])
        case "integer":
            return (of.get("minimum", -INT64 - 1), of.get("maximum", INT64))
        case "boolean":
            return (False, True)
    raise AssertionError(f"no leaf: {of}")


def minimal(of: Json) -> Any:
    """With nothing that is not required, and everything at its lower end."""
    match of.get("type"):
        case "object":
            return {name: minimal(of["properties"][name]) for name in of.get("required", ())}
        case "array":
            return [minimal(of["items"])] * of.get("minItems", 0)
    return ends(of)[0]


def maximal(of: Json) -> Any:
    """With every field there is, each at its upper end; lists have one item."""
    match of.get("type"):
        case "object":
            if of.get(PRESERVED):
                return copy.deepcopy(ANYTHING)
            if "additionalProperties" in of:
                return {"key": maximal(of["additionalProperties"])}
            return {name: maximal(part) for name, part in of["properties"].items()}
        case "array":
            return [maximal(of["items"])]
    return ends(of)[-1]


def systematic(of: Json) -> Iterator[tuple[str, Json]]:
    """Named objects: the minimal and the maximal one; the maximal one without each optional field,
    with each list, map and preserved object empty, and with each leaf at each of its ends."""
    whole = maximal(of)
    yield "minimal", minimal(of)
    yield "maximal", copy.deepcopy(whole)
    for path, part, required in _fields(of):
        name = ".".join(map(str, path))
        if not required:
            yield f"without {name}", changed(whole, path)
        if part.get("type") in ("object", "array"):
            if not part.get("required") and not part.get("minItems"):
                yield f"empty {name}", changed(whole, path, minimal(part))
            if part.get(PRESERVED):
                yield from (
                    (f"{name} {number}", changed(whole, path, odd))
                    for number, odd in enumerate(NO_SCHEMAS)
                )
            continue
        for value in ends(part)[:-1]:
            yield f"{name}={_short(value)}", changed(whole, path, value)


def _fields(of: Json, at: Path_ = ()) -> Iterator[tuple[Path_, Json, bool]]:
    """Every field below, with its path, its schema, and whether it is required."""
    if of.get("type") == "array":
        yield from _fields(of["items"], (*at, 0))
        return
    for name, part in of.get("properties", {}).items():
        path = (*at, name)
        yield path, part, name in of.get("required", ())
        yield from _fields(part, path)


_ABSENT = object()


def changed(whole: Json, path: Path_, value: Any = _ABSENT) -> Json:
    """A copy with one field set, or without it."""
    found = copy.deepcopy(whole)
    parent: Any = found
    for step in path[:-1]:
        parent = parent[step]
    if value is _ABSENT:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return found


def _short(value: Any) -> str:
    return json.dumps(value)[:24]
