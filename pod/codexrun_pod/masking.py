"""Mask secrets in whatever is told of a run. Pure.

`Mask` knows the values: the runner's has those of the job type's Secret variables, for everything
that leaves the agent's container; the clone step's has the Git credentials. `DigestMask` recognises
them without knowing them: the gate's, for what providers say, who may quote what they were sent.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from typing import (  # noqa: UP035 - the runner's floor is Python 3.9
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Tuple,
)
from urllib.parse import quote, quote_plus

STARS = "***"
# A shorter value, such as 1 or eu, is in every other text: masking it would spoil results and hide
# nothing.
MIN_VALUE_CHARS = 6
MIN_LINE_CHARS = 8  # a shorter line of a secret of several lines (such as "}") is not masked
# How many characters of base64 depend on what stands around a secret: before it, by the number of
# bytes there modulo 3; after it, by that of all bytes up to its end, the padding included.
BASE64_BEFORE = (0, 2, 3)
BASE64_AFTER = (0, 3, 2)
BASE64_LINE_CHARS = (76, 64)  # coreutils and MIME; PEM
PERCENT = re.compile("%[0-9A-F]{2}")
DIGEST_BYTES = 16
# Longer forms are in no text that the gate tells.
MAX_DIGEST_CHARS = 4096


class Mask:
    """Replaces each value, the lines of a longer one, and the forms that JSON, base64 and URLs give
    them, by stars."""

    def __init__(self, secrets: Mapping[str, str], min_chars: int = MIN_VALUE_CHARS) -> None:
        """`secrets`: the variables' values by their names. min_chars: shorter values stay."""
        self._names: dict[str, str] = {}
        # Values that are JSON objects or lists: as JSON each has many forms.
        self._structures: list[tuple[Any, str]] = []
        short = []
        for name, value in secrets.items():
            if 0 < len(value.strip()) < min_chars:
                short.append(name)
                continue
            for form in _forms_of(value):
                self._names.setdefault(form, name)
            if isinstance(structure := _parsed(value), (dict, list)) and structure:
                self._structures.append((structure, name))
        # The longest first, or a shorter one inside of it would leave its rest.
        self._forms = sorted(self._names, key=len, reverse=True)
        self.too_short = tuple(short)  # names of variables that are not masked

    @property
    def active(self) -> bool:
        """Whether there is anything to mask."""
        return bool(self._forms)

    @classmethod
    def of(cls, names: Iterable[str], environ: Mapping[str, str]) -> Mask:
        """Build the mask for the variables `names`."""
        return cls({name: environ.get(name, "") for name in names})

    def text(self, text: str) -> str:
        """Mask a text."""
        for form in self._forms:
            text = text.replace(form, STARS)
        return text

    def value(self, value: Any) -> Any:
        """Mask all strings of a JSON value, keys too, and numbers that show a secret."""
        if not self._forms:
            return value
        if isinstance(value, str):
            return self.text(value)
        if self._names_of_structure(value):
            return STARS
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return STARS if self.names_in(json.dumps(value)) else value
        return value

    def document(self, text: str) -> str:
        """Mask a text that may be JSON: then string by string, so that it stays JSON."""
        if not self._forms:
            return text
        try:
            value = json.loads(text)
            masked = self.value(value)
        except (ValueError, RecursionError):
            return self.text(text)
        if masked == value and not self.names_in(text):
            return text
        # written anew also where only a key's first value, of two, shows a secret
        return json.dumps(masked, ensure_ascii=False)

    def json_lines(self, data: bytes) -> bytes:
        """Mask a file of one JSON value a line, each as a document."""
        if not self._forms:
            return data
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        return "\n".join(map(self.document, lines)).encode("utf-8", "surrogateescape")

    def names_in(self, text: str) -> list[str]:
        """Return the names of the variables whose values the text shows."""
        return sorted({self._names[form] for form in self._forms if form in text})

    def names_in_document(self, text: str) -> list[str]:
        """Return the names of the variables whose values `document` takes out of a text."""
        if not self._forms or self.document(text) == text:
            return []
        names = set(self.names_in(text))
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(text)
            names |= {*self.names_in(json.dumps(value, ensure_ascii=False))}
            names |= {*self._names_in_structure(value)}
        return sorted(names)

    def _names_of_structure(self, value: Any) -> list[str]:
        """Return the names of the variables whose values are this object or list."""
        return [name for structure, name in self._structures if structure == value]

    def _names_in_structure(self, value: Any) -> Iterator[str]:
        yield from self._names_of_structure(value)
        inner = value.values() if isinstance(value, dict) else value
        for item in inner if isinstance(value, (dict, list)) else ():
            yield from self._names_in_structure(item)

    def names_in_patch(self, patch: bytes) -> list[str]:
        """Return the names of the variables whose values a patch shows, also where a value
        spans lines, each of which begins with a sign there."""
        if not self._forms:
            return []
        text = patch.decode("utf-8", "surrogateescape")
        lines = re.sub(r"(?m)^[-+ ]", "", text)
        return sorted({*self.names_in(text), *self.names_in(lines)})

    def digests(self, key: bytes) -> dict[str, Any]:
        """Return what `DigestMask` needs, as JSON. key: random bytes, of this run alone."""
        forms = [
            [_digest(key, form[:MIN_VALUE_CHARS]), len(form), _digest(key, form)]
            for form in self._forms
            if len(form) <= MAX_DIGEST_CHARS
        ]
        return {"key": key.hex(), "forms": forms}


