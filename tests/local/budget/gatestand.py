"""A gate over HTTP in this process, between a client and an upstream that a test writes."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from gate_app import gate_settings, listening

from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.server import Gate

Json = dict[str, Any]
PRICES = {
    "gpt-5.5": {
        "inputMicroUSDPerMTok": 5_000_000,
        "cachedInputMicroUSDPerMTok": 500_000,
        "outputMicroUSDPerMTok": 30_000_000,
    }
}
BODY = {"model": "gpt-5.5", "stream": True, "store": False}


@dataclass
class GateStand:
    """One attempt's gate; `restart` is what the kubelet does after a crash between two requests."""

    folder: Path
    upstream: str
    limits: Json
    gate: Gate | None = None
    base: str = ""

    @property
    def ledger(self) -> Ledger:
        assert self.gate is not None
        return self.gate.ledger

    def new_ledger(self) -> Ledger:
        given = {
            "upstreamURL": f"{self.upstream}/v1",
            "models": ["gpt-5.5"],
            "prices": PRICES,
            "priceTable": "2026-06-12",
            **self.limits,
        }
        return Ledger(gate_settings(self.folder, **given))

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["GateStand"]:
        self.gate = Gate(self.new_ledger())
        async with listening(self.gate.application()) as self.base:
            yield self
        await self.gate.session.close()

    def restart(self) -> None:
        """The account is taken up from the state file by another instance."""
        assert self.gate is not None
        self.gate.ledger = self.new_ledger()

    def message(self) -> Json:
        told: Json = json.loads((self.folder / "message").read_bytes())
        return told

    async def ask(self, client: aiohttp.ClientSession, body: Json, **headers: str) -> int:
        """The status, once the whole answer is there; 0 where it broke off."""
        try:
            async with client.post(
                f"{self.base}/v1/responses", json={**BODY, **body}, headers=headers
            ) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0
