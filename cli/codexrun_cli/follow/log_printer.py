"""Lines of a log on stdout: as bytes, as JSON lines, or in words; those that were asked for."""

import re

from codexrun_cli import output
from codexrun_cli.follow.lines import Reader, Said, wanted
from codexrun_cli.follow.screen import text_of
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports import LogEvent

MOST_OUTPUT = 200  # lines of one command's output, where somebody reads a whole log


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
        self._pattern, self._level, self._raw, self._jsonl = pattern, level, raw, jsonl
        self._timestamps, self._prefix = timestamps, prefix
        self._reader = Reader(MOST_OUTPUT)

    def print(self, heard: LogEvent, terminal: Terminal) -> None:
        if self._raw:
            output.write_bytes(heard.text + (b"\n" if heard.newline else b""))
            return
        said = [one for one in self._reader.read(heard.text) if wanted(one, self._level)]
        if self._jsonl:
            text = heard.text.decode("utf-8", "replace")
            if (said or self._level is None) and (not self._pattern or self._pattern.search(text)):
                output.write(f"{text}\n")
            return
        output.write(
            "".join(
                f"{self._prefix}{self._line(one, terminal)}\n" for one in said if self._fits(one)
            )
        )

    def _fits(self, one: Said) -> bool:
        return self._pattern is None or bool(self._pattern.search(one.text))

    def _line(self, one: Said, terminal: Terminal) -> str:
        text = text_of(one, terminal)
        return f"{terminal.paint(one.ts or '-', 'dim')} {text}" if self._timestamps else text
