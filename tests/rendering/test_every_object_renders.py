"""Every object that the CRDs admit has its pages in the console and its answers over REST, while it is there and when it is gone."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

import crdobjects
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from render_stand import FIXED, LEFT_OUT, QUERIES, Answers, Stand, fields_of, parameters, standing

PARAMETERS = {"id", "other", "job_type", *FIXED}
MESSAGE = b"# Done\n\n| a | b |\n|---|---|\n| 1 | \xe2\x80\xae2 |\n"


async def render_all(stand: Stand, runs: Sequence[crdobjects.Json], kinds: Sequence[crdobjects.Json]) -> Answers:
    """Store these, ask for everything about them, delete them, and ask again."""
    answers = Answers()
    names = [await stand.put_job_type(kind) for kind in kinds]
    # Of each job type in turn, and of one that is gone.
    of = [*names, "gone"]
    ids = [await stand.put_run(run, of[number % len(of)]) for number, run in enumerate(runs)]
    await stand.mirrored()
    assert len(stand.services.mirror.runs) == len(ids), "objects that could not be read"
    assert len(stand.services.catalog.job_types) == len(names), "job types that could not be read"
    for run_id in ids:
        with stand.archive.put(run_id, "final-message.md") as file:
            file.write(MESSAGE)
    await stand.render(answers)
    for name in names:
        await stand.render(answers, job_type=name)
    await rendered_runs(stand, answers, ids, gone=False)
    for path in [p for p in stand.kube.objects if p.startswith((stand.kube.runs, stand.kube.job_types))]:
        stand.kube.remove(path)
    await stand.mirrored()
    assert not stand.services.mirror.runs
    await stand.render(answers)
    await rendered_runs(stand, answers, ids, gone=True)
    return answers


async def rendered_runs(stand: Stand, answers: Answers, ids: Sequence[str], *, gone: bool) -> None:
    for run_id, other in zip(ids, [*ids[1:], ids[0]], strict=True):
        found = Answers()
        await stand.render(found, id=run_id)
        await stand.render(found, id=run_id, other=other)
        # A form needs its job type.
        kind = (await stand.http.get(f"/runs/{run_id}")).json().get("job_type")
        no_kind = gone or kind == "gone"
        answers.asked += found.asked
        answers.wrong += [w for w in found.wrong if not (no_kind and "/rerun: 404" in w)]


def test_every_route_is_asked_for(tmp_path: Path) -> None:
    """A new route is covered by itself, or says why it is not."""

    async def check() -> None:
        async with standing(tmp_path) as stand:
            paths = {path for path, _ in stand.routes}
            assert paths >= LEFT_OUT.keys() | QUERIES.keys()
            asked = {field for path in paths - LEFT_OUT.keys() for field in fields_of(parameters(path))}
            assert asked <= PARAMETERS, "say in render_all how to fill these"

    asyncio.run(check())


@pytest.mark.parametrize("part", range(4))
def test_each_object_of_the_table_renders(tmp_path: Path, part: int) -> None:
    """The minimal one, the maximal one, and that without each field and with each field at its ends."""

    async def check() -> Answers:
        runs = [run for _, run in crdobjects.systematic(crdobjects.RUN)][part::4]
        kinds = [kind for _, kind in crdobjects.systematic(crdobjects.JOB_TYPE)][part::4]
        async with standing(tmp_path) as stand:
            return await render_all(stand, runs, kinds)

    answers = asyncio.run(check())
    assert answers.asked > 100
    assert answers.wrong == []
