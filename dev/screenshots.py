"""`make screenshots`: every page in both themes, into docs/console/."""

import asyncio
import sys
import tempfile
from pathlib import Path

from apistand import TOKEN
from browsers import chromium, visiting
from console_seed import fill
from console_stand import running

PAGES = {
    "runs": "/console/runs",
    "run": "/console/runs/{running}",
    "run-done": "/console/runs/{done}",
    "run-log": "/console/runs/{done}?tab=log",
    "run-prompt": "/console/runs/{done}?tab=prompt",
    "run-artifacts": "/console/runs/{done}?tab=artifacts",
    "run-yaml": "/console/runs/{done}?tab=yaml",
    "run-queued": "/console/runs/{queued}",
    "run-failed": "/console/runs/{failed}",
    "start": "/console/start/code-review",
    "choose": "/console/start",
    "rerun": "/console/runs/{done}/rerun",
    "jobtypes": "/console/jobtypes",
    "jobtype": "/console/jobtypes/code-review",
    "prompts": "/console/prompts",
    "prompt": "/console/prompts/code-review?version=v7&against=v6",
    "cost": "/console/cost?days=14",
    "compare": "/console/compare?a={earlier}&b={done}",
    "health": "/console/health",
    "empty": "/console/runs?search=nothing-like-it",
    "error": "/console/runs/no-such-run",
}


async def shoot(target: Path, only: list[str], width: int = 1280) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as console, chromium() as browser:
            ids = await fill(console)
            for theme in ("light", "dark"):
                size = {"width": width, "height": 860}
                async with visiting(
                    browser, console.url, TOKEN, color_scheme=theme, viewport=size
                ) as visit:
                    for name, path in PAGES.items():
                        if only and name not in only:
                            continue
                        page = await visit.page(path.format(**ids))
                        if name != "error" and await page.locator(".code-big").count():
                            raise SystemExit(
                                name + " is an error page: " + await page.inner_text("main")
                            )
                        await page.wait_for_timeout(400)  # fonts and the chart
                        await page.screenshot(
                            path=target / f"{name}-{theme}.png", full_page=name != "runs"
                        )
                        await page.close()
                if not only or "login" in only:
                    context = await browser.new_context(color_scheme=theme, viewport=size)
                    page = await context.new_page()
                    await page.goto(console.url + "/console/login")
                    await page.screenshot(path=target / f"login-{theme}.png")
                    await context.close()


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1] / "docs/console"
    args = sys.argv[1:]
    width = (
        int(args.pop(0).removeprefix("--width="))
        if args and args[0].startswith("--width=")
        else 1280
    )
    target = root if width == 1280 else Path("/tmp/shots")
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(target, args, width))
