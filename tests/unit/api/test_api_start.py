"""POST /runs/start: what is accepted, what is refused, and what stays behind."""

import asyncio
import json

import pytest
from apistand import Stand

from codexrun_core.errors import Unavailable
from codexrun_core.runs.queue_position import MIN_GOOD_RUNS


async def rows(stand: Stand) -> dict[str, int]:
    from codexrun_core.runs.filters import Filter

    return await stand.registry.counts(Filter())


async def test_a_start_is_202_with_a_row_that_can_be_read_at_once(stand: Stand) -> None:
    started = await stand.start(headers={"X-Request-ID": "req-1"})
    assert started.status_code == 202, started.text
    run = started.json()
    assert (run["status"], run["params"], run["requested_by"], run["origin"]) == (
        "starting",
        {"name": "world"},
        "shared",
        "api",
    )
    assert started.headers["Location"] == f"/runs/{run['run_id']}"
    assert started.headers["X-Request-ID"] == "req-1"
    assert (await stand.http.get(started.headers["Location"])).json()["run_id"] == run["run_id"]
    assert (await stand.http.get(f"/runs/{run['name']}")).json()["run_id"] == run["run_id"]
    annotations = stand.kube.run(run["name"])["metadata"]["annotations"]
    assert annotations["codexrun.dev/request-id"] == "req-1"
    assert stand.kube.run(run["name"])["spec"]["whenFull"] == "Reject"


async def test_full_and_reject_is_429_and_leaves_nothing(stand: Stand) -> None:
    stand.operator.limit = 0
    refused = await stand.start()
    assert (refused.status_code, refused.json()["code"]) == (429, "concurrency-limit")
    assert int(refused.headers["Retry-After"]) == refused.json()["retry_after"] >= 1
    await stand.mirrored()
    assert stand.kube.run_names == []
    assert await rows(stand) == {}


async def test_of_many_starts_at_once_exactly_the_limit_is_accepted(stand: Stand) -> None:
    stand.operator.limit = 5
    answers = await asyncio.gather(*(stand.start() for _ in range(50)))
    assert sorted(a.status_code for a in answers) == [202] * 5 + [429] * 45
    await stand.mirrored()
    assert len(stand.kube.run_names) == 5
    assert await rows(stand) == {"starting": 5}


async def test_queue_says_position_and_eta(stand: Stand) -> None:
    stand.operator.limit = 2
    for _ in range(MIN_GOOD_RUNS):
        await stand.finish((await stand.start()).json()["name"])
    for _ in range(2):
        await stand.start()
    queued = [(await stand.start(when_full="Queue")).json() for _ in range(2)]
    assert [run["status"] for run in queued] == ["queued", "queued"]
    # Of runs made in the same second the id decides.
    again = [(await stand.http.get(f"/runs/{run['run_id']}")).json()["queue"] for run in queued]
    assert sorted(place["position"] for place in again) == [1, 2]
    assert all(place["eta_seconds"] >= 1 for place in again)


async def test_wrong_inputs_are_422_with_a_pointer_and_leave_nothing(stand: Stand) -> None:
    refused = await stand.start(inputs={})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-inputs")
    assert refused.json()["errors"][0]["pointer"] == "/inputs/name"
    assert stand.kube.run_names == []
    await stand.mirrored()
    assert await rows(stand) == {}


async def test_an_unknown_job_type_is_404_and_nothing_is_made(stand: Stand) -> None:
    refused = await stand.start(job_type="nope")
    assert (refused.status_code, refused.json()["code"]) == (404, "job-type-not-found")
    assert stand.kube.run_names == []


async def test_another_namespace_is_422(stand: Stand) -> None:
    refused = await stand.start(namespace="other")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/namespace"


async def test_a_missing_prompt_version_is_422_without_waiting_a_minute(stand: Stand) -> None:
    message = 'spec.promptVersion: there is no prompt "hello" v9 in this namespace'
    stand.kube.on_create = lambda path, raw: stand.kube.status(
        path.rpartition("/")[2], "Pending", reason="PromptNotFound", message=message
    )
    refused = await stand.start(prompt_version="v9")
    assert (refused.status_code, refused.json()["code"]) == (422, "prompt-not-found")
    assert refused.json()["errors"][0]["pointer"] == "/prompt_version"
    assert stand.kube.run_names == []


@pytest.mark.parametrize("verdict_seconds", [0.0])
async def test_no_verdict_is_503_for_reject_and_the_object_is_deleted(stand: Stand) -> None:
    stand.kube.on_create = lambda path, raw: None
    refused = await stand.start()
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert stand.kube.run_names == []


@pytest.mark.parametrize("verdict_seconds", [0.0])
async def test_no_verdict_is_202_pending_for_queue_and_it_has_a_row(stand: Stand) -> None:
    stand.kube.on_create = lambda path, raw: None
    started = await stand.start(when_full="Queue")
    assert (started.status_code, started.json()["status"]) == (202, "pending")
    name = started.json()["name"]
    assert "codexrun.dev/delete-if-rejected" not in stand.kube.run(name)["metadata"]["annotations"]
    assert await rows(stand) == {"pending": 1}
    stand.operator.reject(name, "InvalidInputs", "too late to tell the caller")
    await stand.mirrored()
    assert await rows(stand) == {"rejected": 1}


