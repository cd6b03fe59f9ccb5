"""The hook's answer: may Codex call this tool? It sees each call by its true name, whatever script
it comes from.

Codex goes on if a hook breaks, so everything that goes wrong here forbids the call (exit code 2).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Sequence  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.codex import tools

RECORD = "forbidden-tool"  # in CODEX_HOME; the runner ends the run when it is there
FORBID = 2


def main(argv: Sequence[str] = sys.argv) -> int:
    """0 if the job type allows the call that stands on stdin as JSON, else 2 with the reason on
    stderr."""
    try:
        call = json.load(sys.stdin)
        name = str(call["tool_name"])
        what = f"the tool {name}"
        if tools.permits(argv[1:], tools.required_entry(name, call.get("tool_input"))):
            return 0
    except Exception as error:  # whatever it is: fail closed
        name = what = f"a tool call that cannot be read ({type(error).__name__})"
    message = f"the job type does not allow {what}"
    sys.stderr.write(message)
    sys.stderr.flush()
    try:
        with (Path(os.environ["CODEX_HOME"]) / RECORD).open("a", encoding="utf-8") as record:
            record.write(f"{name}\n")
    except (OSError, KeyError):
        pass
    return FORBID
