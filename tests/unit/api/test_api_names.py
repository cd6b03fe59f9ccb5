"""Other names of the same, and what of a run changes after its start."""

import pytest
from apistand import Stand


async def test_a_version_may_stand_before_every_path(stand: Stand) -> None:
    run = (await stand.start()).json()
    for path in ("/runs", f"/runs/{run['run_id']}", "/jobtypes", "/openapi.json"):
        plain, versioned = await stand.http.get(path), await stand.http.get(f"/v1{path}")
        assert (versioned.status_code, versioned.json()) == (200, plain.json()), path


@pytest.mark.parametrize("path", ["/v1", "/v2/runs", "/v1runs", "/v1/v1/runs"])
async def test_other_prefixes_name_nothing(stand: Stand, path: str) -> None:
    assert (await stand.http.get(path)).status_code == 404


async def test_a_run_is_posted_to_the_runs(stand: Stand) -> None:
    body = {"job_type": "hello", "inputs": {"name": "x"}}
    created = await stand.http.post("/v1/runs", json=body, headers={"Idempotency-Key": '"k"'})
    again = await stand.http.post("/runs/start", json=body, headers={"Idempotency-Key": '"k"'})
    assert (created.status_code, again.json()["run_id"]) == (202, created.json()["run_id"])


async def test_a_priority_can_change_until_the_end(stand: Stand) -> None:
    name = (await stand.start()).json()["name"]
    await stand.mirrored()
    changed = await stand.http.patch(f"/runs/{name}", json={"priority": 7})
    assert (changed.status_code, changed.json()["priority"]) == (200, 7)
    assert stand.kube.run(name)["spec"]["priority"] == 7
    await stand.finish(name)
    late = await stand.http.patch(f"/runs/{name}", json={"priority": 8})
    assert (late.status_code, late.json()["code"]) == (409, "run-finished")
    assert (await stand.http.patch("/runs/nobody", json={"priority": 1})).status_code == 404


@pytest.mark.parametrize("body", [{}, {"priority": 2000}, {"priority": "1"}, {"model": "x"}])
async def test_nothing_else_can_change(stand: Stand, body: dict[str, object]) -> None:
    name = (await stand.start()).json()["name"]
    assert (await stand.http.patch(f"/runs/{name}", json=body)).status_code == 422


async def test_an_ended_run_is_deleted_and_its_row_stays(stand: Stand) -> None:
    name = (await stand.start()).json()["name"]
    await stand.mirrored()
    early = await stand.http.delete(f"/runs/{name}")
    assert (early.status_code, early.json()["code"]) == (409, "run-not-finished")
    await stand.finish(name)
    assert (await stand.http.delete(f"/runs/{name}")).status_code == 200
    assert stand.kube.run_names == []
    await stand.mirrored()
    assert (await stand.http.get(f"/runs/{name}")).json()["status"] == "succeeded"
    assert (await stand.http.delete(f"/runs/{name}")).status_code == 200, "twice is once"


async def test_who_am_i(stand: Stand) -> None:
    assert (await stand.http.get("/whoami")).json() == {"user": "shared"}
