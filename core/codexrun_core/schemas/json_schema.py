"""Does a value fit a JSON Schema (2020-12) that somebody else wrote, and is that schema one? In
bounded time, whatever it says.

Who writes a job type could stop the operator with a pattern or a web of references that takes for
ever. So patterns run on an engine of linear time (RE2), and everything else counts its steps.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2
from jsonschema import Draft202012Validator, FormatChecker, SchemaError
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from codexrun_core.schemas.nesting import MAX_SHOWN_LEVELS, is_deeper, nesting_problem

MAX_SCHEMA_BYTES = 64 * 1024  # bytes of JSON
# a keyword applied to a value is one, or more where either is long; less than a second in all
MAX_STEPS = 25_000
MAX_MESSAGE_CHARACTERS = 200
SPECIFICATION_URL = "https://json-schema.org/draft/2020-12"

Schema = Mapping[str, Any]
Rule = Callable[..., Iterable[ValidationError] | None]


class InvalidSchemaError(ValueError):
    """The schema cannot be used; `pointer` is where (RFC 6901), the message names the trouble and
    the way out."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with a value. `pointer` is RFC 6901, "" the whole value; `words` name
    no long value."""

    pointer: str
    words: str

    def under(self, root: str) -> str:
        """Return a sentence about the field `root`, such as "spec.inputs"."""
        return f"{root}{self.pointer}: {self.words}"


def check_schema(schema: Schema) -> None:
    """Check that it is a JSON Schema that can be used here.

    Raises:
        InvalidSchemaError: it is not.
    """
    if is_deeper(schema, MAX_SHOWN_LEVELS):
        raise InvalidSchemaError(
            "", f"nested more than {MAX_SHOWN_LEVELS} levels deep; reduce the nesting"
        )
    size = len(json.dumps(schema, ensure_ascii=False).encode("utf-8", "replace"))
    if size > MAX_SCHEMA_BYTES:
        raise InvalidSchemaError(
            "",
            (
                f"the JSON is {size} bytes long, which exceeds the limit of {MAX_SCHEMA_BYTES}"
                " bytes; shorten the schema"
            ),
        )
    _check_text(json.dumps(schema, sort_keys=True))


def violations(schema: Schema, value: Any, most_steps: int = MAX_STEPS) -> list[Violation]:
    """Return what is wrong with `value`, sorted by place; nothing if it fits. One nested too deeply
    fits no schema.

    Raises:
        InvalidSchemaError: a reference leads nowhere or round in circles, or the work has no end in
            sight.
    """
    if problem := nesting_problem(value):
        return [Violation("", problem)]
    token = _steps.set([most_steps, most_steps])
    try:
        # An empty registry: by default the library fetches what a $ref names, from anywhere.
        result = [
            v
            for error in _Validator(schema, registry=Registry()).iter_errors(value)
            for v in _describe(error)
        ]
    except Unresolvable as error:
        raise InvalidSchemaError(
            "", f'there is no "{error.ref}"; a $ref must point to a part of this schema'
        ) from None
    except RecursionError:
        raise InvalidSchemaError("", "a $ref refers to itself; remove the cycle") from None
    finally:
        _steps.reset(token)
    return sorted(result, key=lambda v: (v.pointer, v.words))


def pointer(path: Iterable[Any]) -> str:
    """Return a path as RFC 6901 writes it."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


@lru_cache(maxsize=256)
def _check_text(text: str) -> None:
    schema = json.loads(text)
    try:
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except SchemaError as error:
        raise InvalidSchemaError(
            pointer(error.absolute_path), f"{_shorten(error.message)}; see {SPECIFICATION_URL}"
        ) from None
    except RecursionError:
        raise InvalidSchemaError("", "nested too deeply; reduce the nesting") from None
    for path, pattern in _patterns(schema, ()):
        try:
            _compiled(pattern)
        except re2.error as error:
            reason = (
                error.args[0].decode()
                if error.args and isinstance(error.args[0], bytes)
                else str(error)
            )
            raise InvalidSchemaError(
                pointer(path),
                f"{json.dumps(pattern)} is not a valid RE2 pattern ({reason}); RE2 has no"
                " lookaround or backreferences (see https://github.com/google/re2/wiki/Syntax)",
            ) from None


