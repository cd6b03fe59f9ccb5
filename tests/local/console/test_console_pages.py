"""What holds for every page: it works without JavaScript, and the keyboard reaches all of it."""

import re

import pytest
from apistand import TOKEN
from browsers import visiting
from console_seed import PAGES
from playwright.async_api import Page, expect

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A button that only a script answers to is one that does nothing.
DEAD_BUTTONS = """() => [...document.querySelectorAll(".js, button[type=button], button")]
  .filter((el) => el.checkVisibility())
  .filter((el) => el.matches(".js") || el.type === "button" || !el.form)
  .map((el) => el.outerHTML.slice(0, 120))"""

CONTROLS = """() => {
  const all = document.querySelectorAll(
    "a[href], button, input, select, textarea, summary, [tabindex]");
  const reachable = (el) => el.tabIndex >= 0 && !el.disabled && el.checkVisibility();
  window.unreached = new Set([...all].filter(reachable));
  document.querySelector(".skip").focus();
  return unreached.size;
}"""
# Nothing of the focused control in sight: it is off the screen, or below something that sticks.
FOCUSED = """() => {
  const el = document.activeElement;
  unreached.delete(el);
  if (el === document.body) return [[], unreached.size];
  const at = [...el.getClientRects()].flatMap((box) => {
    const [left, top] = [Math.max(box.left, 0) + 2, Math.max(box.top, 0) + 2];
    const right = Math.min(box.right, innerWidth) - 2;
    const bottom = Math.min(box.bottom, innerHeight) - 2;
    return [[left, top], [right, bottom], [(left + right) / 2, (top + bottom) / 2]];
  });
  const seen = at.some(([x, y]) => {
    const hit = document.elementFromPoint(x, y);
    return hit && (el.contains(hit) || hit.closest("label")?.contains(el));
  });
  const style = getComputedStyle(el);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const wrong = [...(seen ? [] : ["out of sight"]), ...(ring ? [] : ["no ring"])];
  return [wrong.map((what) => what + ": " + el.outerHTML.slice(0, 120)), unreached.size];
}"""
UNREACHED = """() => [...unreached].filter((el) => el.isConnected && el.checkVisibility())
  .map((el) => "never reached: " + el.outerHTML.slice(0, 120))"""


async def test_no_page_has_a_dead_button_without_javascript(team, browser) -> None:
    console, ids = team
    async with visiting(browser, console.url, TOKEN, java_script_enabled=False) as visit:
        for name, path in PAGES.items():
            page = await visit.page(path.format(**ids))
            await expect(page.locator("h1")).to_be_visible()
            assert await page.evaluate(DEAD_BUTTONS) == [], name
            await page.close()


async def by_keyboard(page: Page) -> list[str]:
    """Press Tab through a page; what is wrong on the way."""
    controls = await page.evaluate(CONTROLS)
    wrong: list[str] = []
    for _ in range(2 * controls):  # a date is three stops, and what scrolls is one
        here, remaining = await page.evaluate(FOCUSED)
        wrong += here
        if not remaining:
            break
        await page.keyboard.press("Tab")
    return wrong + await page.evaluate(UNREACHED)


@pytest.mark.parametrize("width", [1280, 390])
async def test_the_keyboard_reaches_all_of_every_page(team, browser, width: int) -> None:
    console, ids = team
    wrong: list[str] = []
    size = {"width": width, "height": 800}
    async with visiting(browser, console.url, TOKEN, viewport=size) as visit:
        for name, path in PAGES.items():
            page = await visit.page(path.format(**ids))
            wrong += [f"{name}: {what}" for what in await by_keyboard(page)]
            await page.close()
    assert "\n".join(wrong) == ""


@pytest.mark.parametrize(
    ("path", "list_"),
    [
        ("/console/runs/none", "All runs"),
        ("/console/jobtypes/none", "All job types"),
        ("/console/prompts/none", "All prompts"),
        ("/console/start/none", "Choose a job type"),
    ],
)
async def test_what_is_not_there_leads_to_the_list_of_what_is(
    team, browser, path: str, list_: str
) -> None:
    console, _ = team
    async with visiting(browser, console.url, TOKEN) as visit:
        page = await visit.page(path)
        await expect(page.get_by_role("alert")).to_have_text(
            re.compile(r'^There is no [a-z ]+ "none"( in the cluster)?\.$')
        )
        await page.get_by_role("link", name=list_).click()
        assert page.url == f"{console.url}{path.removesuffix('/none')}"


async def test_the_first_press_changes_a_theme_that_is_the_systems(team, browser) -> None:
    console, _ = team
    for system, chosen in (("light", "dark"), ("dark", "light")):
        async with visiting(browser, console.url, TOKEN, color_scheme=system) as visit:
            page = await visit.page("/console/health")
            await page.get_by_role("button", name=f"{chosen.capitalize()} theme").click()
            await expect(page.locator("html")).to_have_attribute("data-theme", chosen)
            await page.keyboard.press("t")
            await expect(page.locator("html")).to_have_attribute("data-theme", system)
