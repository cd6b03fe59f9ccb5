"""Which prompts are there, and are they what the index says? Reads a folder with index.json and
proves it.

    prompts/index.json   {"hello": [{"version": "v1", "path": "hello/v1.md",
                                     "checksum": "sha256:…", …}]}
    prompts/hello/v1.md  the text, byte for byte what the checksum was taken from

A published version never changes: runs name it in their record, and its ConfigMap in the cluster is
immutable. A new text is a new version.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

INDEX = "index.json"

# `kubectl apply` keeps a second, JSON-escaped copy of the object in an annotation, and annotations
# end at 256 KiB.
MAX_PROMPT_BYTES = 128 * 1024

NAME_PATTERN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NAME_RULE = (
    'use at most 63 characters: lowercase letters, digits and "-"; begin and end with a letter or'
    " digit"
)
_VERSION = re.compile(r"v[1-9][0-9]{0,6}")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_FIELDS = ("version", "path", "checksum", "owner", "updated_at")


class FolderError(Exception):
    """What is wrong with a folder of prompts and job types, one problem a line: file, field,
    trouble, way out."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class PromptVersion:
    """One version of one prompt, its text proven against the index."""

    name: str
    version: str
    path: str
    sha256: str
    owner: str
    updated_at: str
    text: str

    @property
    def number(self) -> int:
        return int(self.version[1:])

    @property
    def config_map_name(self) -> str:
        return f"prompt-{self.name}-{self.version}"


@dataclass(frozen=True)
class PromptIndex:
    """All prompts of a folder: by name, then by version, oldest first."""

    versions: Mapping[str, Mapping[str, PromptVersion]]

    def find(self, name: str, version: str) -> PromptVersion:
        """Return the version of that name.

        Raises:
            LookupError: there is none; the message says what there is.
        """
        if name not in self.versions:
            choices = f", or use one of: {', '.join(self.versions)}" if self.versions else ""
            raise LookupError(f'prompt "{name}" is not in the index; add it there{choices}')
        if version not in self.versions[name]:
            choices = ", ".join(self.versions[name])
            raise LookupError(
                f'prompt "{name}" has no version "{version}"; add it to the index, or use one of:'
                f" {choices}"
            )
        return self.versions[name][version]

    def all(self) -> list[PromptVersion]:
        return [
            version for name in sorted(self.versions) for version in self.versions[name].values()
        ]


