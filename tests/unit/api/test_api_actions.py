"""Cancel and retry, one and many."""

import pytest
from apistand import Stand

from codexrun_core.resources import CodexRun


async def running(stand: Stand, **body: object) -> dict:
    run = (await stand.start(**body)).json()
    stand.kube.status(run["name"], "Running", startedAt="2026-01-31T12:00:00Z")
    await stand.mirrored()
    return run


async def test_cancel_asks_once_however_often(stand: Stand) -> None:
    run = await running(stand)
    for reason in ("superseded", "again"):
        answer = await stand.http.post(f"/runs/{run['run_id']}/cancel", json={"reason": reason})
        assert answer.status_code == 202, answer.text
    assert stand.kube.run(run["name"])["spec"]["cancel"] == {
        "requestedBy": "shared",
        "reason": "superseded",
    }


async def test_cancel_needs_no_body_and_takes_a_name(stand: Stand) -> None:
    run = await running(stand)
    assert (await stand.http.post(f"/runs/{run['name']}/cancel")).status_code == 202


async def test_cancel_of_a_cancelled_run_is_202_and_of_a_finished_one_409(stand: Stand) -> None:
    one = await running(stand)
    two = await running(stand)
    await stand.finish(one["name"], "Cancelled")
    await stand.finish(two["name"])
    assert (await stand.http.post(f"/runs/{one['run_id']}/cancel")).status_code == 202
    late = await stand.http.post(f"/runs/{two['run_id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "run-finished")


async def test_cancel_and_retry_of_an_unknown_run_are_404(stand: Stand) -> None:
    for action in ("cancel", "retry"):
        answer = await stand.http.post(f"/runs/nobody/{action}")
        assert (answer.status_code, answer.json()["code"]) == (404, "run-not-found")


async def test_retry_differs_only_where_asked(stand: Stand) -> None:
    run = await running(stand, priority=3)
    await stand.finish(run["name"], "Failed")
    answer = await stand.http.post(
        f"/runs/{run['run_id']}/retry", json={"inputs": {"name": "moon"}}
    )
    assert answer.status_code == 202, answer.text
    again = answer.json()
    assert (again["retry_of"], again["retry_of_name"]) == (run["run_id"], run["name"])
    spec = stand.kube.run(again["name"])["spec"]
    before = CodexRun.model_validate(stand.kube.run(run["name"])).spec.dump()
    assert {k: v for k, v in spec.items() if k not in ("retryOf", "inputs")} == {
        k: v for k, v in before.items() if k != "inputs"
    }
    assert spec["inputs"] == {"name": "moon"}


async def test_a_retry_that_goes_on_is_the_retry_and_one_that_ended_is_not(stand: Stand) -> None:
    run = await running(stand)
    await stand.finish(run["name"], "Failed")
    first, second = [
        (await stand.http.post(f"/runs/{run['run_id']}/retry")).json() for _ in range(2)
    ]
    assert first["run_id"] == second["run_id"]
    await stand.finish(first["name"], "Failed")
    third = (await stand.http.post(f"/runs/{run['run_id']}/retry")).json()
    assert third["run_id"] != first["run_id"]


async def test_retry_of_a_run_whose_object_is_gone(stand: Stand) -> None:
    run = await running(stand)
    await stand.finish(run["name"], "Failed")
    stand.kube.remove(f"{stand.kube.runs}/{run['name']}")
    await stand.mirrored()
    again = await stand.http.post(f"/runs/{run['run_id']}/retry")
    assert (again.status_code, again.json()["params"]) == (202, {"name": "world"})


async def test_retry_of_a_run_that_has_not_ended_is_409(stand: Stand) -> None:
    run = await running(stand)
    answer = await stand.http.post(f"/runs/{run['run_id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "run-not-finished")


async def test_bulk_cancel_dry_run_changes_nothing(stand: Stand) -> None:
    runs = [await running(stand) for _ in range(2)]
    wish = {"filter": {"job_type": "hello"}, "dry_run": True}
    answer = (await stand.http.post("/runs/cancel", json=wish)).json()
    assert (answer["matched"], {r["outcome"] for r in answer["results"]}) == (2, {"would_do"})
    assert all("cancel" not in stand.kube.run(run["name"])["spec"] for run in runs)


async def test_bulk_cancel_has_a_result_for_each(stand: Stand) -> None:
    one = await running(stand)
    two = await running(stand)
    await stand.finish(two["name"])
    wish = {"ids": [one["run_id"], two["run_id"], "nobody"], "reason": "clean"}
    answer = (await stand.http.post("/runs/cancel", json=wish)).json()
    assert {r["run_id"]: r["outcome"] for r in answer["results"]} == {
        one["run_id"]: "done",
        two["run_id"]: "skipped",
        "nobody": "failed",
    }
    assert stand.kube.run(one["name"])["spec"]["cancel"]["reason"] == "clean"


async def test_bulk_retry_starts_every_failed_run_that_matches(stand: Stand) -> None:
    for phase in ("Failed", "Failed", "Succeeded"):
        await stand.finish((await running(stand))["name"], phase)
    answer = (await stand.http.post("/runs/retry", json={"filter": {"status": "failed"}})).json()
    assert [r["outcome"] for r in answer["results"]] == ["done", "done"]
    assert len({r["new_run_id"] for r in answer["results"]}) == 2


async def test_bulk_actions_by_label(stand: Stand) -> None:
    ours = await running(stand, labels={"team": "a"})
    theirs = await running(stand, labels={"team": "b"})
    wish = {"filter": {"label": "team=a"}}
    assert [
        item["name"]
        for item in (await stand.http.post("/runs/cancel", json=wish)).json()["results"]
    ] == [ours["name"]]
    await stand.finish(theirs["name"], "Failed")
    done = (await stand.http.post("/runs/retry", json={"filter": {"label": "team!=a"}})).json()[
        "results"
    ]
    assert [item["name"] for item in done] == [theirs["name"]]


async def test_a_retry_takes_over_peoples_labels_and_not_those_of_tools(stand: Stand) -> None:
    run = await running(stand, labels={"team": "a", "argocd.argoproj.io/instance": "x"})
    await stand.finish(run["name"], "Failed")
    again = (await stand.http.post(f"/runs/{run['run_id']}/retry")).json()
    assert stand.kube.run(again["name"])["metadata"]["labels"] == again["labels"] == {"team": "a"}


async def test_a_bulk_action_on_everything_is_refused(stand: Stand) -> None:
    for wish in ({}, {"filter": {}}, {"filter": {"status": "failed"}, "ids": ["a"]}):
        assert (await stand.http.post("/runs/cancel", json=wish)).status_code == 422


async def ended_with(stand: Stand, *, gone: bool, **status: object) -> dict:
    """Return a run that has begun and ended; `gone`: its row alone is left."""
    run = await running(stand)
    stored = stand.services.catalog.prompts["hello", "v1"]
    used = {"name": "hello", "version": "v1", "sha256": stored.sha256}
    model = stand.services.catalog.job_types["hello"].spec.model
    await stand.finish(run["name"], "Failed", **{"prompt": used, "model": model, **status})
    if gone:
        stand.kube.remove(f"{stand.kube.runs}/{run['name']}")
        await stand.mirrored()
    return run


@pytest.mark.parametrize("gone", [False, True])
async def test_a_resume_names_the_earlier_run_by_its_uid(stand: Stand, gone: bool) -> None:
    run = await ended_with(stand, gone=gone)
    again = await stand.http.post(f"/runs/{run['run_id']}/retry", json={"resume": True})
    assert again.status_code == 202, again.text
    assert stand.kube.run(again.json()["name"])["spec"]["retryOf"] == {
        "name": run["name"],
        "uid": run["run_id"],
        "resume": True,
    }


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"model": "another"}, "the model of the earlier run is another"),
        (
            {"prompt": {"name": "hello", "version": "v0", "sha256": "f" * 64}},
            "the checksum of the prompt of the earlier run",
        ),
    ],
)
async def test_a_thread_of_another_setup_is_refused_before_a_run_is_made(
    stand: Stand, gone: bool, status: dict, words: str
) -> None:
    run = await ended_with(stand, gone=gone, **status)
    before = stand.kube.run_names
    again = await stand.http.post(f"/runs/{run['run_id']}/retry", json={"resume": True})
    assert (again.status_code, again.json()["code"]) == (422, "resume-not-allowed")
    assert words in again.json()["detail"]
    assert [error["pointer"] for error in again.json()["errors"]] == ["/resume"]
    assert stand.kube.run_names == before


async def test_no_run_passes_for_another_by_a_name_that_is_its_uid(stand: Stand) -> None:
    run = await ended_with(stand, gone=True)
    double = await running(stand, name=run["run_id"])
    record = await stand.services.run_of_id(run["run_id"])
    assert record is not None
    assert (record.run_id, record.name) == (run["run_id"], run["name"])
    assert record.run_id != double["run_id"]
