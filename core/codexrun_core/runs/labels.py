"""Which labels may a run have, and which does a selector ask for? Kubernetes' own rules and words.
Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OURS = "codexrun.dev/"  # keys that callers may select by, but not set
MOST = 64  # that one request may set

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BETWEEN = re.compile(r",(?![^(]*\))")  # commas of a list of values stand in brackets
_WORDS = re.compile(
    r"(?P<absent>!)?\s*(?P<key>[^\s=!<>(),]+)\s*(?:(?P<sign>==|=|!=)\s*(?P<value>[^\s=!<>(),]*)|(?<=\s)(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
)
_FORM = 'letters, digits, "-", "_" and ".", beginning and ending with a letter or digit'
FORMS = (
    "write key=value, key!=value, key, !key, key in (a,b) or key notin (a,b), with commas between"
    " (all must hold)"
)


@dataclass(frozen=True, order=True)
class Requirement:
    """One part of a selector. `wanted` false turns it round: a run without the key fulfils that
    too, as in Kubernetes."""

    key: str
    values: tuple[str, ...] = ()  # any of these; none: the key alone counts
    wanted: bool = True

    def __str__(self) -> str:
        """As the apiserver reads it."""
        if not self.values:
            return self.key if self.wanted else f"!{self.key}"
        if len(self.values) == 1:
            return f"{self.key}{'=' if self.wanted else '!='}{self.values[0]}"
        return f"{self.key} {'in' if self.wanted else 'notin'} ({','.join(self.values)})"

    def holds(self, labels: Mapping[str, str]) -> bool:
        found = self.key in labels and (not self.values or labels[self.key] in self.values)
        return found is self.wanted


def selector(text: str) -> tuple[Requirement, ...]:
    """What a label selector asks for, each part once.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    return tuple(sorted({_requirement(part.strip()) for part in _BETWEEN.split(text)}))


def selected(asked: Iterable[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether all of it holds."""
    return all(one.holds(labels) for one in asked)


def _requirement(part: str) -> Requirement:
    found = _WORDS.fullmatch(part)
    if found is None or (found["absent"] and (found["sign"] or found["set"])):
        raise ValueError(f'"{part}" is not a valid label selector; {FORMS}')
    values: tuple[str, ...] = ()
    if found["sign"]:
        values = (found["value"],)
    elif found["set"]:
        values = tuple(sorted({value.strip() for value in found["values"].split(",")}))
    for trouble in (_key_trouble(found["key"]), *map(_value_trouble, values)):
        if trouble:
            raise ValueError(trouble)
    return Requirement(
        found["key"],
        values,
        wanted=not (found["absent"] or found["sign"] == "!=" or found["set"] == "notin"),
    )


def check(labels: Mapping[str, str]) -> None:
    """Whether a caller may give a run these.

    Raises:
        ValueError: the first that is none, or is ours to give.
    """
    if len(labels) > MOST:
        raise ValueError(f"{len(labels)} labels are too many; give at most {MOST}")
    for key, value in labels.items():
        if key.startswith(OURS):
            raise ValueError(f'"{key}": keys under {OURS} are codexrun\'s own; choose another key')
        if trouble := _key_trouble(key) or _value_trouble(value):
            raise ValueError(trouble)


def handed_on(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that a retry takes over: keys without a prefix are people's own, the others belong to
    the tools that set them."""
    return {key: value for key, value in labels.items() if "/" not in key}


def _key_trouble(key: str) -> str:
    domain, slash, name = key.rpartition("/")
    if slash and not (len(domain) <= 253 and _DOMAIN.fullmatch(domain)):
        return (
            f'"{key}" is not a valid label key; before the / stands a DNS name in lower case, like'
            " example.com"
        )
    if not _NAME.fullmatch(name):
        return f'"{key}" is not a valid label key; use 1 to 63 {_FORM}'
    return ""


def _value_trouble(value: str) -> str:
    if value and not _NAME.fullmatch(value):
        return f'"{value}" is not a valid label value; use at most 63 {_FORM}'
    return ""
