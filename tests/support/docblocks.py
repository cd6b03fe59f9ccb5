"""The code blocks of our documentation, and what the comment above each says is done with it."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"(?:^<!--[ ](?P<mark>[^\n]*?)["
    r" ]-->\n+)?^(?P<fence>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_MARK = re.compile(
    r"test: (?P<test>unit|chart|cluster)(?:, file: (?P<file>\S+))?|not run: (?P<reason>\S.*)"
)


@dataclass(frozen=True)
class Block:
    """One fenced block; `test` is the kind of test that runs it, "" for none and None for no mark
    that says so."""

    document: Path
    line: int
    language: str
    text: str
    test: str | None
    file: str | None

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/*/*.md")])


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        mark = _MARK.fullmatch(match["mark"] or "")
        line = text.count("\n", 0, match.start("fence")) + 1
        test = (mark["test"] or "") if mark else None
        found.append(
            Block(
                document,
                line,
                match["language"].strip(),
                match["text"],
                test,
                mark["file"] if mark else None,
            )
        )
    return found


def all_blocks(*tests: str | None) -> list[Block]:
    """Those of all documents, in their order; with `tests`, only those marked so."""
    return [b for document in documents() for b in blocks(document) if not tests or b.test in tests]


def working_copy(folder: Path) -> Path:
    """What a reader's checkout has and blocks may use, where they may also write."""
    for name in ("charts", "configs", "examples", "prompts"):
        shutil.copytree(ROOT / name, folder / name)
    return folder
