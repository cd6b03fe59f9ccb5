"""The REST facade against the real operator: the same runs as kubectl's, and answers that are the
operator's verdict."""

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from lab import NAMESPACE, Json, Lab
from rest_facade import Facade


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=5)


def test_start_row_cancel_retry(lab: Lab, facade: Facade, job_type: str) -> None:
    started = facade.start(job_type, "sleep-100")
    assert started.status_code == 202, started.text
    run_id = started.json()["run_id"]
    assert started.headers["location"] == f"/runs/{run_id}"
    assert facade.http.get(f"/runs/{run_id}").status_code == 200  # read your writes
    facade.until(run_id, "running")
    assert facade.http.post(
        f"/runs/{run_id}/cancel", json={"reason": "wrong branch"}
    ).status_code in (200, 202)
    cancelled = facade.until(run_id, "cancelled")
    assert cancelled["finished_at"]
    name = cancelled["name"]
    status = lab.custom.get_namespaced_custom_object(
        "codexrun.dev", "v1alpha1", NAMESPACE, "codexruns", name
    )["status"]
    assert status["message"] == "Cancelled by shared: wrong branch"
    retried = facade.http.post(
        f"/runs/{run_id}/retry", params={"wait": 60}, json={"inputs": {"scenario": "message"}}
    )
    assert retried.status_code == 200, retried.text  # it has ended
    assert (retried.json()["status"], retried.json()["retry_of"]) == ("succeeded", run_id)


def test_a_run_by_kubectl_is_a_row_too(lab: Lab, facade: Facade, job_type: str) -> None:
    run = lab.ended(lab.run(job_type, "message"))
    row = facade.until(run["metadata"]["uid"], "succeeded")
    usage = run["status"]["usage"]
    assert (row["cost_tokens"], row["usage"]["cost_micro_usd"]) == (
        usage["totalTokens"],
        usage["costMicroUSD"],
    )
    assert row["origin"] == "kubectl"
    listed = facade.http.get("/runs", params={"job_type": job_type, "status": "succeeded"}).json()[
        "runs"
    ]
    assert run["metadata"]["uid"] in [r["run_id"] for r in listed]


def test_an_estimate_has_the_same_bound_in_status_and_row(lab: Lab, facade: Facade) -> None:
    run = lab.ended(lab.run(lab.job_type(), "no-usage"))
    usage = run["status"]["usage"]
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert usage["complete"] is False
    row = facade.until(run["metadata"]["uid"], "succeeded")
    assert row["usage"]["at_most_tokens"] == usage["atMostTokens"] > row["cost_tokens"]


def test_fifty_starts_at_once_against_five_slots_give_five(lab: Lab, facade: Facade) -> None:
    job_type = lab.job_type(concurrencyLimit=5)
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: facade.start(job_type, "sleep-100"), range(50)))
    assert sorted({a.status_code for a in answers}) == [202, 429]
    accepted = [a.json() for a in answers if a.status_code == 202]
    assert len(accepted) == 5
    assert all(int(a.headers["retry-after"]) > 0 for a in answers if a.status_code == 429)
    selector = f"spec.jobType={job_type}"
    objects = lab.custom.list_namespaced_custom_object(
        "codexrun.dev", "v1alpha1", NAMESPACE, "codexruns", field_selector=selector
    )["items"]
    # nothing is left of the refused
    assert {o["metadata"]["uid"] for o in objects} == {a["run_id"] for a in accepted}
    cancelled = facade.http.post(
        "/runs/cancel", json={"filter": {"job_type": job_type}, "reason": "enough"}
    )
    assert cancelled.status_code in (200, 202), cancelled.text
    for run in accepted:
        facade.until(run["run_id"], "cancelled")


WRONG = [
    ({"job_type": "nowhere"}, 404, "job-type-not-found"),
    ({"inputs": {"scenari": "hello"}}, 422, "invalid-inputs"),
    ({"limits": {"timeout_seconds": 10**6}}, 422, None),
    ({"model": "gpt-4"}, 422, "model-not-allowed"),
    ({"image": "evil"}, 422, None),
]


@pytest.mark.parametrize(("change", "status", "code"), WRONG, ids=[str(row[0]) for row in WRONG])
def test_wrong_starts_are_problems_and_leave_nothing(
    lab: Lab, facade: Facade, job_type: str, change: Json, status: int, code: str | None
) -> None:
    before = facade.http.get("/runs", params={"job_type": job_type}).json()["runs"]
    body = {"job_type": job_type, "inputs": {"scenario": "hello"}, **change}
    answer = facade.http.post("/runs/start", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["request_id"] == answer.headers["x-request-id"]
    if code:
        assert problem["code"] == code
    assert facade.http.get("/runs", params={"job_type": job_type}).json()["runs"] == before


def test_an_idempotency_key_makes_one_run(lab: Lab, facade: Facade, job_type: str) -> None:
    headers = {"Idempotency-Key": f'"{lab.name("key")}"'}
    body = {"job_type": job_type, "inputs": {"scenario": "message"}}
    first, again = (facade.http.post("/runs/start", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["run_id"] == again.json()["run_id"]
    other = facade.http.post("/runs/start", json={**body, "priority": 3}, headers=headers)
    assert other.status_code == 422


@pytest.mark.parametrize("token", ["", "wrong", "Bearer"], ids=["none", "wrong", "scheme only"])
def test_without_the_token_nothing_is_told(lab: Lab, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx.get(f"{lab.env['CODEX_CONTROL_URL']}/runs", headers=headers)
    assert answer.status_code == 401