def _patterns(
    schema: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(schema, list):
        for index, part in enumerate(schema):
            yield from _patterns(part, (*path, index))
    if not isinstance(schema, dict):
        return
    for key, part in schema.items():
        if key in ("const", "enum", "default", "examples"):
            continue
        if key == "pattern" and isinstance(part, str):
            yield (*path, key), part
        if key == "patternProperties" and isinstance(part, dict):
            yield from (((*path, key, pattern), pattern) for pattern in part)
        yield from _patterns(part, (*path, key))


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options=options)


_steps: ContextVar[list[int]] = ContextVar("steps")


def _spend(steps: int) -> None:
    left = _steps.get()
    left[0] -= steps
    if left[0] < 0:
        raise InvalidSchemaError(
            "", f"checking this value takes more than {left[1]} steps; make the schema simpler"
        )


def _counted(rule: Rule) -> Rule:
    def counting(
        validator: Any, rules: Any, instance: Any, schema: Any
    ) -> Iterator[ValidationError]:
        weight = len(rules) // 8 if isinstance(rules, list | dict) else 0
        _spend(1 + weight + (len(instance) // 64 if isinstance(instance, str | list | dict) else 0))
        for error in rule(validator, rules, instance, schema) or ():
            _spend(1)
            yield error

    return counting


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _compiled(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, rules: Any, instance: Any, _: Any
) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern, part in rules.items():
            _spend(len(instance) + sum(map(len, instance)) // 64)
            for key, value in instance.items():
                if _compiled(pattern).search(key):
                    yield from validator.descend(value, part, path=key, schema_path=pattern)


def _additional(
    validator: Any, rules: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    properties = schema.get("properties", {})
    patterns = list(schema.get("patternProperties", {}))
    _spend((len(instance) + sum(map(len, instance)) // 64) * (1 + len(patterns)))
    extra = [
        key
        for key in instance
        if key not in properties and not any(_compiled(pattern).search(key) for pattern in patterns)
    ]
    if rules is False:
        if extra:
            error = ValidationError("unknown fields")
            error.extra, error.known = extra, list(properties)  # type: ignore[attr-defined]
            yield error
        return
    for key in extra:
        yield from validator.descend(instance[key], rules, path=key)


def _required(validator: Any, names: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for name in names:
            if name not in instance:
                error = ValidationError(f"{name!r} is a required property")
                error.missing = name  # type: ignore[attr-defined]
                yield error


def _unique(validator: Any, unique: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Compare by sorting, where the library compares each with each."""
    if unique and validator.is_type(instance, "array"):
        texts = [json.dumps(_plain(item), sort_keys=True) for item in instance]
        if len(set(texts)) != len(texts):
            yield ValidationError(f"{instance!r} has duplicate elements")


def _plain(value: Any) -> Any:
    """Return the value with 1.0 as 1, which are the same to JSON Schema."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


_OVERRIDES: dict[str, Rule] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "required": _required,
    "uniqueItems": _unique,
}
_RULES: Mapping[str, Any] = Draft202012Validator.VALIDATORS
_Validator: Any = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {name: _counted(_OVERRIDES.get(name, rule)) for name, rule in _RULES.items()},
)


def _describe(error: ValidationError) -> Iterator[Violation]:
    """Yield an error in plain words where a field is missing or unknown, which is what people get
    wrong most."""
    at = pointer(error.absolute_path)
    if (missing := getattr(error, "missing", None)) is not None:
        yield Violation(at + pointer([missing]), "missing; give it a value")
        return
    if extra := getattr(error, "extra", None):
        known = ", ".join(error.known)  # type: ignore[attr-defined]
        words = (
            f"unknown; the allowed fields are: {_shorten(known)}"
            if known
            else "unknown; no fields are allowed here"
        )
        yield from (Violation(at + pointer([key]), words) for key in extra)
        return
    yield Violation(at, _shorten(error.message))


def _shorten(message: str) -> str:
    """Return the message without long values: it is shown in many places."""
    return (
        message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:80]} … {message[-100:]}"
    )
