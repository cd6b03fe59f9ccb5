"""The api as a process whose registry comes later, or has a schema that it cannot work on."""

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from api_process import PATIENCE_SECONDS, ApiProcess, running
from apistand import TOKEN

from codexrun_core.registry import schema

UID = "11111111-2222-3333-4444-555555555555"


def get(api: ApiProcess, path: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{api.port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_serves_before_its_registry_answers_and_migrates_then(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    url = f"sqlite:///{volume}/registry.db"
    api = ApiProcess(tmp_path / "api", [running("mine", UID)], registry_url=url)
    try:
        assert get(api, "/healthz")[0] == 200
        assert get(api, "/runs")[0] == 503
        code, shown = get(api, "/runs/mine")
        assert (code, shown["status"]) == (200, "running")
        volume.mkdir()
        wait_until(lambda: get(api, "/runs")[0] == 200)
        wait_until(lambda: [run["name"] for run in get(api, "/runs")[1]["runs"]] == ["mine"])
        assert api.stop() == 0
    finally:
        api.kill()


def test_a_schema_that_it_cannot_work_on_ends_it_and_says_so(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        schema.upgrade(connection)
        connection.execute(sa.text("ALTER TABLE run_events DROP COLUMN reason"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with contextlib.suppress(AssertionError):  # it may have ended before it was ready
        api = ApiProcess(tmp_path / "api", registry_url=url)
        wait_until(lambda: api.process.poll() is not None)
    log = (tmp_path / "api/api.log").read_text()
    assert "SchemaError: registry: a newer codexrun has migrated the database" in log
    assert "run_events.reason is missing" in log
