"""Five things that people come to the console for, each within three clicks from the list.

Keys are not clicks: a field that has the focus is typed into, and Enter sends its form. How long
each took is printed (`-rP` shows it); most of that is the browser's.
"""

import contextlib
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import manifests
import pytest
from browsers import Visit
from console_stand import Console
from playwright.async_api import Locator, Page, expect

from codexrun_core.runs.record import RunRecord

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_CLICKS = 3


class Hand:
    """A mouse that counts, and a keyboard."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clicks = 0

    async def click(self, target: Locator, *, shift: bool = False) -> None:
        self.clicks += 1
        await target.click(modifiers=["Shift"] if shift else [])

    async def type(self, text: str) -> None:
        """Replace the text of the field that has the focus."""
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.type(text)

    async def enter(self) -> None:
        await self.page.keyboard.press("Enter")


@contextlib.asynccontextmanager
async def task(visit: Visit, name: str, path: str = "/console/runs") -> AsyncIterator[Hand]:
    """Begin at the list; the block ends when what was wanted is seen."""
    hand = Hand(await visit.page(path))
    began = time.monotonic()
    yield hand
    print(f"{name}: {hand.clicks} clicks, {time.monotonic() - began:.1f} s")
    assert hand.clicks <= MAX_CLICKS


def ended(number: int, at: datetime, status: str = "succeeded", **given: object) -> RunRecord:
    fields: dict[str, object] = {
        "name": f"task-{number}",
        "namespace": "codexrun",
        "job_type": "hello",
        "created_at": at,
        "updated_at": at,
        "started_at": at,
        "finished_at": at + timedelta(seconds=60),
        "prompt_name": "hello",
        "usage_complete": True,
        "requests": 1,
        "rank": 5,
        "deleted_at": at + timedelta(hours=1),
    }
    run_id = f"{number:08x}-0000-4000-8000-000000000000"
    return RunRecord(run_id=run_id, status=status, **{**fields, **given})  # type: ignore[arg-type]


async def test_why_did_this_fail(console: Console, visit: Visit) -> None:
    failure = {
        "class": "timeout",
        "message": "it ran longer than limits.timeoutSeconds (900 s)",
        "retryable": False,
    }
    console.run("why-failed", "Failed", age=2000, took=900, status={"failure": failure})
    await console.mirrored()
    async with task(visit, "why did this fail") as hand:
        await hand.click(hand.page.get_by_role("link", name="why-failed", exact=True))
        sentence = hand.page.locator(".sentence")
        await expect(sentence).to_contain_text("it ran longer than limits.timeoutSeconds (900 s)")
        way_out = await sentence.locator(".soft").inner_text()
        assert len(way_out.split()) > 3, "what can be done about it"


async def cancelled(console: Console, names: list[str]) -> None:
    for name in names:
        await console.until(lambda name=name: bool(console.kube.run(name)["spec"].get("cancel")))


async def test_cancel_three_of_a_filter(console: Console, visit: Visit) -> None:
    names = [f"three-{n}" for n in range(3)]
    for name in names:
        console.run(name, "Running", user="three")
    console.run("three-over", "Succeeded", user="three")
    console.run("not-of-the-three", "Running", user="somebody")
    await console.mirrored()
    async with task(visit, "cancel three of a filter") as hand:
        await hand.page.keyboard.press("/")
        await hand.type("three")
        await hand.enter()
        await expect(hand.page.locator("#runs tbody tr")).to_have_count(5)
        await hand.click(hand.page.get_by_label("Started by"))
        await hand.type("three")
        await hand.enter()
        await expect(hand.page.locator("#runs tbody tr")).to_have_count(4)
        await hand.click(hand.page.get_by_role("button", name="Cancel…"))
        await expect(hand.page.locator("h1")).to_have_text("Cancel 3 runs?")
        await expect(hand.page.locator("main")).to_contain_text("All runs that match")
        await hand.type("no longer needed")
        await hand.enter()
        await expect(hand.page.locator("main")).to_contain_text("3 of 3 cancellations requested")
    await cancelled(console, names)
    assert not console.kube.run("not-of-the-three")["spec"].get("cancel")
    reasons = {console.kube.run(name)["spec"]["cancel"]["reason"] for name in names}
    assert reasons == {"no longer needed"}


async def test_cancel_three_that_stand_together(console: Console, visit: Visit) -> None:
    names = [f"row-{n}" for n in range(5)]
    for n, name in enumerate(names):
        console.run(name, "Running", age=10 + n, user="rows")
    await console.mirrored()
    async with task(visit, "cancel three rows", "/console/runs?user=rows") as hand:
        await hand.click(hand.page.get_by_label("Select row-1"))
        await hand.click(hand.page.get_by_label("Select row-3"), shift=True)
        await hand.click(hand.page.get_by_role("button", name="Cancel…"))
        await expect(hand.page.locator("h1")).to_have_text("Cancel 3 runs?")
        await hand.type("wrong branch")
        await hand.enter()
        await expect(hand.page.locator("main")).to_contain_text("3 of 3 cancellations requested")
    await cancelled(console, names[1:4])
    for name in (names[0], names[4]):
        assert not console.kube.run(name)["spec"].get("cancel")


async def test_without_selection_and_filter_nothing_is_cancelled(
    console: Console, visit: Visit
) -> None:
    console.run("left-alone", "Running")
    await console.mirrored()
    page = await visit.page("/console/runs")
    await page.get_by_role("button", name="Cancel…").click()
    await expect(page.locator("main")).to_contain_text("No runs are selected")
    assert not console.kube.run("left-alone")["spec"].get("cancel")


async def test_rerun_with_another_input(console: Console, visit: Visit) -> None:
    console.run("once-more", "Succeeded", age=100, took=30, inputs={"name": "Ada"})
    await console.mirrored()
    before = set(console.kube.run_names)
    async with task(visit, "rerun with another input") as hand:
        await hand.click(hand.page.get_by_role("link", name="once-more", exact=True))
        await hand.click(hand.page.get_by_role("link", name="Run again with changes"))
        await expect(hand.page.get_by_label("name").first).to_be_focused()
        await hand.type("Grace")
        await hand.click(hand.page.get_by_role("button", name="Run again", exact=True))
        await expect(hand.page.locator("h1")).to_have_text(re.compile("^run-"))
    (again,) = set(console.kube.run_names) - before
    assert console.kube.run(again)["spec"]["inputs"] == {"name": "Grace"}


async def test_yesterdays_cost_by_team(console: Console, visit: Visit) -> None:
    yesterday = datetime.now(UTC).replace(hour=12) - timedelta(days=1)
    for number, (team, micro_usd, at) in enumerate(
        (
            ("payments", 3_180_000, yesterday),
            ("payments", 1_000_000, yesterday),
            ("search", 500_000, yesterday),
            ("search", 9_000_000, yesterday - timedelta(days=1)),
        )
    ):
        await console.registry.record(
            ended(number, at, labels={"team": team}, cost_micro_usd=micro_usd, cost_tokens=1000)
        )
    async with task(visit, "yesterday's cost by team") as hand:
        await hand.click(hand.page.get_by_role("link", name="Cost", exact=True).first)
        await hand.click(hand.page.get_by_role("link", name="Yesterday"))
        await hand.click(hand.page.get_by_label("Label key"))
        await hand.type("team")
        await hand.enter()
        await expect(hand.page.locator(".threes h2").first).to_have_text("By label team")
        rows = hand.page.get_by_role("table", name="Cost by label team").locator("tbody tr")
        # Shortly after midnight, runs of other tests are of yesterday too, without the label.
        rows = rows.filter(has_text=re.compile("payments|search"))
        await expect(rows).to_have_count(2)
        await expect(rows.first).to_contain_text(re.compile(r"payments\s*2\s*2,000\s*\$4\.18"))
        await expect(rows.last).to_contain_text(re.compile(r"search\s*1\s*1,000\s*\$0\.50"))


async def test_which_prompt_version_is_better(console: Console, visit: Visit) -> None:
    for version in ("v1", "v2"):
        console.kube.put(console.kube.config_maps, manifests.prompt("better", version))
    prompts = console.services.catalog.prompts
    await console.until(lambda: ("better", "v2") in prompts)
    now = datetime.now(UTC) - timedelta(days=3)
    for number, (version, status, micro_usd) in enumerate(
        (
            ("v1", "failed", 800_000),
            ("v1", "succeeded", 800_000),
            ("v2", "succeeded", 300_000),
            ("v2", "succeeded", 300_000),
        ),
        start=100,
    ):
        await console.registry.record(
            ended(
                number,
                now,
                status,
                prompt_name="better",
                prompt_version=version,
                cost_micro_usd=micro_usd,
                cost_tokens=1000,
                failure_class="timeout" if status == "failed" else None,
            )
        )
    async with task(visit, "which prompt version is better") as hand:
        await hand.click(hand.page.get_by_role("link", name="Prompts"))
        await hand.click(hand.page.get_by_role("link", name="better v2"))
        table = hand.page.get_by_role("table", name="Results by version")
        for version, facts in (("v1", ["50%", "timeout 1"]), ("v2", ["100%", "–"])):
            row = table.get_by_role("row").filter(has_text=version)
            for fact in facts:
                await expect(row).to_contain_text(fact)
