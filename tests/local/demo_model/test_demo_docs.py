"""The page about the demo model lists what it plays."""

import subprocess
import sys

from docblocks import ROOT


def test_the_table_of_scenarios_is_what_the_program_prints() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "codexrun_demo_model", "--list"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (ROOT / "docs/demo-model.md").read_text().endswith("\n\n" + listed.stdout)
