"""The operator, and beside it a note of how long its event loop has been blocked at most.

python -m simulation.watched_operator FILE    the seconds are in the file, anew when they grow
"""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from codexrun_operator import __main__ as operator
from codexrun_operator.settings import Settings

TICK_SECONDS = 0.01

run = operator.run


async def watched(settings: Settings) -> int:
    noting = asyncio.create_task(note_longest_block(Path(sys.argv[1]).write_text))
    try:
        return await run(settings)
    finally:
        noting.cancel()


async def note_longest_block(note: Callable[[str], object]) -> None:
    longest = 0.0
    while True:
        before = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        block = time.monotonic() - before - TICK_SECONDS
        if block > longest:
            longest = block
            note(f"{longest:.4f}")


if __name__ == "__main__":
    operator.run = watched
    sys.exit(operator.main())
