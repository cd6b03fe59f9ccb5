"""Everything that the log's toolbar has, in a real Chromium."""

import re
from pathlib import Path

import httpx
import pytest
from apistand import TOKEN
from browsers import Visit, visiting
from console_stand import Console
from playwright.async_api import Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = "2026-01-31T12:00:00.000Z"
MARKED = """() => {
  const found = CSS.highlights.get("found");
  return found ? [...found].map((range) => range.toString()) : [];
}"""


async def opened(console: Console, visit: Visit, name: str, query: str = "") -> tuple[str, Page]:
    """A log of 3,000 lines, of which some fail, one warns and one is another's."""
    run = console.run(name, "Succeeded", age=500, took=100)
    lines = [
        {"ts": AT, "src": "codex", "text": f"step {n}{' exit 7' if n % 1000 == 0 else ''}"}
        for n in range(1, 3001)
    ]
    lines[2989] = {
        "ts": AT,
        "src": "runner",
        "level": "warning",
        "text": "budget.low",
        "phase": "codex",
    }
    lines[2990] = {"ts": AT, "src": "gate", "level": "error", "text": "upstream.failed"}
    lines[2991] = {"ts": AT, "src": "stderr", "text": "\x1b[31mred\x1b[0m " + "long " * 100}
    console.say(run, *lines)
    await console.mirrored()
    return run, await visit.page(f"/console/runs/{run}?tab=log{query}")


async def test_a_pattern_is_found_marked_and_walked_through(console: Console, visit: Visit) -> None:
    _, page = await opened(console, visit, "patterns")
    await page.check("#log-regexp")
    await page.fill("#log-q", "exit [1-9]$|step 1500|exit \\d")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits")).to_have_text("4 matching lines")
    await page.locator("#log").focus()
    seen = []
    for key in ("n", "n", "N"):
        before = page.url
        await page.keyboard.press(key)
        await expect(page).not_to_have_url(before)
        seen.append(int(re.search(r"#L(\d+)", page.url)[1]))
    assert set(seen) <= {1000, 1500, 2000, 3000}
    assert seen[2] == seen[0]
    await expect(page.locator(f"#L{seen[2]}.at")).to_be_in_viewport()
    assert set(await page.evaluate(MARKED)) <= {"exit 7", "step 1500"}
    assert await page.evaluate(MARKED)
    copy = await visit.page(page.url.removeprefix(console.url))
    await expect(copy.locator("#log-hits")).to_have_text("4 matching lines")
    assert await copy.is_checked("#log-regexp")


async def test_what_is_no_pattern_is_said_at_the_search(console: Console, visit: Visit) -> None:
    _, page = await opened(console, visit, "no-pattern")
    await page.check("#log-regexp")
    await page.fill("#log-q", "(")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits.err")).to_contain_text("not a valid RE2 pattern")
    await page.fill("#log-q", "exit 7")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits:not(.err)")).to_have_text("3 matching lines")


async def test_a_pattern_works_without_javascript(console: Console, plain: Visit) -> None:
    _, page = await opened(console, plain, "plain-pattern")
    await page.fill("#log-q", "exit [7-9]")
    await page.check("#log-regexp")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits")).to_have_text("3 matching lines")
    await page.click("#log-next")
    await expect(page).to_have_url(re.compile("regexp=1.*#L2000$"))
    await expect(page.locator("#L2000")).to_be_visible()
    await page.fill("#log-q", "(")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits .err")).to_contain_text("not a valid RE2 pattern")


async def test_only_warnings_and_errors_or_one_source_can_be_shown(
    console: Console, visit: Visit
) -> None:
    _, page = await opened(console, visit, "levels")
    await page.select_option("#log-src", "bad")
    await expect(page.locator("#log .l:visible")).to_have_count(2)
    await expect(page.locator("#log-where")).to_contain_text("2 of them shown")
    await page.select_option("#log-src", "stderr")
    await expect(page.locator("#log .l:visible .t")).to_contain_text(["red long"])
    await page.select_option("#log-src", "")
    await expect(page.locator("#L3000")).to_be_visible()


async def test_wrapping_and_times_are_switched_and_kept(console: Console, visit: Visit) -> None:
    run, page = await opened(console, visit, "switches")
    long = page.locator("#L2992")
    moment = page.locator("#L3000 time")
    wrapped = (await long.bounding_box())["height"]
    await page.uncheck("#log-wrap")
    assert (await long.bounding_box())["height"] < wrapped
    await expect(moment).to_be_visible()
    await expect(page.locator("#log-follow")).not_to_be_visible()  # it has ended
    await page.uncheck("#log-times")
    await expect(moment).not_to_be_visible()
    again = await visit.page(f"/console/runs/{run}?tab=log")
    await expect(again.locator("#log-wrap")).not_to_be_checked()
    await expect(again.locator("#L3000")).to_be_visible()
    await expect(again.locator("#L3000 time")).not_to_be_visible()


async def test_times_of_lines_are_the_readers_and_utc_on_hover(console: Console, browser) -> None:
    async with visiting(browser, console.url, TOKEN, timezone_id="Asia/Tokyo") as visit:
        _, page = await opened(console, visit, "hover")
        moment = page.locator("#L3000 time")
        await expect(moment).to_have_text("21:00:00")
        assert await moment.get_attribute("title") == "2026-01-31 12:00:00 UTC"


async def test_colours_of_terminals_are_shown(console: Console, visit: Visit) -> None:
    _, page = await opened(console, visit, "colours")
    red = page.locator("#L2992 .ansi31")
    await expect(red).to_have_text("red")
    plain = await page.evaluate("getComputedStyle(document.querySelector('#L2993 .t')).color")
    assert await red.evaluate("(el) => getComputedStyle(el).color") != plain


async def test_the_lines_can_be_copied_and_fill_the_screen(console: Console, visit: Visit) -> None:
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    _, page = await opened(console, visit, "copied")
    await page.select_option("#log-src", "gate")
    await page.click("#log-copy")
    await expect(page.locator("#toast")).to_have_text("1 line copied")
    assert (
        await page.evaluate("navigator.clipboard.readText()") == "12:00:00  gate  upstream.failed\n"
    )
    await page.click("#log-full")
    await expect(page.locator("#logtab:fullscreen")).to_be_visible()
    await page.click("#log-full")
    await expect(page.locator(":fullscreen")).to_have_count(0)


async def test_raw_is_the_log_byte_for_byte_and_can_be_saved(
    console: Console, visit: Visit, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    run, page = await opened(console, visit, "saved")
    whole = console.archive.read(run, 0, console.archive.size(run))
    assert (await http.get(f"/console/runs/{run}/log/raw")).content == whole
    async with page.expect_download() as started:
        await page.click("a[title=Download]")
    saved = await started.value
    assert saved.suggested_filename == "saved.jsonl"
    await saved.save_as(tmp_path / "saved")
    assert (tmp_path / "saved").read_bytes() == whole
    await page.get_by_role("link", name="JSON").click()
    await expect(page.locator("#L3000 .t")).to_contain_text('"src":"codex"')
