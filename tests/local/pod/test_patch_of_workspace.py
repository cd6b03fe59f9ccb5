"""The patch of what an agent changed: nothing that it changed may be missing."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

from codexrun_pod.runner.logs import artifacts

LONG_AGO = 1_700_000_000 * 10**9  # ns


def test_a_change_of_the_same_size_within_the_second_of_the_checkout_is_in_it(
    tmp_path: Path,
) -> None:
    """Git tells an unchanged file by size and time, but where the file is as young as the index
    ("racy git")."""
    at = tmp_path / "workspace"
    at.mkdir()

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
        subprocess.run(["git", *who, *arguments], cwd=at, check=True, capture_output=True)

    file = at / "cart.py"
    index = at / ".git/index"
    git("init", "-q")
    git("config", "core.trustctime", "false")  # the one time that no test can set
    file.write_text("total + discount\n")
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    git("add", "--all")
    git("commit", "-q", "-m", "first")
    file.write_text("total - discount\n")
    for path in (file, index):
        os.utime(path, ns=(LONG_AGO, LONG_AGO))

    settings = SimpleNamespace(workspace=at, tmp=tmp_path, home=tmp_path)
    assert b"+total - discount" in artifacts.patch(settings, "HEAD")  # type: ignore[arg-type]
