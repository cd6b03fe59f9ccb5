"""A real Chromium for the console's tests: Debian's, installed where it is missing."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

from installing import installed
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright

from codexrun_cluster.packages import Package

PROGRAM = "/usr/bin/chromium-headless-shell"
CHROMIUM = Package("chromium-headless-shell", lambda: shutil.which(PROGRAM) is not None)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    installed(CHROMIUM)
    async with async_playwright() as playwright:
        # Root has no sandbox of Chromium's, and a container's /dev/shm is small.
        browser = await playwright.chromium.launch(
            executable_path=PROGRAM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


WATCH = """
window.trouble = [];
addEventListener("securitypolicyviolation", (e) => {
  window.trouble.push("csp: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample);
});
"""


class Visit:
    """One browser profile that is logged in, and everything in it that went wrong."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.trouble: list[str] = []

    async def page(self, path: str = "/console/runs") -> Page:
        page = await self.context.new_page()
        self._listen(page)
        try:
            await page.goto(self.url + path)
        except Error as error:
            # A pod of the cluster tests came or went, and its network interface with it: then
            # Chromium ends what is under way, on loopback too.
            if "ERR_NETWORK_CHANGED" not in error.message:
                raise
            await page.goto(self.url + path)
        return page

    def _listen(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.trouble.append(f"script: {error}"))
        page.on("dialog", lambda dialog: self.trouble.append(f"dialog: {dialog.message}"))
        page.on("console", lambda said: self._said(said.type, said.text))

    def _said(self, kind: str, text: str) -> None:
        if kind == "error" and "Content Security Policy" in text:
            self.trouble.append(text)

    async def violations(self, page: Page) -> list[str]:
        found: list[str] = await page.evaluate("window.trouble || []")
        return found


@contextlib.asynccontextmanager
async def visiting(browser: Browser, url: str, token: str, **settings: Any) -> AsyncIterator[Visit]:
    context = await browser.new_context(
        **{
            "viewport": {"width": 1280, "height": 900},
            "locale": "en-GB",
            "timezone_id": "UTC",
            **settings,
        }
    )
    context.set_default_timeout(20_000)
    if settings.get("java_script_enabled", True):
        await context.add_init_script(WATCH)
    visit = Visit(context, url)
    # Not through a page: one that is closed while its form is on the way may never say that it is
    # closed.
    answer = await context.request.post(
        f"{url}/console/login", form={"token": token}, max_redirects=0
    )
    assert answer.status == 303, await answer.text()
    yield visit
    await context.close()


async def reloaded_until(page: Page, text: str, seconds: float = 30.0) -> None:
    """What a reader without JavaScript does: reload until it says so."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(Error):  # a form's own navigation may still be under way
                await page.wait_for_load_state()
                if text in await page.inner_text("main"):
                    return
                await asyncio.sleep(0.3)
                await page.reload()