async def test_the_apiserver_away_is_503(stand: Stand) -> None:
    stand.kube.down = {"create"}
    refused = await stand.start()
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")


async def test_a_lost_answer_to_the_create_makes_one_run(stand: Stand) -> None:
    stand.kube.lost = 1
    started = await stand.start()
    assert started.status_code == 202
    assert "Idempotent-Replayed" not in started.headers
    assert stand.kube.run_names == [started.json()["name"]]


async def test_registry_away_the_start_is_accepted_and_the_row_comes_later(
    stand: Stand, monkeypatch: object
) -> None:
    record = stand.registry.record

    async def away(run: object) -> None:
        raise Unavailable("the registry is away")

    stand.registry.record = away  # type: ignore[method-assign,assignment]
    started = await stand.start()
    assert started.status_code == 202
    stand.registry.record = record  # type: ignore[method-assign]
    await stand.mirrored()
    assert await rows(stand) == {"starting": 1}


async def test_the_same_key_is_the_same_run(stand: Stand) -> None:
    first, again = [await stand.start(headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert first.json()["run_id"] == again.json()["run_id"]
    assert (first.status_code, again.status_code) == (202, 202)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(stand.kube.run_names) == 1


async def test_the_same_key_at_once_is_one_run(stand: Stand) -> None:
    answers = await asyncio.gather(
        *(stand.start(headers={"Idempotency-Key": "k1"}) for _ in range(10))
    )
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["run_id"] for a in answers}) == 1


async def test_the_same_key_with_another_body_is_422(stand: Stand) -> None:
    await stand.start(headers={"Idempotency-Key": "k1"})
    other = await stand.start(headers={"Idempotency-Key": "k1"}, inputs={"name": "moon"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


async def test_a_429_is_not_repeated(stand: Stand) -> None:
    stand.operator.limit = 0
    assert (await stand.start(headers={"Idempotency-Key": "k1"})).status_code == 429
    stand.operator.limit = 1
    assert (await stand.start(headers={"Idempotency-Key": "k1"})).status_code == 202


async def test_the_key_is_remembered_when_the_object_is_gone(stand: Stand) -> None:
    first = (await stand.start(headers={"Idempotency-Key": "k1"})).json()
    await stand.finish(first["name"])
    stand.kube.remove(f"{stand.kube.runs}/{first['name']}")
    await stand.mirrored()
    again = await stand.start(headers={"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()["run_id"]) == (202, first["run_id"])
    assert stand.kube.run_names == []


async def test_a_taken_name_is_409(stand: Stand) -> None:
    assert (await stand.start(name="mine")).status_code == 202
    assert (await stand.start(name="mine")).json()["code"] == "name-taken"


async def test_wait_answers_when_the_run_has_ended(stand: Stand) -> None:
    waiting = asyncio.create_task(
        stand.http.post("/runs/start?wait=60", json={"job_type": "hello", "inputs": {"name": "x"}})
    )

    async def begun() -> bool:
        return bool(stand.kube.run_names)

    await stand.settle(begun)
    await stand.finish(stand.kube.run_names[0], result={"message": "hi"})
    answer = await waiting
    assert (answer.status_code, answer.json()["status"], answer.json()["result"]) == (
        200,
        "succeeded",
        "hi",
    )


async def test_an_ended_run_has_its_output_as_json(stand: Stand) -> None:
    """In a list too; what is null in it stays, and what does not exist is absent."""
    name = (await stand.start()).json()["name"]
    output = {"findings": [{"line": 3, "column": None}], "grade": "A"}
    message = json.dumps(output)
    await stand.finish(name, result={"message": message, "truncated": False, "output": output})
    await stand.mirrored()
    run = (await stand.http.get(f"/runs/{name}")).json()
    assert (run["result"], run["result_truncated"], run["output"]) == (message, False, output)
    assert (await stand.http.get("/runs")).json()["runs"][0]["output"] == output
    plain = (await stand.start()).json()["name"]
    await stand.finish(plain, result={"message": "Done.", "truncated": True})
    await stand.mirrored()
    run = (await stand.http.get(f"/runs/{plain}")).json()
    assert run["result_truncated"] is True
    assert "output" not in run


async def test_a_wait_that_the_run_outlasts_is_still_202(stand: Stand) -> None:
    answer = await stand.http.post(
        "/runs/start?wait=0.01", json={"job_type": "hello", "inputs": {"name": "x"}}
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "starting")


async def test_a_run_says_what_it_is_about(stand: Stand) -> None:
    started = (await stand.start(inputs={"name": "Berlin"})).json()
    await stand.mirrored()
    listed = (await stand.http.get("/runs")).json()["runs"]
    assert [started["title"], *(run["title"] for run in listed)] == ["Berlin", "Berlin"]