def sha256_of(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def load(folder: Path, shown_as: str = "prompts") -> PromptIndex:
    """Read and prove the prompts of one folder.

    Raises:
        FolderError: with every problem found, not only the first.
    """
    index = folder / INDEX
    location = f"{shown_as}/{INDEX}"
    try:
        names = json.loads(
            index.read_text(encoding="utf-8"), object_pairs_hook=_object_without_duplicates
        )
    except FileNotFoundError:
        raise FolderError(
            [
                f'{location}: not found; create it in the form {{"<prompt>": [{{"version": "v1",'
                ' "path": …}]}'
            ]
        ) from None
    except (OSError, ValueError) as error:
        raise FolderError([f"{location}: not valid JSON: {error}; correct the file"]) from None
    if not isinstance(names, dict):
        raise FolderError(
            [
                f'{location}: must be an object whose keys are prompt names: {{"<prompt>":'
                ' [{"version": "v1", …}]}'
            ]
        )

    problems: list[str] = []
    versions: dict[str, dict[str, PromptVersion]] = {}
    for name, entries in names.items():
        if not NAME_PATTERN.fullmatch(name):
            problems.append(f'{location}: "{name}" is not a valid name for a prompt; {NAME_RULE}')
        elif not isinstance(entries, list) or not entries:
            problems.append(
                f"{location}: {name}: must be a list with at least one version; add a version, or"
                " remove the prompt"
            )
        else:
            readable, faults = _versions(folder, location, name, entries)
            versions[name] = readable
            problems += faults
    problems += _shared_files(location, versions)
    if problems:
        raise FolderError(problems)
    return PromptIndex(versions)


def _versions(
    folder: Path, location: str, name: str, entries: list[object]
) -> tuple[dict[str, PromptVersion], list[str]]:
    versions: dict[str, PromptVersion] = {}
    problems: list[str] = []
    for position, entry in enumerate(entries):
        field = f"{location}: {name}[{position}]"
        faults = _field_problems(field, entry)
        if faults or not isinstance(entry, dict):
            problems += faults
            continue
        version = entry["version"]
        if version in versions:
            problems.append(
                f'{field}.version: "{version}" appears twice; remove one of the entries'
            )
            continue
        if versions and int(version[1:]) < next(reversed(versions.values())).number:
            problems.append(
                f'{field}.version: "{version}" comes after a higher version; list versions in'
                " ascending order"
            )
            continue
        text, faults = _read(folder, field, entry["path"])
        if text is None:
            problems += faults
            continue
        actual = sha256_of(text)
        versions[version] = PromptVersion(
            name=name,
            version=version,
            path=entry["path"],
            sha256=actual,
            owner=entry["owner"],
            updated_at=entry["updated_at"],
            text=text.decode("utf-8"),
        )
        if entry["checksum"] != f"sha256:{actual}":
            new = _next_version(entries)
            problems.append(
                f"{field}.checksum: {entry['path']} has sha256:{actual}, but the index says"
                f" {entry['checksum']}; a published version never changes: restore the file and add"
                f" the new text as {new}, or correct the checksum if this version was never"
                " published"
            )
    return versions, problems


def _field_problems(field: str, entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{field}: must be an object with the fields {', '.join(_FIELDS)}"]
    problems = [
        f"{field}.{unknown}: unknown field; use one of {', '.join(_FIELDS)}"
        for unknown in entry
        if unknown not in _FIELDS
    ]
    for name in _FIELDS:
        value = entry.get(name)
        if name not in entry:
            problems.append(f"{field}.{name}: missing; {_FIELD_RULES[name]}")
        elif not isinstance(value, str) or not _is_valid(name, value):
            problems.append(
                f"{field}.{name}: {json.dumps(value)} is not valid; {_FIELD_RULES[name]}"
            )
    return problems


_FIELD_RULES = {
    "version": 'write "v1", then "v2", and so on',
    "path": 'give the path of the text file relative to the index, such as "hello/v1.md"',
    "checksum": 'write "sha256:" and the 64 hexadecimal digits printed by `sha256sum`',
    "owner": "name the owner of this text, in 1 to 200 characters on one line",
    "updated_at": 'write the date as "YYYY-MM-DD"',
}


def _is_valid(name: str, value: str) -> bool:
    match name:
        case "version":
            return bool(_VERSION.fullmatch(value))
        case "checksum":
            return bool(_CHECKSUM.fullmatch(value))
        case "path":
            path = PurePosixPath(value)
            return (
                value.isprintable()
                and "\\" not in value
                and not path.is_absolute()
                and ".." not in path.parts
            )
        case "updated_at":
            return bool(_DATE.fullmatch(value)) and _is_day(value)
        case _:
            return 0 < len(value.strip()) <= 200 and value.isprintable()


def _is_day(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _read(folder: Path, field: str, path: str) -> tuple[bytes | None, list[str]]:
    """Return the text's bytes, or what is wrong with them."""
    file = folder / path
    # A link that leads out of the folder would put some other file of the machine into the cluster.
    if not file.resolve().is_relative_to(folder.resolve()):
        return None, [
            (
                f"{field}.path: {path} points outside the prompts directory; put the file itself in"
                " that directory"
            )
        ]
    try:
        text = file.read_bytes()
    except OSError as error:
        return None, [
            f"{field}.path: {path} cannot be read ({error.strerror}); add the file, correct the"
            " path, or make the file readable"
        ]
    if not text.strip():
        return None, [f"{field}.path: {path} is empty; write the prompt into it"]
    if len(text) > MAX_PROMPT_BYTES:
        return None, [
            f"{field}.path: {path} is {len(text)} bytes long, more than the {MAX_PROMPT_BYTES}"
            " bytes allowed; shorten it"
        ]
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [f"{field}.path: {path} is not UTF-8 (byte {error.start}); save it as UTF-8"]
    if "\0" in decoded:
        return None, [
            f"{field}.path: {path} contains a NUL character, which cannot be sent to a model;"
            " remove it"
        ]
    return text, []


def _shared_files(location: str, versions: Mapping[str, Mapping[str, PromptVersion]]) -> list[str]:
    users: dict[PurePosixPath, list[str]] = {}
    for of_name in versions.values():
        for version in of_name.values():
            users.setdefault(PurePosixPath(version.path), []).append(
                f"{version.name} {version.version}"
            )
    return [
        f"{location}: {path} is used by {' and '.join(names)}; give each version its own file"
        for path, names in users.items()
        if len(names) > 1
    ]


def _next_version(entries: list[object]) -> str:
    taken = [entry.get("version") for entry in entries if isinstance(entry, dict)]
    numbers = [int(version[1:]) for version in taken if version and _is_valid("version", version)]
    return f"v{max(numbers) + 1}"


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f'"{twice}" appears twice')
    return dict(pairs)
