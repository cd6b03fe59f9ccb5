"""The apiserver in memory is that of tests/api, the command line's stand that of tests/cli."""

import sys
from pathlib import Path

for folder in ("api", "cli"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / folder))
