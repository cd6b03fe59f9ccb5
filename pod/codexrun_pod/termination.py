"""Termination messages: JSON of constant size, written in place.

The kubelet keeps the last 4,096 bytes of a message and 12 KiB per pod; the file is a bind mount, so
that truncating or renaming it would lose messages. Hence 3,000 bytes, padded with spaces, by one
`pwrite` at offset 0.
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/#customizing-the-termination-message
"""

from __future__ import annotations

import json
import os
from typing import Any, Mapping, Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import TERMINATION_LOG, TERMINATION_LOG_ENV, ReportKey

SIZE = 3000
LONGEST_MESSAGE = 400  # characters of a failure's or error's message


def log_path(environ: Mapping[str, str]) -> str:
    """Return where the termination message goes; known before anything else, so that every failure
    can be reported."""
    return environ.get(TERMINATION_LOG_ENV, TERMINATION_LOG)


def failure(class_: str, message: str) -> dict[str, str]:
    """Return a failure, or the reason for a stop, as a termination message has it."""
    return {ReportKey.CLASS: class_, ReportKey.MESSAGE: message[:LONGEST_MESSAGE]}


def encode(message: Mapping[str, Any], shorten: Sequence[tuple[str, str]] = ()) -> bytes:
    """`message` as exactly SIZE bytes of JSON and blanks; values of None are left out (unknown is
    absent).

    shorten: (section, key) of texts that may lose their end if it would not fit, the most
    expendable first; a section of "" is the message itself.

    Raises:
        ValueError: it does not fit with all of them empty.
    """
    content = _without_none(message)
    for section, key in shorten:
        if len(_json(content)) <= SIZE:
            break
        holder = content.get(section, {}) if section else content
        text = holder.get(key)
        if isinstance(text, str):
            holder[key] = _longest_that_fits(content, holder, key, text)
    encoded = _json(content)
    if len(encoded) > SIZE:
        raise ValueError(f"a termination message of {len(encoded)} bytes does not fit into {SIZE}")
    return encoded.ljust(SIZE)


def write(path: str, data: bytes) -> None:
    """Put `data` at the start of the file; it is made if it is not there (outside of pods).

    Raises:
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)


def cut(text: str, limit: int) -> str:
    """The longest start of `text` that is at most `limit` bytes of UTF-8, cut between
    characters."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def _longest_that_fits(content: dict[str, Any], holder: dict[str, Any], key: str, text: str) -> str:
    # invariant: `low` characters fit, or nothing does
    low = 0
    high = len(text)
    while low < high:
        middle = (low + high + 1) // 2
        holder[key] = text[:middle]
        if len(_json(content)) <= SIZE:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _json(value: Any) -> bytes:
    # A lone surrogate has no UTF-8; its backslash escape is what JSON calls it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
