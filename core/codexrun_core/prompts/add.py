"""A new version of a prompt: its text and its index entry. What was published before is never
touched."""

import json
import os
from datetime import date
from pathlib import Path

from codexrun_core.prompts import index as prompts
from codexrun_core.prompts.index import (
    INDEX,
    NAME_PATTERN,
    NAME_RULE,
    FolderError,
    PromptIndex,
    PromptVersion,
)


def add_version(folder: Path, name: str, text: str, owner: str, today: date) -> PromptVersion:
    """Publish `text` as the next version of prompt `name` in the folder that has index.json.

    The text's file is made first and must not exist: a crash in between leaves a file that no index
    names, and the next call says so instead of overwriting it.

    Raises:
        FolderError: the folder is wrong already, the name is none, the text is the newest
            version's, or a file is in the way.
    """
    index = prompts.load(folder) if (folder / INDEX).exists() else PromptIndex({})
    if not NAME_PATTERN.fullmatch(name):
        raise FolderError([f'"{name}" is not a valid name for a prompt; {NAME_RULE}'])
    newest = next(reversed([*index.versions.get(name, {}).values()]), None)
    if newest is not None and newest.text == text:
        raise FolderError(
            [f"{name} {newest.version} already has this text; there is nothing to add"]
        )
    version = f"v{newest.number + 1 if newest else 1}"
    path = f"{name}/{version}.md"
    entry = {
        "version": version,
        "path": path,
        "checksum": f"sha256:{prompts.sha256_of(text.encode())}",
        "owner": owner,
        "updated_at": today.isoformat(),
    }
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("xb") as out:
            out.write(text.encode())
    except FileExistsError:
        problem = (
            f"prompts/{path}: already exists, but the index has no entry for it; remove the file,"
            " or add an entry"
        )
        raise FolderError([problem]) from None
    before = (folder / INDEX).read_text(encoding="utf-8") if (folder / INDEX).exists() else "{}"
    entries = json.loads(before)
    entries.setdefault(name, []).append(entry)
    temporary = folder / f".{INDEX}.{os.getpid()}"
    temporary.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    try:
        temporary.replace(folder / INDEX)
        return prompts.load(folder).find(name, version)
    except FolderError:
        (folder / INDEX).write_text(before, encoding="utf-8")
        file.unlink()
        raise
