"""Other names of the same, and what of a run changes after its start."""

from datetime import UTC, datetime
from urllib.parse import urljoin

import pytest
from apistand import Stand

from codexrun_api.app import openapi_document


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


DEPRECATED = [
    (method, path)
    for path, operations in openapi_document()["paths"].items()
    for method, operation in operations.items()
    if operation.get("deprecated")
]


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(("method", "path"), DEPRECATED)
async def test_every_answer_of_an_older_name_says_which_name_is_newer(
    stand: Stand, method: str, path: str, prefix: str
) -> None:
    """RFC 9745 and RFC 8288; errors too, since a script may see nothing else."""
    body = {"job_type": "hello", "inputs": {"name": "x"}}
    for json, code in ((body, 202), ({}, 422)):
        old = await stand.http.request(method, prefix + path, json=json)
        assert (old.status_code, old.headers["Deprecation"][0]) == (code, "@")
        assert datetime.fromtimestamp(int(old.headers["Deprecation"][1:]), UTC).year >= 2026
        assert old.links["successor-version"]["url"] == "../runs"
        newer = urljoin(str(old.url), old.links["successor-version"]["url"])
        new = await stand.http.request(method, newer, json=json)
        assert (new.status_code, new.url.path) == (code, f"{prefix}/runs")
        assert "Deprecation" not in new.headers


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
