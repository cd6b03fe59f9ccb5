"""`make transcript`: type commands into the running cluster and write into README.md what they say.

Nothing is edited afterwards; a test looks that the block has exactly the commands below.
"""

import os
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
MARK = (
    "<!-- not run: `make transcript` wrote it, from the commands in docs/transcript.py"
    " -->\n```text\n"
)
END = "```\n"

# Each with what it is there to show: under load a run may end before it is cancelled, and that
# would teach nothing.
COMMANDS = {
    "codexrun start hello -p name=world --follow": "succeeded, after",
    "codexrun list --job-type hello --limit 1": "succeeded",
    "codexrun status @latest": "Conditions:",
    "codexrun start hello -p name=Berlin": "hello-",
    'codexrun cancel @latest --reason "wrong city" --wait': "cancelled after",
    "codexrun retry @latest --set name=Bern --wait": "Hello, Bern!",
}


def typed(command: str) -> str:
    """A command as a person would type it, and its output in the order in which it came.

    Raises:
        SystemExit: it failed, or came to something else; nothing is written then.
    """
    environment = {
        **os.environ,
        "COLUMNS": "100",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(  # noqa: S602 - the commands above
        command,
        shell=True,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode or COMMANDS[command] not in done.stdout:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stdout}")
    return f"$ {command}\n{done.stdout}"


def with_transcript(readme: str, transcript: str) -> str:
    """The README with its block replaced. Pure."""
    before, mark, rest = readme.partition(MARK)
    if not mark:
        raise SystemExit(f"README.md has no place for it: {MARK}")
    return before + mark + transcript + END + rest.partition(END)[2]


if __name__ == "__main__":
    shown = "\n".join(map(typed, COMMANDS))
    README.write_text(with_transcript(README.read_text(encoding="utf-8"), shown), encoding="utf-8")
