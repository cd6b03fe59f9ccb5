"""A registry that was restored from an export converges with the cluster: what happened meanwhile
is made up for, and what the export had is there."""

from dataclasses import replace
from pathlib import Path

from apistand import Stand, services_over, serving


async def test_a_restored_registry_converges_with_the_cluster(stand: Stand, tmp_path: Path) -> None:
    ended, ends_meanwhile, goes_meanwhile = [
        (await stand.start(when_full="Queue")).json() for _ in range(3)
    ]
    await stand.finish(ended["name"])
    await stand.mirrored()
    backup = [entry async for entry in stand.registry.entries()]
    assert len(backup) == 3

    await stand.finish(ends_meanwhile["name"], "Failed", reason="AgentFailed")
    stand.kube.remove(f"{stand.kube.runs}/{ended['name']}")
    stand.kube.remove(f"{stand.kube.runs}/{goes_meanwhile['name']}")
    new = (await stand.start(when_full="Queue")).json()
    await stand.mirrored()

    url = f"sqlite:///{tmp_path / 'restored.db'}"
    settings = replace(
        stand.services.settings, registry_url=url, archive=tmp_path / "restored-archive"
    )
    async with services_over(settings, stand.kube) as services:
        assert await services.registry.insert(backup) == 3

        async def converged() -> bool:
            rows = [
                await services.registry.get(run["run_id"])
                for run in (ended, ends_meanwhile, goes_meanwhile, new)
            ]
            return [row.status if row else None for row in rows] == [
                *("succeeded", "failed", "deleted"),
                new["status"],
            ]

        async with serving(services, stand.kube) as restored:
            await restored.settle(converged)
            events = await services.registry.events(ended["run_id"])
            assert events == next(e.events for e in backup if e.run.run_id == ended["run_id"])
            assert await services.registry.insert(backup) == 0, "a second import changes nothing"
            assert await converged()
