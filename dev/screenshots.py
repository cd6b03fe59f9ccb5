"""`make screenshots`: the console's pictures that docs/console.md shows, into docs/console/.

With a folder as argument: every page in both themes at two widths, into that folder, to look at.
"""

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from apistand import TOKEN
from browsers import Visit, chromium, visiting
from console_seed import PAGES, fill
from console_stand import running

ROOT = Path(__file__).parents[1]
LOGIN = "/console/login"
VIEWS = {**PAGES, "login": LOGIN}
WIDE = 1280  # pixels
NARROW = 390  # of a phone
HEIGHT = 860


class Picture(NamedTuple):
    """One page as it is to be seen."""

    page: str  # of VIEWS
    theme: str  # light or dark
    width: int = WIDE

    @property
    def file(self) -> str:
        return f"{self.page}-{self.theme}{'' if self.width == WIDE else '-narrow'}.png"


OF_DOCS = [
    Picture("runs", "light"),
    Picture("run", "dark"),
    Picture("run-failed", "light"),
    Picture("jobtype", "dark"),
    Picture("prompt", "light"),
    Picture("cost", "dark"),
]
EVERY = [
    Picture(page, theme, width)
    for width, theme, page in itertools.product((WIDE, NARROW), ("light", "dark"), VIEWS)
]


async def shoot(pictures: Iterable[Picture], target: Path) -> None:
    """Write the pictures of a team's afternoon into the folder."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as console, chromium() as browser:
            ids = await fill(console)
            for picture in pictures:
                size = {"width": picture.width, "height": HEIGHT}
                async with visiting(
                    browser, console.url, TOKEN, color_scheme=picture.theme, viewport=size
                ) as visit:
                    if VIEWS[picture.page] == LOGIN:
                        await visit.context.clear_cookies()
                    await _shoot(visit, picture, ids, target / picture.file)


async def _shoot(visit: Visit, picture: Picture, ids: dict[str, str], file: Path) -> None:
    page = await visit.page(VIEWS[picture.page].format(**ids))
    if picture.page != "error" and await page.locator(".code-big").count():
        raise SystemExit(f"{picture.page} is an error page: {await page.inner_text('main')}")
    await page.evaluate("document.fonts.ready")
    await page.wait_for_timeout(400)  # the chart draws itself
    await page.screenshot(path=file, full_page=picture.page != "runs")


def main(arguments: list[str]) -> None:
    if len(arguments) > 1:
        raise SystemExit("usage: screenshots.py [FOLDER]")
    target = Path(arguments[0]) if arguments else ROOT / "docs/console"
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(shoot(EVERY if arguments else OF_DOCS, target))


if __name__ == "__main__":
    main(sys.argv[1:])
