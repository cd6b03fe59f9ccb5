"""What a run of one prompt version usually takes, on both databases."""

from registry_rows import NOON, later, row

from codexrun_core.registry import Registry


async def test_medians_of_good_runs_by_version(registry: Registry) -> None:
    for number, (version, status, tokens, cost, seconds) in enumerate(
        [
            ("v1", "succeeded", 10, 5, 30),
            ("v1", "succeeded", 30, None, 90),
            ("v1", "succeeded", 20, 7, 40),
            ("v1", "failed", 9000, 9000, 9000),
            ("v2", "succeeded", 1, 1, 1),
        ]
    ):
        await registry.record(
            row(
                number,
                status,
                prompt_name="review",
                prompt_version=version,
                cost_tokens=tokens,
                cost_micro_usd=cost,
                started_at=NOON,
                finished_at=later(seconds),
            )
        )
    usual = await registry.prompt_usual("review", "v1")
    assert (usual.tokens, usual.cost_micro_usd, usual.seconds) == (20, 5, 40)
    never = await registry.prompt_usual("review", "v9")
    assert (never.tokens, never.cost_micro_usd, never.seconds) == (None, None, None)
