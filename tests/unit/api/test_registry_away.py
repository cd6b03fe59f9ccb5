"""The registry is away from before the api started: what answers what, as docs/architecture.md has
it, and all of it afterwards."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from apistand import TOKEN, Stand, hello_cluster, serving

from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the database is to be; there is none while this is not there."""
    return tmp_path / "volume"


@pytest.fixture
async def early(settings: Settings, folder: Path) -> AsyncIterator[Stand]:
    """An api that serves, over a cluster that has a run of before, which has ended."""
    settings = replace(settings, registry_url=f"sqlite:///{folder}/registry.db")
    kube = hello_cluster()
    body = {"metadata": {"name": "before"}, "spec": {"jobType": "hello", "inputs": {"name": "x"}}}
    kube.put(kube.runs, body)
    kube.status("before", "Succeeded", finishedAt="2026-01-31T12:00:30Z")
    async with await Registry.open(settings.registry_url) as registry:
        services = Services.make(settings, registry, kube)
        services.archive.open()
        async with serving(services, kube) as made:
            yield made


async def test_what_answers_what(early: Stand) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/jobtypes", "/openapi.json"):
        assert (await early.http.get(path)).status_code == 200, path
    run = await early.start(name="mine")
    assert (run.status_code, run.json()["status"]) == (202, "starting")
    for name, status in (("mine", "starting"), ("before", "succeeded")):
        shown = await early.http.get(f"/runs/{name}")
        assert (shown.status_code, shown.json()["status"]) == (200, status)
        details = await early.http.get(f"/runs/{name}/details")
        assert (details.status_code, "transitions" in details.json()) == (200, False)
    assert (await early.http.post("/runs/mine/cancel", json={})).status_code == 202
    assert (await early.http.post("/runs/before/retry", json={})).status_code == 202
    for path in ("/runs", "/stats", "/runs/nobody"):
        refused = await early.http.get(path)
        assert refused.status_code == 503, path
        assert refused.headers["content-type"] == "application/problem+json"
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["detail"].startswith("registry: ")
    cleanup = await early.http.post("/cleanup", json={})
    assert cleanup.status_code == 503


async def test_the_console_says_so(early: Stand) -> None:
    early.services.mirror.writer._away_since -= 60
    await early.http.post("/console/login", data={"token": TOKEN})
    page = await early.http.get("/console/runs")
    assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert int(page.headers["retry-after"]) > 0
    assert "registry unavailable for 6" in page.text
    assert (await early.http.get("/console/runs/before")).status_code == 200
    assert (await early.http.get("/console/start/hello")).status_code == 200


async def test_rows_follow_when_it_comes(early: Stand, folder: Path) -> None:
    run_id = (await early.start(name="mine")).json()["run_id"]
    assert early.services.mirror.writer.lag > 0
    await asyncio.to_thread(folder.mkdir)
    await early.registry.migrate()
    await early.mirrored()
    assert early.services.mirror.writer.away is False
    listed = (await early.http.get("/runs")).json()["runs"]
    assert {run["name"]: run["status"] for run in listed} == {
        "mine": "starting",
        "before": "succeeded",
    }
    transitions = await early.registry.events(run_id)
    assert [event.status for event in transitions] == ["starting"]
