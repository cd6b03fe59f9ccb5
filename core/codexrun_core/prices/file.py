"""Which prices hold now? The table that comes with this version, or the installation's own file,
read again when it changes."""

import logging
from datetime import date
from pathlib import Path

from codexrun_core.logs import fields
from codexrun_core.prices.table import Prices, PricesError, PriceTable, built_in, parse_prices

log = logging.getLogger(__name__)


class PriceFile:
    """A file that was right once stays in force while a later one is wrong: money is counted by
    something that was reviewed."""

    def __init__(self, path: Path | None) -> None:
        """path: of a mounted ConfigMap; None for the built-in table.

        Raises:
            PricesError: it is not there, or wrong.
        """
        self._path = path
        self._table = built_in()
        self._last_mark: tuple[int, int] | None = None
        if path is not None:
            self._table = self._read(path)

    def on(self, day: date) -> Prices:
        """Return the prices of that day."""
        if self._path is not None:
            self._refresh(self._path)
        return self._table.on(day)

    def _refresh(self, path: Path) -> None:
        try:
            mark = self._mark(path)
        except OSError:
            mark = None
        if mark == self._last_mark:
            return
        try:
            self._table = self._read(path)
            log.info("prices.read", extra=fields(version=self._table.version))
        except PricesError as error:
            log.error("prices.unusable", extra=fields(error=str(error), kept=self._table.version))
        self._last_mark = mark

    def _read(self, path: Path) -> PriceTable:
        try:
            self._last_mark = self._mark(path)
            return parse_prices(path.read_text(encoding="utf-8"), path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise PricesError(
                f"{path}: cannot be read: {error}; check the ConfigMap named in the chart's"
                " prices.configMap"
            ) from None

    @staticmethod
    def _mark(path: Path) -> tuple[int, int]:
        """Return what changes with the file's content: the kubelet replaces the file as a whole."""
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
