"""What the demo model plays for the job types in configs/jobs: it looks at the real repository, and
answers from that. Pure.

No intelligence is claimed: a review knows four patterns, a fix is told what to replace, release
notes go by the first word.
"""

import json
import re
import shlex

from codexrun_demo_model.conversation import ModelRequest
from codexrun_demo_model.replies import Reply, run, say

PATTERNS = (
    (
        r"\beval\(",
        "blocker",
        "eval runs whatever text it is given",
        "An input that is code is executed.",
        "Parse the value.",
    ),
    (
        r"except\s*:",
        "major",
        "A bare except hides every error",
        "Mistakes and Ctrl-C pass unseen.",
        "Name the exception.",
    ),
    (
        r"[!=]= None\b",
        "minor",
        "Comparison with None by value",
        "A class may redefine ==.",
        "Use `is None`.",
    ),
    (
        r"\bTODO\b",
        "minor",
        "Something is left to do",
        "Nobody is reminded of it.",
        "Do it, or open an issue.",
    ),
)
SECTIONS = (
    ("Breaking", re.compile(r"(remove|drop|break)\b|\w+(\(.+\))?!:", re.I)),
    ("Added", re.compile(r"(add|feat|new|support)\b", re.I)),
    ("Fixed", re.compile(r"fix(es|ed)?\b", re.I)),
    ("Changed", re.compile("")),
)


def code_review(model_request: ModelRequest, _: int) -> Reply:
    """Looks at the diff against the prompt's base; each added line that has one of PATTERNS is a
    finding."""
    if model_request.step == 0:
        base = shlex.quote(
            _between(model_request.prompt, "everything that differs between ", " and the commit")
        )
        return run(
            model_request, f"git diff --unified=0 {base}...HEAD || git diff --unified=0 {base} HEAD"
        )
    findings = [
        {
            "severity": severity,
            "path": path,
            "line": line,
            "title": title,
            "why": why,
            "suggestion": suggestion,
        }
        for path, line, text in _added(_output(model_request))
        for pattern, severity, title, why, suggestion in PATTERNS
        if re.search(pattern, text)
    ]
    order = ("blocker", "major", "minor")
    findings.sort(key=lambda found: order.index(str(found["severity"])))
    fit = (
        "The change is not fit to be used as it is."
        if findings
        else "Nothing speaks against the change."
    )
    return say(json.dumps({"summary": f"{fit} {len(findings)} findings.", "findings": findings}))


def misfit(_asked: ModelRequest, _: int) -> Reply:
    """An answer that keeps no schema of a review."""
    return say(json.dumps({"summary": "Looks good.", "findings": [{"severity": "terrible"}]}))


def fix_failing_test(model_request: ModelRequest, _: int) -> Reply:
    """Runs the prompt's command, finds the line that the hint names, patches it, and runs the
    command again."""
    instruction = re.search(r"in (\S+) `(.+?)` should be `(.+?)`", model_request.prompt)
    command = _between(model_request.prompt, "The command that shows it:\n\n    ", "\n")
    if instruction is None or not command:
        return say("Not fixed: this model needs a hint, in <path> `<old>` should be `<new>`.")
    path, old, new = instruction.groups()
    match model_request.step:
        case 0:
            return run(model_request, command, wait_seconds=30)
        case 1:
            return run(model_request, f"grep -F -- {shlex.quote(old)} {shlex.quote(path)}")
        case 2:
            lines = _output(model_request).splitlines() or [old]
            changes = "".join(f"@@\n-{line}\n+{line.replace(old, new)}\n" for line in lines)
            patch = f"*** Begin Patch\n*** Update File: {path}\n{changes}*** End Patch"
            return run(model_request, f"apply_patch <<'PATCH'\n{patch}\nPATCH")
        case 3:
            return run(model_request, command, wait_seconds=30)
        case _:
            last = "\n".join(_output(model_request).splitlines()[-3:])
            return say(
                f"`{path}` said `{old}` where it had to say `{new}`; changed that"
                f" line.\n\n```text\n{last}\n```"
            )


def release_notes(model_request: ModelRequest, _: int) -> Reply:
    """Sorts the subjects of the commits since the prompt's version into sections, by their first
    word."""
    if model_request.step == 0:
        since = shlex.quote(_between(model_request.prompt, "everything in `git log ", "..HEAD`"))
        return run(model_request, f"git log --reverse --format='%h %s' {since}..HEAD")
    lines: dict[str, list[str]] = {name: [] for name, _ in SECTIONS}
    for commit, _space, subject in (
        line.partition(" ") for line in _output(model_request).splitlines()
    ):
        section = next(name for name, pattern in SECTIONS if pattern.match(subject))
        lines[section].append(f"- {subject} ({commit})")
    version = _between(
        model_request.prompt, "Write release notes for version ", " of the Git repository"
    )
    parts = [f"### {name}\n\n" + "\n".join(found) for name, found in lines.items() if found]
    return say("\n\n".join([f"## {version}", *parts]))


def _between(text: str, before: str, after: str) -> str:
    return text.partition(before)[2].partition(after)[0].strip()


def _output(model_request: ModelRequest) -> str:
    """What the last command printed, line ends and indentation as they were."""
    output = model_request.output or ""
    try:  # code mode: the last line is JSON
        return str(json.loads(output.rsplit("\n", 1)[-1])["output"]).strip("\n")
    except (ValueError, KeyError, TypeError):
        return output.partition("Output:\n")[2].strip("\n")


def _added(diff: str) -> list[tuple[str, int, str]]:
    """(path, line number, text) of each added line."""
    added: list[tuple[str, int, str]] = []
    path = ""
    line = 0
    for text in diff.splitlines():
        if text.startswith("+++ "):
            path = text[4:].removeprefix("b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)", text):
            line = int(hunk.group(1))
        elif text.startswith("+"):
            added.append((path, line, text[1:]))
            line += 1
    return added
