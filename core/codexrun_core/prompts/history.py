"""Is every prompt version still what it was published as? Asks the Git history of the folder, not
only its newest commit."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from codexrun_core.prompts.index import INDEX, FolderError, PromptIndex


@dataclass(frozen=True)
class Commit:
    """One that touched the index."""

    id: str
    day: str  # of its author

    @property
    def short(self) -> str:
        return f"{self.id[:9]} of {self.day}"


@dataclass(frozen=True)
class Entry:
    """An index entry as a commit has it."""

    checksum: str
    path: str
    commit: Commit


def find_edited_versions(folder: Path, ref: str, now: PromptIndex) -> list[str]:
    """Return a problem for each version that `ref` has published, in any commit of its history, and
    that is another text in `now`.

    folder: the one that holds prompts/, in a Git repository. ref: a commit, branch or tag; with
    `<from>..<to>` history begins at <from>. Only merges count, not the commits of a branch before
    it was merged (--first-parent): a draft may change.

    Raises:
        FolderError: not a Git repository, no such commit, or a shallow clone, which does not say
            what was published.
    """
    first, last = _history(folder, ref)
    problems = []
    for (name, version), published in sorted(first.items()):
        current = now.versions.get(name, {}).get(version)
        if current is None or published.checksum == f"sha256:{current.sha256}":
            continue
        newer = last[name, version]
        when = (
            "in the working tree"
            if newer.checksum == published.checksum
            else f"in {newer.commit.short}"
        )
        number = max(v.number for v in now.versions[name].values()) + 1
        problems.append(
            f"prompts/{INDEX}: {name} {version}: was published as {published.checksum} in"
            f" {published.commit.short}, but is now sha256:{current.sha256} (changed {when}). A"
            " published version never changes: restore the text and the entry (git show"
            f" {published.commit.id[:9]}:./prompts/{published.path}), and add the new text as"
            f" v{number}"
        )
    return problems


def _history(
    folder: Path, ref: str
) -> tuple[dict[tuple[str, str], Entry], dict[tuple[str, str], Entry]]:
    """Return each version's first entry, and the newest one that differs from the one before."""
    first: dict[tuple[str, str], Entry] = {}
    last: dict[tuple[str, str], Entry] = {}
    for commit in _commits(folder, ref):
        try:
            index = json.loads(_git(folder, "show", f"{commit.id}:./prompts/{INDEX}"))
            entries = [(name, item) for name, versions in index.items() for item in versions]
            for name, item in entries:
                key = (name, item["version"])
                entry = Entry(item["checksum"], item["path"], commit)
                first.setdefault(key, entry)
                if key not in last or last[key].checksum != entry.checksum:
                    last[key] = entry
        except (FolderError, ValueError, AttributeError, KeyError, TypeError):
            continue  # no index in that commit, or one that proved nothing
    return first, last


def _commits(folder: Path, ref: str) -> list[Commit]:
    """Return the commits that touched the index, oldest first."""
    begin, dots, end = ref.rpartition("..")
    for name in (begin, end) if dots else (end,):
        try:
            _git(
                folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
            )
        except FolderError:
            problem = (
                f'"{name}" is not a branch or commit in the Git repository of {folder.resolve()};'
                " correct the name, or fetch the branch or commit first"
            )
            raise FolderError([problem]) from None
    if _git(folder, "rev-parse", "--is-shallow-repository") == "true":
        raise FolderError(
            [
                f"{folder}: this clone is shallow, so its history does not show what was"
                " published; fetch the whole history (`git fetch --unshallow`; for"
                " actions/checkout `fetch-depth: 0`)"
            ]
        )
    options = ["--first-parent", "--reverse", "--format=%H %as", "--end-of-options"]
    lines = _git(folder, "log", *options, ref, "--", f"./prompts/{INDEX}").splitlines()
    if dots:
        lines.insert(0, _git(folder, "log", "-1", "--format=%H %as", "--end-of-options", begin))
    return [Commit(*line.split(" ", 1)) for line in lines]


def _git(folder: Path, *arguments: str) -> str:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            check=False,
            capture_output=True,
            encoding="utf-8",
        )
    except OSError as error:
        raise FolderError([f"cannot run git: {error.strerror}; install git"]) from None
    if process.returncode != 0:
        raise FolderError(
            [f"{folder}: git {arguments[0]}: {' '.join(process.stderr.split()) or 'failed'}"]
        )
    return process.stdout.strip()
