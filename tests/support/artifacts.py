"""Artifacts, put into the archive without a gate."""

import contextlib

from codexrun_api.archive.archive import Archive


def store_artifact(archive: Archive, run_id: str, name: str, data: bytes) -> None:
    with contextlib.closing(archive.open_artifact(run_id, name)) as file:
        file.write(data)
        file.commit()
