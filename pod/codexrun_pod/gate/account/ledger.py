"""Keeps the account where a crash of the gate cannot take it: a state file for the next instance,
the termination message for the operator, and log lines for people.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codexrun_core.pod_contract import GATE_STOPPING_FILE, ReportKey
from codexrun_pod import loglines, termination
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.meter import Account
from codexrun_pod.gate.policy.output import NO_MESSAGE
from codexrun_pod.gate.policy.verdicts import Limits, Tries
from codexrun_pod.gate.settings import Settings
from codexrun_pod.masking import DigestMask

STATE = "account.json"
MASK = "mask.json"


class Ledger:
    """The account of one attempt, and its three copies."""

    def __init__(self, settings: Settings) -> None:
        """Take up what an earlier instance left; a request that it had in flight is charged at the
        most that it can come to."""
        self.settings = settings
        self.terminating = False
        self.last_byte = time.monotonic()
        self.on_change: Callable[[], None] = lambda: None  # called whenever the account has changed
        self.log_bytes = 0  # of the agent's log, with the api
        self.log_complete = False
        self.mask = DigestMask({})  # of the agent's Secrets, from when the runner has given it on
        self.mask_given = False
        self._load_mask()
        self.account = self._load()
        if (flight := self.account.in_flight) is not None:
            self.account = meter.charged_at_most(self.account, settings.prices)
            why = "the gate ended while a request was in flight"
            self.log("usage.estimated", level="warning", model=flight.model, reason=why)
        self.save(self.account)
        self.publish()

    def _load(self) -> Account:
        try:
            return meter.from_json(json.loads(_read(self.settings.state_dir / STATE)))
        except FileNotFoundError:
            return Account()
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.log("account.lost", level="error", reason=f"{type(error).__name__}: {error}")
            return Account(complete=False)

    def _load_mask(self) -> None:
        try:
            self.mask = DigestMask(json.loads(_read(self.settings.state_dir / MASK)))
            self.mask_given = True
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            self.log("mask.lost", level="error", reason=f"{type(error).__name__}: {error}")

    def take_mask(self, digests: Any) -> None:
        """Mask what is told from now on. digests: of `Mask.digests`; they outlive this instance.

        Raises:
            ValueError: they are something else.
            OSError: they cannot be written down.
        """
        mask = DigestMask(digests)
        _replace(self.settings.state_dir / MASK, json.dumps(digests))
        self.mask, self.mask_given = mask, True

    @property
    def limits(self) -> Limits:
        """Return what the next request may do."""
        account = self.account
        tries = None
        if account.turn_tokens and account.last_error is not None:
            last = account.last_error
            tries = Tries(last.class_, last.message, account.turn_tokens, account.turn_pico)
        return Limits(
            models=self.settings.models,
            efforts=self.settings.efforts,
            tools=self.settings.tools,
            max_tokens=self.settings.max_tokens,
            spent=account.usage.total,
            max_pico=self.settings.max_pico,
            spent_pico=account.pico_usd,
            prices=self.settings.prices,
            stopping=self.terminating or (self.settings.state_dir / GATE_STOPPING_FILE).exists(),
            stopped=account.stop,
            max_output=self.settings.max_output_tokens,
            tries=tries,
            unpriced=account.unpriced,
            tier=account.tier,
            takes_reasoning_ids=self.settings.endpoint.takes_reasoning_ids,
        )

    def touch(self, ahead: float = 0.0) -> None:
        """Note progress of the model, or that none is to be expected for `ahead` seconds. A request
        is no progress: Codex would go on asking an endpoint that hangs, and never stall."""
        self.last_byte = max(self.last_byte, time.monotonic() + ahead)

    def save(self, account: Account) -> None:
        """Make `account`, masked, the account, in memory and in the state file."""
        self.account = meter.masked(account, self.mask.text)
        try:
            _replace(self.settings.state_dir / STATE, json.dumps(meter.to_json(self.account)))
        except OSError as error:
            self.log("account.unsaved", level="error", reason=str(error))

    def publish(self) -> None:
        """Write the termination message."""
        settings = self.settings
        extra: dict[str, Any] = {}
        if settings.ingest:
            extra |= {
                ReportKey.LOG_BYTES: self.log_bytes,
                ReportKey.LOG_COMPLETE: self.log_complete,
            }
        if settings.output_schema is not None:
            extra[ReportKey.OUTPUT] = (self.account.output or NO_MESSAGE).json
        text = meter.message(self.account, settings.prices, settings.price_table, extra)
        try:
            termination.write(settings.termination_log, text)
        except OSError as error:
            self.log("message.unwritten", level="error", reason=str(error))

    def settle(self, account: Account) -> None:
        """Save and publish."""
        if account.unpriced != self.account.unpriced:
            self.log("usage.unpriced", level="warning", reason=f"no price for {account.unpriced}")
        self.save(account)
        self.publish()
        self.on_change()

    def cost(self) -> int | None:
        """Return the micro-dollars so far, None if unknown."""
        return meter.cost(self.account, self.settings.prices)

    def usage(self) -> dict[str, Any]:
        """Return the account so far, as the api expects it."""
        account = self.account
        used = meter.usage(account, self.settings.prices)
        extra = {
            "waitingUntil": account.waiting_until,
            "requests": account.requests,
            "complete": account.complete,
            "priceTable": self.settings.price_table,
        }
        return {key: value for key, value in {**used, **extra}.items() if value is not None}

    def log(self, text: str, **fields: Any) -> None:
        """Write one line to stdout; never a header and never a body. Texts are masked."""
        settings = self.settings
        masked = {key: self.masked(value) for key, value in fields.items()}
        seed = {
            "run_id": settings.run_id,
            "job_type": settings.job_type,
            "attempt": settings.attempt,
        }
        sys.stdout.buffer.write(loglines.line("gate", text=text, **seed, **masked))
        sys.stdout.buffer.flush()

    def masked(self, value: Any) -> Any:
        """Return a text, or a list of texts, masked; anything else as it is."""
        if isinstance(value, list):
            return [self.masked(item) for item in value]
        return self.mask.text(value) if isinstance(value, str) else value


def _replace(path: Path, content: str) -> None:
    """Write a file, whole or not at all; it survives kill -9.

    The file before is taken away first: ext4 and btrfs send a file that is renamed over another to
    the disk at once (auto_da_alloc in ext4(5)), which a request would wait for. It does not have to
    survive the node, as the pod does not.

    Raises:
        OSError: it may be as it was.
    """
    fresh = _fresh(path)
    fresh.write_text(content)
    path.unlink(missing_ok=True)
    fresh.rename(path)


def _read(path: Path) -> bytes:
    """Read what `_replace` has written last.

    Raises:
        FileNotFoundError: it has written nothing.
        OSError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return _fresh(path).read_bytes()  # the gate was killed between the last two steps


def _fresh(path: Path) -> Path:
    return path.with_suffix(".new")
