"""Lines of a log on stdout: as bytes, as JSON lines, or in words; those that were asked for."""

import re

from codexrun_cli import output
from codexrun_cli.follow.lines import DisplayLine, Reader, reaches_level
from codexrun_cli.follow.screen import text_of
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports import LogEvent

MAX_OUTPUT_LINES = 200  # of one command's output, where somebody reads a whole log


class Printer:
    """Lines of a log on stdout."""

    def __init__(
        self,
        pattern: "re.Pattern[str] | None" = None,
        *,
        level: str | None = None,
        raw: bool = False,
        jsonl: bool = False,
        timestamps: bool = False,
        prefix: str = "",
    ) -> None:
        self._pattern = pattern
        self._level = level
        self._raw = raw
        self._jsonl = jsonl
        self._timestamps = timestamps
        self._prefix = prefix
        self._reader = Reader(MAX_OUTPUT_LINES)

    def print(self, event: LogEvent, terminal: Terminal) -> None:
        if self._raw:
            output.write_bytes(event.text + (b"\n" if event.newline else b""))
            return
        lines = [line for line in self._reader.read(event.text) if reaches_level(line, self._level)]
        if self._jsonl:
            text = event.text.decode("utf-8", "replace")
            matches = not self._pattern or self._pattern.search(text)
            if (lines or self._level is None) and matches:
                output.write(f"{text}\n")
            return
        output.write(
            "".join(
                f"{self._prefix}{self._format(line, terminal)}\n"
                for line in lines
                if self._matches(line)
            )
        )

    def _matches(self, line: DisplayLine) -> bool:
        return self._pattern is None or bool(self._pattern.search(line.text))

    def _format(self, line: DisplayLine, terminal: Terminal) -> str:
        text = text_of(line, terminal)
        return f"{terminal.paint(line.ts or '-', 'dim')} {text}" if self._timestamps else text
