"""GET /runs/{id}/details: limits in force, conditions, and every transition."""

from apistand import Stand
from fake_cluster import condition
from manifests import job_type

from codexrun_core.errors import Unavailable


async def details(stand: Stand, wanted: str) -> dict:
    answer = await stand.http.get(f"/runs/{wanted}/details")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_conditions_and_transitions_are_told_in_their_order(stand: Stand) -> None:
    name = (await stand.start()).json()["name"]
    stand.kube.status(
        name,
        "Running",
        reason="AgentRunning",
        attempt=1,
        conditions=[condition("Admitted"), condition("Started")],
    )
    await stand.mirrored()
    shown = await details(stand, name)
    assert [(one["type"], one["status"]) for one in shown["conditions"]] == [
        ("Admitted", "True"),
        ("Started", "True"),
    ]
    assert shown["conditions"][0].keys() == {
        "type",
        "status",
        "reason",
        "message",
        "last_transition_time",
    }
    assert [(one["status"], one["attempt"]) for one in shown["transitions"]] == [
        ("starting", 1),
        ("running", 1),
    ]
    assert shown["transitions"][-1]["reason"] == "AgentRunning"


async def test_another_attempt_has_its_own_transitions(stand: Stand) -> None:
    name = (await stand.start()).json()["name"]
    stand.kube.status(name, "Running", attempt=1)
    stand.kube.status(name, "Starting", attempt=2)
    await stand.finish(name)
    told = [(one["attempt"], one["status"]) for one in (await details(stand, name))["transitions"]]
    assert told[:3] == [(1, "starting"), (1, "running"), (2, "starting")]


async def test_when_the_object_is_gone_its_transitions_stay(stand: Stand) -> None:
    run = (await stand.start()).json()
    await stand.finish(run["name"])
    stand.kube.remove(f"{stand.kube.runs}/{run['name']}")
    await stand.mirrored()
    shown = await details(stand, run["run_id"])
    assert "conditions" not in shown
    assert [one["status"] for one in shown["transitions"]] == ["starting", "succeeded"]


async def test_limits_are_the_runs_own_else_the_job_types(stand: Stand) -> None:
    stand.kube.put(
        stand.kube.job_types, job_type("bounded", limits={"maxTokens": 1000, "maxCostCents": 50})
    )
    await stand.settle(lambda: _known(stand, "bounded"))
    name = (await stand.start(job_type="bounded", limits={"max_tokens": 100})).json()["name"]
    assert (await details(stand, name))["limits"] == {"max_tokens": 100, "max_cost_cents": 50}


async def _known(stand: Stand, name: str) -> bool:
    return name in stand.services.catalog.job_types


async def test_while_the_registry_is_away_the_object_still_speaks(
    stand: Stand, monkeypatch: object
) -> None:
    name = (await stand.start()).json()["name"]
    await stand.mirrored()

    async def away(*_: object) -> None:
        raise Unavailable("away")

    for method in ("get", "find_by_name", "events"):
        monkeypatch.setattr(stand.registry, method, away)
    shown = await details(stand, name)
    assert shown["conditions"]
    assert "transitions" not in shown


async def test_a_run_that_is_not_there_is_404(stand: Stand) -> None:
    assert (await stand.http.get("/runs/nowhere/details")).status_code == 404
