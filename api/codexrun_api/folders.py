"""Removes what the archive holds of a run. The archive itself (logs, artifacts) brings its own `remove` and replaces this."""

import shutil
from pathlib import Path


class Folders:
    def __init__(self, root: Path) -> None:
        self._runs = root / "runs"

    def remove(self, run_id: str) -> None:
        """Its folder and all in it; one that is not there is removed already."""
        folder = self._runs / run_id
        if folder.parent != self._runs or run_id in ("", ".", ".."):
            raise ValueError(f"{run_id!r} is no run id")
        shutil.rmtree(folder, ignore_errors=True)
