"""What a model refuses, in the words of every door: the problem and the fix. Pure.

pydantic's own messages speak to programmers ("String should match pattern '^[a-z]+$'").
"""

from collections.abc import Mapping
from typing import Any

from codexrun_core.codex import tools
from codexrun_core.resources.git_urls import URL_RULE

FieldProblem = Mapping[str, Any]  # an entry of ValidationError.errors()

# By pattern, since that is all that an error says of it.
PATTERN_RULES = {
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$": (
        'must contain only lowercase letters, digits and "-", and must begin and end with a letter'
        " or digit"
    ),
    r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$": (
        'must contain only lowercase letters, digits, "-" and ".", and must begin and end with a'
        " letter or digit"
    ),
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$": (
        "must be a label key, such as team or example.com/team"
    ),
    r"^[-._a-zA-Z0-9]+$": 'must contain only letters, digits, "-", "_" and "."',
    r"^[A-Za-z_][A-Za-z0-9_]*$": (
        "must contain only letters, digits and _, and must not start with a digit"
    ),
    f"^{tools.SERVER_PATTERN}$": (
        "must consist of at most 32 lowercase letters and digits, and must start with a letter"
    ),
    r"^v[1-9][0-9]{0,6}$": "must be the letter v followed by a number, such as v1",
    r"^[0-9a-f]{64}$": "must be a SHA-256 checksum: 64 lowercase hexadecimal digits",
    r"^[0-9a-f]{40,64}$": "must be a full commit ID: 40 to 64 lowercase hexadecimal digits",
    r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$": (
        "must be a UID, such as 0b9ff0a0-6ad1-4d1a-9b5c-3b0f5c7a9d1e"
    ),
    r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$": (
        "must be a model name: letters, digits and . _ : / -, starting with a letter or digit"
    ),
    r"^[a-z]+$": "must be a reasoning effort in lowercase letters, such as high",
    r"^[1-9][0-9]{0,6}[MG]i$": "must be a whole number followed by Mi or Gi, such as 512Mi",
    r"^[A-Za-z0-9_][A-Za-z0-9._/@+-]*$": (
        "must be a branch, tag or commit: letters, digits and . _ / @ + -, starting with a letter,"
        " digit or _"
    ),
    r"^https?://[^/@\s]+/\S+$": URL_RULE,
    r"^https?://[^/@*]+/[^*]*\*?$": (
        'must be an http(s) URL with a path and without a user name or password; "*" is allowed'
        " only as the last character"
    ),
    r"^https?://[^\s@?#]+$": (
        "must be an http(s) URL without spaces, a user name, a password, a query or a fragment"
    ),
    tools.ENTRY_PATTERN: (
        "must be shell, apply_patch, web_search, view_image, mcp:SERVER or mcp:SERVER/TOOL"
    ),
    r"^[^\x00-\x1f]+$": "must not contain line breaks, tabs or other control characters",
    r"^[\x21-\x7e]+$": "must contain only ASCII letters, digits and punctuation, without spaces",
    r"^[0-9A-Za-z][0-9A-Za-z._-]*$": (
        "must contain only letters, digits and . _ -, and must start with a letter or digit"
    ),
}

FALLBACK = "not a valid value; correct it"

_PROBLEMS = {
    "missing": "missing; add it",
    "extra_forbidden": "unknown field; correct its name or remove it",
    "string_unicode": "must be a string that UTF-8 can represent",
    "invalid_key": "keys must be strings; put the key in quotes",
    "int_parsing_size": "too large; use a smaller number",
}

# By pydantic's prefix of the error's type: int_type, int_parsing, int_from_float, ...
_KINDS = {
    "string": "a string",
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "dict": "an object",
    "model": "an object",
    "dataclass": "an object",
    "list": "a list",
    "tuple": "a list",
    "datetime": "a date and time, such as 2026-01-31T12:00:00Z",
    "date": "a date, such as 2026-01-31",
    "timezone": "a date and time with a time zone, such as 2026-01-31T12:00:00Z",
}


def explain(problem: FieldProblem) -> str:
    """Return what is wrong with the value, and what to write instead; the caller names the field.

    A string is never quoted: it may be a secret.
    """
    kind = problem["type"]
    value = problem.get("input")
    context = problem.get("ctx", {})
    match kind:
        case _ if words := _PROBLEMS.get(kind):
            return words
        case "value_error":
            return str(context["error"])  # in the words of the model's own validator
        case "string_pattern_mismatch":
            return PATTERN_RULES.get(context["pattern"], f"must match {context['pattern']}")
        case "literal_error" | "enum":
            return f"must be {context['expected'].replace(chr(39), chr(34))}"
        case "string_too_short" | "string_too_long" | "too_short" | "too_long":
            return _length_problem(value, context)
        case "greater_than_equal":
            return f"must be at least {_plain(context['ge'])}"
        case "less_than_equal":
            return f"must be at most {_plain(context['le'])}"
        case "json_invalid":
            return f"not valid JSON: {context['error']}; correct it"
    expected = _KINDS.get(kind.partition("_")[0])
    if expected is None:
        return FALLBACK
    # What was sent in a URL is text: "not a string" would help nobody there.
    if kind.endswith("_type") or kind == "int_from_float":
        return f"must be {expected}, not {_name_of(value)}"
    return f"must be {expected}"


def place(problem: FieldProblem) -> tuple[str | int, ...]:
    """Return where the value stands, from the outside in. pydantic marks a wrong key with one part
    more, `[key]`."""
    loc: tuple[str | int, ...] = problem["loc"]
    return loc[:-1] if loc and loc[-1] == "[key]" else loc


def explain_field(problem: FieldProblem, whole: str) -> str:
    """Return the field, its problem and the fix. whole: the name of what the fields belong to,
    where the problem is none of a single field."""
    return f"{'.'.join(map(str, place(problem))) or whole}: {explain(problem)}"


def _plain(bound: float) -> float:
    """Return 300 for 300.0, which pydantic makes of the bounds of a number with decimals."""
    return int(bound) if bound == int(bound) else bound


def _length_problem(value: Any, context: Mapping[str, Any]) -> str:
    lowest = context.get("min_length")
    if lowest == 1:
        return "must not be empty"
    bound = f"at most {context['max_length']}" if lowest is None else f"at least {lowest}"
    verb = "is" if bound.endswith(" 1") else "are"
    allowed = "allowed" if lowest is None else "required"
    if isinstance(value, str):
        return f"is {len(value)} characters long; {bound} {verb} {allowed}"
    return f"has {len(value)} entries; {bound} {verb} {allowed}"


def _name_of(value: Any) -> str:
    """Return what JSON calls such a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a whole number"
        case float():
            return "a decimal number"
        case str() | bytes():
            return "a string"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"
