"""GET /prompts and what is below it: versions, their proof, and how their runs did."""

from dataclasses import replace

from apistand import Stand
from manifests import prompt

from codexrun_core.runs.record import RunRecord


async def fill(stand: Stand) -> None:
    """Three runs of hello v1: two good, one failed."""
    started = await stand.start(name="one")
    base: RunRecord | None = await stand.registry.get(started.json()["run_id"])
    assert base is not None
    for number, (status, tokens, cost) in enumerate(
        [("succeeded", 10, 4), ("succeeded", 30, 6), ("failed", 50, 9)]
    ):
        done = replace(
            base,
            run_id=f"0000000{number}-0000-4000-8000-000000000000",
            name=f"done-{number}",
            status=status,
            rank=9,
            prompt_name="hello",
            prompt_version="v1",
            cost_tokens=tokens,
            cost_micro_usd=cost,
            started_at=base.created_at,
            finished_at=base.created_at,
        )
        await stand.registry.record(done)


async def test_prompts_with_what_their_runs_came_to(stand: Stand) -> None:
    await fill(stand)
    (listed,) = (await stand.http.get("/prompts")).json()["prompts"]
    (version,) = listed["versions"]
    assert (listed["name"], listed["used_by"], version["version"], version["checksum_ok"]) == (
        "hello",
        ["hello"],
        "v1",
        True,
    )
    assert version["used_by"] == ["hello"]
    assert version["stats"]["success_rate"] == 2 / 3
    assert (version["stats"]["cost_tokens"], version["stats"]["cost_micro_usd"]) == (90, 19)
    assert (await stand.http.get("/prompts/hello")).json() == listed


async def test_one_version_with_its_text_and_medians(stand: Stand) -> None:
    await fill(stand)
    shown = (await stand.http.get("/prompts/hello/v1")).json()
    assert shown["text"] == prompt()["data"]["prompt.md"]
    assert (shown["stats"]["median_tokens"], shown["stats"]["median_cost_micro_usd"]) == (10, 4)
    assert shown["stats"]["median_seconds"] == 0


async def test_a_prompt_that_is_not_there(stand: Stand) -> None:
    for path in ("/prompts/nothing", "/prompts/hello/v9"):
        answer = await stand.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "prompt-not-found")
