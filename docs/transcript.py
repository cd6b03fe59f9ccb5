"""`make transcript`: type commands into the running cluster and write down what they say.

    python docs/transcript.py > docs/transcript.txt

Nothing is edited afterwards; README.md shows the file as it is, and a test holds the two together.
"""

import os
import subprocess
import sys
from pathlib import Path

COMMANDS = [
    "codexrun start hello -p name=world --follow",
    "codexrun list --job-type hello --limit 1",
    "codexrun status @latest",
    "codexrun start hello -p name=Berlin",
    'codexrun cancel @latest --reason "wrong city" --wait',
    "codexrun retry @latest --set name=Bern --wait",
]


def main() -> int:
    """Each command as a person would type it, its output in the order in which it came."""
    environment = {**os.environ, "COLUMNS": "100", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for command in COMMANDS:
        sys.stdout.write(f"$ {command}\n")
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S602 - the commands above
            command, shell=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        sys.stdout.write(done.stdout + "\n")
        if done.returncode:
            sys.stderr.write(f"{command}: exit {done.returncode}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
