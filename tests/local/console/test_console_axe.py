"""No page breaks WCAG 2.2 AA, in either theme, as far as axe-core can tell; contrast is part of
that."""

import pytest
from apistand import TOKEN
from browsers import visiting
from console_seed import PAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUN = """async (rules) => {
  const found = await axe.run(document, { runOnly: rules });
  return found.violations.flatMap((v) =>
    v.nodes.map((n) => v.id + ": " + n.target.join(" ") + " " + n.failureSummary.slice(0, 200)));
}"""


RULES = {
    "light": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "dark": ["color-contrast", "link-in-text-block"],  # those that look at colors
}


async def test_no_page_breaks_a_rule_in_either_theme(team, browser, axe: str) -> None:
    console, ids = team
    found: dict[str, list[str]] = {}
    async with visiting(browser, console.url, TOKEN) as visit:

        async def look(name: str, page) -> None:
            """A page changes its theme as the system does; loading it again would cost more."""
            await page.evaluate(axe)
            for theme, rules in RULES.items():
                await page.emulate_media(color_scheme=theme)
                if wrong := await page.evaluate(RUN, rules):
                    found[f"{name}, {theme}"] = wrong

        for path in PAGES.values():
            page = await visit.page(path.format(**ids))
            await look(path, page)
            await page.close()
        page = await visit.page("/console/runs")
        await page.keyboard.press("?")
        await look("help", page)
        await page.keyboard.press("Escape")
        for box in (await page.locator("input[name=run]").all())[:3]:
            await box.check()
        await page.get_by_role("button", name="Retry…").click()
        await look("bulk", page)
        await page.goto(f"{console.url}/console/runs/{ids['running']}")
        await page.get_by_text("Cancel", exact=True).first.click()
        await look("cancel", page)
        for name in ("running", "done"):
            await page.goto(f"{console.url}/console/runs/{ids[name]}")
            await page.get_by_text("More", exact=True).click()
            await look(f"more of {name}", page)
        await page.goto(f"{console.url}/console/runs/{ids['done']}?tab=log&q=settle|%28&regexp=1")
        await look("no pattern", page)
        await page.goto(f"{console.url}/console/start/code-review")
        await page.evaluate("document.querySelector('#start').noValidate = true")
        await page.get_by_role("button", name="Start", exact=True).click()
        await look("errors of a form", page)
        await page.get_by_role("button", name="Log out").click()
        await page.fill("#token", "wrong")
        await page.click("main button.primary")
        await look("login", page)
        assert visit.trouble == []
    assert "\n".join(f"{name}: {line}" for name, wrong in found.items() for line in wrong) == ""
