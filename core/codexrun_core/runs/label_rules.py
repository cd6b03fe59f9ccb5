"""Which labels may a run have, and which does a selector ask for? Kubernetes' own rules and words.
Pure.

The keys that codexrun sets are in label_keys.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RESERVED_PREFIX = "codexrun.dev/"  # keys that callers may select by, but not set
MAX_LABELS = 64  # that one request may set

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SEPARATOR = re.compile(r",(?![^(]*\))")  # commas of a list of values stand in brackets
_REQUIREMENT = re.compile(
    r"(?P<absent>!)?\s*(?P<key>[^\s=!<>(),]+)\s*"
    r"(?:(?P<sign>==|=|!=)\s*(?P<value>[^\s=!<>(),]*)"
    r"|(?<=\s)(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
)
_NAME_RULE = 'letters, digits, "-", "_" and ".", beginning and ending with a letter or digit'
SELECTOR_RULE = (
    "use key=value, key!=value, key, !key, key in (a,b) or key notin (a,b), separated by commas"
    " (all must match)"
)


@dataclass(frozen=True, order=True)
class Requirement:
    """One part of a selector. `positive` false turns it round: a run without the key fulfils that
    too, as in Kubernetes."""

    key: str
    values: tuple[str, ...] = ()  # any of these; none: the key alone counts
    positive: bool = True

    def __str__(self) -> str:
        """Return it as the apiserver reads it."""
        if not self.values:
            return self.key if self.positive else f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.positive else '!='}{self.values[0]}"
        return f"{self.key} {'in' if self.positive else 'notin'} ({','.join(self.values)})"

    def holds(self, labels: Mapping[str, str]) -> bool:
        matched = self.key in labels and (not self.values or labels[self.key] in self.values)
        return matched is self.positive


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Return what a label selector asks for, each part once.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    return tuple(sorted({_requirement(part.strip()) for part in _SEPARATOR.split(text)}))


def matches(requirements: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Return whether the labels fulfil all requirements."""
    return all(requirement.holds(labels) for requirement in requirements)


def _requirement(part: str) -> Requirement:
    match = _REQUIREMENT.fullmatch(part)
    if match is None or (match["absent"] and (match["sign"] or match["set"])):
        raise ValueError(f'"{part}" is not a valid label selector; {SELECTOR_RULE}')
    values: tuple[str, ...] = ()
    if match["sign"]:
        values = (match["value"],)
    elif match["set"]:
        values = tuple(sorted({value.strip() for value in match["values"].split(",")}))
    for problem in (_key_problem(match["key"]), *map(_value_problem, values)):
        if problem:
            raise ValueError(problem)
    return Requirement(
        match["key"],
        values,
        positive=not (match["absent"] or match["sign"] == "!=" or match["set"] == "notin"),
    )


def check_labels(labels: Mapping[str, str]) -> None:
    """Check that a caller may give a run these labels.

    Raises:
        ValueError: the first that is not valid, or is codexrun's own.
    """
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels are too many; use at most {MAX_LABELS}")
    for key, value in labels.items():
        if key.startswith(RESERVED_PREFIX):
            raise ValueError(
                f'"{key}": keys with the prefix {RESERVED_PREFIX} are reserved for codexrun;'
                " choose another key"
            )
        if problem := _key_problem(key) or _value_problem(value):
            raise ValueError(problem)


def inherited_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that a retry takes over: keys without a prefix are people's own, the others
    belong to the tools that set them."""
    return {key: value for key, value in labels.items() if "/" not in key}


def _key_problem(key: str) -> str:
    domain, slash, name = key.rpartition("/")
    if slash and not (len(domain) <= 253 and _DOMAIN.fullmatch(domain)):
        return (
            f'"{key}" is not a valid label key; the part before the / must be a lowercase DNS'
            " name, such as example.com"
        )
    if not _NAME.fullmatch(name):
        return f'"{key}" is not a valid label key; use 1 to 63 {_NAME_RULE}'
    return ""


def _value_problem(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        return f'"{value}" is not a valid label value; use at most 63 {_NAME_RULE}'
    return ""
