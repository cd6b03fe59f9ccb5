"""Every object that the CRDs admit has its pages in the console and its answers over REST, while it
is there and after.

Lists are asked for with all objects in them, and each object for its own page. The other pages of
an object take turns: a field that a page cannot show is missing from more than one object.
"""

import asyncio
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import crdobjects
import httpx
from artifacts import store_artifact
from crdobjects import GENERATED
from hypothesis import given, settings
from hypothesis import strategies as st
from render_stand import FIXED, LEFT_OUT, QUERIES, Answers, Stand, fields_of, parameters, standing

BATCHES = 3  # of the table: what a list costs grows with what is in it
OWN = "/console/runs/{id}?tab=codex"
MESSAGE = b"# Done\n\n| a | b |\n|---|---|\n| 1 | \xe2\x80\xae2 |\n"


async def render_all(
    stand: Stand,
    runs: Sequence[crdobjects.Json],
    kinds: Sequence[crdobjects.Json],
    turns: int | None = 1,
) -> Answers:
    """Store these, ask for what there is about them, delete them, and ask again.

    turns: how many of the pages that take turns are asked for each run; None: all.
    """
    answers = Answers()
    names = [stand.put_job_type(kind) for kind in kinds]
    of = [*names, "gone"]  # each in turn
    ids = [stand.put_run(run, of[number % len(of)]) for number, run in enumerate(runs)]
    await stand.mirrored()
    assert len(stand.services.mirror.ids()) == len(ids), "there are runs that could not be read"
    assert len(stand.services.catalog.job_types) == len(names), (
        "there are job types that could not be read"
    )
    for run_id in ids:
        store_artifact(stand.archive, run_id, "final-message.md", MESSAGE)
    await stand.render(answers, stand.pages())
    for name in names:
        await stand.render(answers, stand.pages("job_type"), job_type=name)
    own = next(page for page in stand.pages("id") if page[1] == OWN)
    about = [*stand.pages("id"), *stand.pages("id", "other")]
    most = len(about) if turns is None else turns
    others = itertools.cycle(about)
    for run_id, other in zip(ids, [*ids[1:], *ids[:1]], strict=True):
        await stand.render(answers, [own, *itertools.islice(others, most)], id=run_id, other=other)
    for path in [
        path
        for path in stand.kube.objects
        if path.startswith((stand.kube.runs, stand.kube.job_types))
    ]:
        stand.kube.remove(path)
    await stand.mirrored()
    assert not stand.services.mirror.ids()
    await stand.render(answers, stand.pages())
    for run_id, other in zip(ids, [*ids[1:], *ids[:1]], strict=True):
        await stand.render(
            answers, [own, *(about if turns is None else ())], id=run_id, other=other
        )
    return answers


def test_every_route_is_asked_for(tmp_path: Path) -> None:
    """A new route is covered by itself, or says why it is not."""

    async def check() -> None:
        async with standing(tmp_path) as stand:
            paths = {path for path, _ in stand.routes}
            assert paths >= LEFT_OUT.keys() | QUERIES.keys()
            told = {
                field for path in paths - LEFT_OUT.keys() for field in fields_of(parameters(path))
            }
            assert told <= {"id", "job_type", *FIXED}, "say in render_all how to fill these"

    asyncio.run(check())


def test_each_object_of_the_table_renders(tmp_path: Path) -> None:
    """The minimal one, the maximal one, and that without each field and with each field at its
    ends."""
    runs = [run for _, run in crdobjects.systematic(crdobjects.RUN)]
    kinds = [kind for _, kind in crdobjects.systematic(crdobjects.JOB_TYPE)]
    assert len(runs) > 100
    assert len(kinds) > 100

    async def check() -> None:
        async with standing(tmp_path) as stand:
            for part in range(BATCHES):
                answers = await render_all(stand, runs[part::BATCHES], kinds[part::BATCHES])
                assert answers.wrong == []

    asyncio.run(check())


def test_the_minimal_and_the_maximal_object_have_every_page(tmp_path: Path) -> None:
    async def check() -> Answers:
        runs = [of(crdobjects.RUN) for of in (crdobjects.minimal, crdobjects.maximal)]
        kinds = [of(crdobjects.JOB_TYPE) for of in (crdobjects.minimal, crdobjects.maximal)]
        async with standing(tmp_path) as stand:
            return await render_all(stand, runs, kinds, turns=None)

    assert asyncio.run(check()).wrong == []


def test_generated_objects_render(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        standing_here = standing(tmp_path)
        stand = runner.run(standing_here.__aenter__())

        @given(
            st.lists(crdobjects.runs(), min_size=6, max_size=6),
            st.lists(crdobjects.job_types(), min_size=3, max_size=3),
        )
        @settings(GENERATED, max_examples=6)
        def check(runs: list[crdobjects.Json], kinds: list[crdobjects.Json]) -> None:
            assert runner.run(render_all(stand, runs, kinds, turns=3)).wrong == []

        try:
            check()
        finally:
            runner.run(standing_here.__aexit__(None, None, None))


def test_pages_that_forms_lead_to_are_rendered(tmp_path: Path) -> None:
    """What a bulk action would do and has done, and the manifest of a start and of a repetition."""

    async def check() -> None:
        async with standing(tmp_path) as stand:
            kinds = [
                stand.put_job_type(of(crdobjects.JOB_TYPE))
                for of in (crdobjects.minimal, crdobjects.maximal)
            ]
            ids = [
                stand.put_run({**of(crdobjects.RUN), "status": {"phase": phase}}, kind)
                for of, kind in zip((crdobjects.minimal, crdobjects.maximal), kinds, strict=True)
                for phase in ("Pending", "Failed")
            ]
            await stand.mirrored()
            csrf = re.search(
                r'name="csrf" value="([^"]+)"', (await stand.http.get("/console/runs")).text
            )
            assert csrf

            async def sent(url: str, status: int, **form: Any) -> httpx.Response:
                answer = await stand.http.post(url, data={"csrf": csrf[1], **form})
                assert answer.status_code == status, (url, form, answer.text[-600:])
                return answer

            for kind in kinds:
                inputs = {"input.name": "x", "what": "preview"}
                page = await sent(f"/console/start/{kind}", 200, **inputs, max_cost_cents="50")
                assert "maxCostCents: 50" in page.text
                page = await sent(f"/console/start/{kind}", 422, **inputs, max_cost_cents="-5")
                assert '<a href="#f-max_cost_cents">Cost limit (US cents)</a>' in page.text
            for run in ids:
                page = await sent(
                    f"/console/runs/{run}/rerun", 200, what="preview", **{"input.name": "x"}
                )
                assert "retryOf" in page.text
            for verb in ("cancel", "retry"):
                for scope in ("selected", "matching"):
                    await sent("/console/bulk", 200, verb=verb, scope=scope, run=ids)
                done = await sent(
                    "/console/bulk", 303, verb=verb, scope="selected", run=ids, confirmed="1"
                )
                for part in ("", "?part=progress"):
                    assert (
                        await stand.http.get(done.headers["Location"] + part)
                    ).status_code == 200

    asyncio.run(check())
