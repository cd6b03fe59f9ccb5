"""The console against the real stack: a browser starts real Codex runs, watches, cancels, retries
and compares them."""

import contextlib
import re

import pytest
import pytest_asyncio
from browsers import Visit, chromium, reloaded_until, visiting
from cut_network import Through
from lab import Lab
from playwright.async_api import TimeoutError as ClickTimeout
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 90_000  # milliseconds; a bound, never an assertion


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser():
    async with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=3)


async def walk(visit: Visit, job_type: str, *, live: bool) -> None:
    """Start, watch live, cancel, retry with changes, compare. Without JavaScript one reloads."""

    async def sees(page, text: str) -> None:
        if live:
            await expect(page.locator("main")).to_contain_text(text, timeout=PATIENCE)
        else:
            await reloaded_until(page, text, PATIENCE / 1000)

    page = await visit.page(f"/console/start/{job_type}")
    await page.get_by_label("scenario").first.fill("sleep-100")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator("h1")).to_have_text(re.compile("^run-"), timeout=PATIENCE)
    first = page.url
    await sees(page, "Running for")
    await sees(page, "sleep 100")
    await page.get_by_text("Cancel", exact=True).first.click()
    await page.get_by_label("Reason").fill("wrong branch")
    await page.get_by_role("button", name="Cancel this run").click()
    await sees(page, "Cancelled by shared: wrong branch.")  # the sentence of one that has ended
    await page.get_by_role("link", name="Run again with changes").click()
    await page.get_by_label("scenario").first.fill("message")
    await page.get_by_role("button", name="Run again", exact=True).click()
    await expect(page.locator("h1")).to_have_text(re.compile("^run-"), timeout=PATIENCE)
    assert page.url != first
    await sees(page, "Succeeded after")
    await expect(page.locator("#final .md")).not_to_be_empty()
    await page.get_by_role("link", name="compare").click()
    table = page.locator("table.pairs")
    await expect(table).to_contain_text("Cancelled")
    await expect(table).to_contain_text("sleep-100")


async def test_start_watch_cancel_retry_compare(lab: Lab, browser, job_type: str) -> None:
    async with visiting(
        browser, lab.env["CODEX_CONTROL_URL"], lab.env["CODEX_CONTROL_TOKEN"]
    ) as visit:
        await walk(visit, job_type, live=True)
        assert visit.trouble == []


async def test_the_same_without_javascript(lab: Lab, browser, job_type: str) -> None:
    url = lab.env["CODEX_CONTROL_URL"]
    token = lab.env["CODEX_CONTROL_TOKEN"]
    async with visiting(browser, url, token, java_script_enabled=False) as visit:
        await walk(visit, job_type, live=False)


async def test_the_keyboard_alone(lab: Lab, browser, job_type: str) -> None:
    """Start, cancel and retry; everything that is typed goes to what has the focus."""
    async with visiting(
        browser, lab.env["CODEX_CONTROL_URL"], lab.env["CODEX_CONTROL_TOKEN"]
    ) as visit:
        page = await visit.page(f"/console/start/{job_type}")
        main = page.locator("main")
        keys = page.keyboard

        async def tab_to(what: str) -> None:
            for _ in range(60):
                await keys.press("Tab")
                if await page.evaluate("(what) => document.activeElement.matches(what)", what):
                    return
            raise AssertionError(f"Tab never comes to {what}")

        await tab_to("#f-scenario")
        await keys.type("sleep-100")
        await tab_to("button[value=start]")
        await keys.press("Enter")
        await expect(page.locator("h1")).to_have_text(re.compile("^run-"), timeout=PATIENCE)
        first = await page.inner_text("h1")
        await expect(main).to_contain_text("Running for", timeout=PATIENCE)
        for reason in ("enough", "again"):
            await keys.press("c")
            await keys.type(reason)
            await keys.press("Enter")
            await expect(main).to_contain_text(f"Cancelled by shared: {reason}.", timeout=PATIENCE)
            if reason == "enough":
                await keys.press("r")
                await expect(page.locator("h1")).not_to_have_text(first, timeout=PATIENCE)
                await expect(main).to_contain_text("Running for", timeout=PATIENCE)
        assert visit.trouble == []


async def test_two_tabs_of_one_run_make_one_cancel(lab: Lab, browser, job_type: str) -> None:
    run = lab.phase(lab.run(job_type, "sleep-100"), "Running")
    async with visiting(
        browser, lab.env["CODEX_CONTROL_URL"], lab.env["CODEX_CONTROL_TOKEN"]
    ) as visit:
        path = f"/console/runs/{run['metadata']['uid']}"
        left = await visit.page(path)
        right = await visit.page(path)
        for page, reason in ((left, "left"), (right, "right")):
            await page.get_by_text("Cancel", exact=True).first.click()
            await page.get_by_label("Reason").fill(reason)
        await left.get_by_role("button", name="Cancel this run").click()
        await left.wait_for_load_state()
        with contextlib.suppress(
            ClickTimeout
        ):  # it may know already, or come to know while it is clicked
            await right.get_by_role("button", name="Cancel this run").click(timeout=2_000)
        for page in (left, right):
            await expect(page.locator("main")).to_contain_text(
                "Cancelled by shared: left.", timeout=PATIENCE
            )
    assert lab.get(run)["spec"]["cancel"]["reason"] == "left"


async def test_a_network_that_is_cut_loses_and_doubles_no_line(
    lab: Lab, browser, job_type: str
) -> None:
    import httpx

    url = lab.env["CODEX_CONTROL_URL"]
    token = lab.env["CODEX_CONTROL_TOKEN"]
    run = lab.phase(lab.run(job_type, "sleep-20"), "Running")
    path = f"/runs/{run['metadata']['uid']}"
    async with Through.to(url) as through, visiting(browser, through.url, token) as visit:
        page = await visit.page(f"/console{path}?tab=log")
        await expect(page.locator("#log .l").first).to_be_visible(timeout=PATIENCE)
        for _ in range(3):
            async with page.expect_response(re.compile("/live$"), timeout=PATIENCE):
                assert through.cut()
        await expect(page.locator("main")).to_contain_text("Succeeded after", timeout=PATIENCE)
        await expect(page.locator("#log")).to_contain_text("run.ended", timeout=PATIENCE)
        async with httpx.AsyncClient(base_url=url, timeout=60) as rest:
            raw = (
                await rest.get(f"{path}/logs", headers={"Authorization": f"Bearer {token}"})
            ).text
        shown = await page.evaluate(
            "[...document.querySelectorAll('#log .l')].map((line) => Number(line.dataset.n))"
        )
        assert shown == list(range(1, len(raw.splitlines()) + 1))


async def test_the_log_in_the_browser_is_the_log_that_rest_has(
    lab: Lab, browser, job_type: str
) -> None:
    import httpx

    url = lab.env["CODEX_CONTROL_URL"]
    token = lab.env["CODEX_CONTROL_TOKEN"]
    run = lab.ended(lab.run(job_type, "message"))["metadata"]["uid"]
    async with (
        visiting(browser, url, token) as visit,
        httpx.AsyncClient(base_url=url, timeout=60) as rest,
    ):
        raw = (
            await rest.get(f"/runs/{run}/logs", headers={"Authorization": f"Bearer {token}"})
        ).text
        page = await visit.page(f"/console/runs/{run}?tab=log")
        await expect(page.locator("#log .l")).to_have_count(len(raw.splitlines()))