class DigestMask:
    """Replaces secrets by stars, which it knows by keyed digests of their forms."""

    def __init__(self, digests: Mapping[str, Any]) -> None:
        """digests: of `Mask.digests`; {} recognises nothing.

        Raises:
            ValueError: it is something else.
        """
        # By the digest of the first characters: how long a form is, and the digest of all of it.
        self._by_start: Dict[str, List[Tuple[int, str]]] = {}  # noqa: UP006
        try:
            self._key = bytes.fromhex(digests.get("key", ""))
            hashlib.blake2b(key=self._key)
            for start, chars, whole in digests.get("forms", ()):
                if not isinstance(chars, int) or chars < MIN_VALUE_CHARS:
                    raise TypeError(f"{chars!r} is not the length of a secret")
                self._by_start.setdefault(start, []).append((chars, whole))
        except (AttributeError, TypeError, OverflowError) as error:
            raise ValueError(str(error)) from error

    def text(self, text: str) -> str:
        """Mask a text."""
        if not self._by_start:
            return text
        masked: List[str] = []  # noqa: UP006
        end = 0  # of the last secret
        for at, char in enumerate(text):
            chars = self._chars_at(text, at)
            if chars and at >= end:
                masked.append(STARS)
            end = max(end, at + chars)
            if at >= end:
                masked.append(char)
        return "".join(masked)

    def _chars_at(self, text: str, at: int) -> int:
        """Return the length of the longest secret that begins there, 0 for none."""
        start = _digest(self._key, text[at : at + MIN_VALUE_CHARS])
        return max(
            (
                chars
                for chars, whole in self._by_start.get(start, ())
                if _digest(self._key, text[at : at + chars]) == whole
            ),
            default=0,
        )


def _digest(key: bytes, text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, key=key, digest_size=DIGEST_BYTES).hexdigest()


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _forms_of(value: str) -> Iterator[str]:
    """Yield what a value may look like in a text."""
    lines = [line for line in value.splitlines() if len(line.strip()) >= MIN_LINE_CHARS]
    for text in dict.fromkeys((value, value.strip(), *lines, *(line.strip() for line in lines))):
        if text.strip():
            yield text
            yield json.dumps(text)[1:-1]
            yield json.dumps(text, ensure_ascii=False)[1:-1]
            data = text.encode("utf-8", "surrogateescape")
            yield from _percent_encoded(data)
            yield from _base64_forms(data)


def _percent_encoded(data: bytes) -> Iterator[str]:
    """Yield what URLs and forms make of it, with hexadecimal digits of either case."""
    for text in (quote(data, safe=""), quote(data), quote_plus(data)):
        yield text
        yield PERCENT.sub(lambda match: match[0].lower(), text)


def _base64_forms(data: bytes) -> Iterator[str]:
    """Yield the characters of base64 that depend on the data alone, for each place that it may have
    among groups of three bytes; in both alphabets, and as lines of programs that break them."""
    for before, dropped in enumerate(BASE64_BEFORE):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(b"\0" * before + data).decode()
            end = len(text) - BASE64_AFTER[(before + len(data)) % 3]
            core = text[dropped:end]
            if len(core) < MIN_VALUE_CHARS:
                continue
            yield core
            if before == 0:
                for width in BASE64_LINE_CHARS:
                    for start in range(0, len(core), width) if len(core) > width else ():
                        if len(core) - start >= MIN_LINE_CHARS:
                            yield core[start : start + width]
