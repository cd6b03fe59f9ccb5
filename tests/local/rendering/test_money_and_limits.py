"""A cancel without a reason, limits of which some are not given, and limits in words."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from render_stand import Stand, standing

from codexrun_api.console.view.limits import LABELS, rows
from codexrun_core.resources.limits import Limits
from codexrun_core.runs.stored_spec import read_spec

Json = dict[str, Any]
KIND: Json = {"prompt": {"name": "hello", "version": "v1"}, "model": "gpt-5.5"}
MONEY: Json = {"spec": {**KIND, "limits": {"maxCostCents": 100, "startSeconds": 25}}}


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def visited(tmp_path: Path, visit: Callable[[Stand], Awaitable[None]]) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await visit(stand)

    asyncio.run(run())


@pytest.mark.parametrize("phase", ["Running", "Stopping", "Cancelled"])
def test_a_run_that_was_cancelled_without_a_reason_has_its_page(tmp_path: Path, phase: str) -> None:
    """Also right after the form was sent, and when the object is gone."""

    async def visit(stand: Stand) -> None:
        kind = stand.put_job_type({"spec": KIND})
        cancel = {} if phase == "Running" else {"cancel": {"requestedBy": "ada"}}
        run = stand.put_run({"spec": cancel, "status": {"phase": phase}}, kind)
        await stand.mirrored()
        if phase == "Running":
            page = await stand.http.get(f"/console/runs/{run}")
            csrf = re.search(r'name="csrf" value="([^"]+)"', page.text)
            assert csrf
            answer = await stand.http.post(
                f"/console/runs/{run}/cancel",
                data={"csrf": csrf[1], "reason": ""},
                headers={"Sec-Fetch-Site": "same-origin"},
            )
            assert answer.status_code == 303, answer.text
            await stand.mirrored()
        for gone in (False, True):
            if gone:
                stand.kube.remove(f"{stand.kube.runs}/run-2")
                await stand.mirrored()
            page = await stand.http.get(f"/console/runs/{run}")
            assert page.status_code == 200
            assert re.search(r"Cancelled by +\S+ ", text(page.text))
            assert "None" not in text(page.text)

    visited(tmp_path, visit)


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ({"startSeconds": 25}, None),
        ({"timeoutSeconds": 900}, "Timeout 15m Run ID"),
        ({"stallSeconds": 180}, "Stall timeout 3m Run ID"),
        ({"timeoutSeconds": 900, "stallSeconds": 180}, "Timeout 15m Stall timeout 3m Run ID"),
        ({}, None),
    ],
)
def test_limits_of_which_some_are_not_given(
    tmp_path: Path, limits: Json, wanted: str | None
) -> None:
    async def visit(stand: Stand) -> None:
        kind = stand.put_job_type({"spec": {**KIND, "limits": limits}})
        run = stand.put_run({"spec": {}, "status": {"phase": "Failed"}}, kind)
        await stand.mirrored()
        page = await stand.http.get(f"/console/runs/{run}")
        assert page.status_code == 200
        shown = text(page.text)
        assert wanted in shown if wanted else not re.search("timeout", shown, re.IGNORECASE)

    visited(tmp_path, visit)


def test_a_limit_of_money_is_money_wherever_limits_are(tmp_path: Path) -> None:
    async def visit(stand: Stand) -> None:
        kind = stand.put_job_type(MONEY)
        run = stand.put_run(
            {"spec": {"limits": {"maxCostCents": 50}}, "status": {"phase": "Failed"}}, kind
        )
        await stand.mirrored()
        pages = {
            f"/console/jobtypes/{kind}": "Cost limit $1.00 Start timeout 25s",
            f"/console/start/{kind}": "Cost limit $1.00 Start timeout 25s",
            f"/console/runs/{run}": ", limit $0.50",
        }
        for url, wanted in pages.items():
            page = await stand.http.get(url)
            assert page.status_code == 200
            assert wanted in text(page.text), url
            assert "max_cost" not in text(page.text)
            assert "1:40" not in text(page.text)
        form = await stand.http.get(f"/console/start/{kind}")
        assert "Cost limit (US cents)" in text(form.text)

    visited(tmp_path, visit)


def test_every_limit_that_there_is_has_its_words() -> None:
    assert set(LABELS) == set(Limits.model_fields)
    assert all(limit.shown == "–" for limit in rows(Limits()))


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"limits": None, "workspace": None, "cancel": None, "priority": None},
        {
            "limits": [],
            "workspace": "x",
            "cancel": 1,
            "priority": "high",
            "model": {},
            "effort": [],
        },
        {"limits": {"maxTokens": -1}, "workspace": {"git": {}}, "cancel": {"reason": "no name"}},
    ],
)
def test_a_row_of_another_version_is_read_as_far_as_it_can_be(spec: Json) -> None:
    asked = read_spec({"promptVersion": "v7", **spec})
    assert asked.prompt_version == "v7"
    assert asked.limits == Limits()
    assert (asked.git, asked.cancel, asked.model, asked.effort, asked.priority) == (
        None,
        None,
        None,
        None,
        0,
    )
