"""One admitted request, there and back: forwarded with the key, streamed without buffering, metered
on the way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from codexrun_pod.gate import errors, header_filter
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.policy import tools
from codexrun_pod.gate.policy.key_filter import KeyFilter
from codexrun_pod.gate.policy.verdicts import Admitted, Denied
from codexrun_pod.gate.sse import EventStream

T = TypeVar("T")

CHECK_SECONDS = (
    1.0  # how often the record in flight is brought up to date and the client looked after
)
# the answer to a client that left is read on for its usage, unless it is silent for so long
DRAIN_SECONDS = 30.0
NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ClientHttpProxyError,
)


class AbandonedError(Exception):
    """Reading on is pointless: the client left long ago, or the gate has to end."""


class Exchange:
    """One request, there and back. Its account entry is settled whatever happens in between."""

    def __init__(
        self, ledger: Ledger, request: web.Request, admitted: Admitted, key: str | None
    ) -> None:
        """key: the model's; None sends none."""
        self.ledger = ledger
        self.request = request
        self.admitted = admitted
        self.key = key
        self.key_filter = KeyFilter(key)
        self.endpoint = ledger.settings.endpoint
        self.host = self.endpoint.host
        self.events = EventStream(
            lambda event: tools.forbidden_call(event, ledger.settings.tools, admitted.stripped),
            self.key_filter.raw,
        )
        self.streamed = 0
        self.saved_bytes = 0
        self.client_left_at: float | None = None
        self.abandon = False
        self.began = time.monotonic()
        self.check_at = self.began + CHECK_SECONDS

    async def run(self, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Return the answer for the client: upstream's stream, upstream's error, or 502 when there
        was none."""
        ledger = self.ledger
        prices = self.ledger.settings.prices
        flight = meter.InFlight(self.admitted.model, len(self.admitted.body), self.admitted.lowered)
        ledger.save(meter.sent(ledger.account, flight))
        try:
            return await self._forward(session)
        except AbandonedError:
            ledger.settle(meter.broken(self._account(), None, prices))
            if self.request.transport is not None:
                self.request.transport.abort()
            return web.Response(status=503)
        except NOT_CONNECTED as error:
            ledger.settle(
                meter.refused_upstream(
                    ledger.account, errors.unreachable(self.host, self._reason(error))
                )
            )
            return _bad_gateway(ledger)
        except (aiohttp.ClientError, TimeoutError) as error:
            ledger.settle(
                meter.broken(
                    self._account(), errors.unreachable(self.host, self._reason(error)), prices
                )
            )
            return _bad_gateway(ledger)
        finally:
            if ledger.account.in_flight is not None:  # cancelled, or a fault of the gate
                ledger.settle(meter.broken(self._account(), None, prices))
            last_error = ledger.account.last_error
            ledger.log(
                "request.ended",
                model=self.admitted.model,
                duration_ms=int((time.monotonic() - self.began) * 1000),
                ended=self.events.last.kind if self.events.last else None,
                cost_tokens=ledger.account.usage.total,
                complete=ledger.account.complete,
                failure_class=last_error.class_ if last_error else None,
                code=last_error.status if last_error else None,
                error=last_error.message if last_error else None,
                stop=ledger.account.stop.message if ledger.account.stop else None,
            )

    async def _forward(self, session: aiohttp.ClientSession) -> web.StreamResponse:
        head = header_filter.up(self.request.headers, self.endpoint.credentials(self.key))
        sending = session.post(
            URL(self.endpoint.responses, encoded=True),
            data=self.admitted.body,
            headers=head,
            allow_redirects=False,
            proxy=self.endpoint.proxy,
        )
        answer = await self._while_attended(sending)
        try:
            self.ledger.touch()
            if answer.status != 200:
                return await self._error(answer)
            return await self._stream(answer)
        finally:
            answer.close()

    async def _error(self, answer: aiohttp.ClientResponse) -> web.Response:
        """Pass an error on unchanged, but for the key, should the answer quote it."""
        body = self.key_filter.raw(await self._while_attended(answer.read()))
        error = errors.from_answer(
            answer.status, answer.headers, body.decode("utf-8", "replace"), _now()
        )
        self.ledger.settle(meter.refused_upstream(self.ledger.account, error))
        return web.Response(status=answer.status, body=body, headers=self._headers_down(answer))

    async def _stream(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        down = web.StreamResponse(headers=self._headers_down(answer))
        await self._pass_on(down.prepare(self.request))
        try:
            while chunk := await self._while_attended(answer.content.readany()):
                self.ledger.touch()
                self.streamed += len(chunk)
                allowed = self._meter(chunk)
                if allowed and self.client_left_at is None:
                    await self._pass_on(down.write(allowed))
                if self.events.called and self.client_left_at is None:
                    await self._end_run(down)
                if self.events.last and self.client_left_at is not None:
                    break  # Codex leaves as soon as it has read response.completed
        except AbandonedError:
            if self.events.last is None:
                raise
        except aiohttp.ClientError:
            # Broken off in the middle: told below, and to the client by breaking off too. What came
            # with it is lost, but paid.
            self.streamed = max(self.streamed, answer.content.total_bytes)
        if self.events.last is None:
            self.ledger.settle(
                meter.broken(self._account(), errors.cut(self.host), self.ledger.settings.prices)
            )
            if self.request.transport is not None:
                self.request.transport.abort()
        return down

    def _meter(self, chunk: bytes) -> bytes:
        """Meter a chunk before it is passed on, so that what Codex has seen is in the account;
        return what may be passed on."""
        previous = self.events.last
        allowed = self.events.feed(chunk)
        if self.events.last is not None and previous is None:
            ledger = self.ledger
            prices = ledger.settings.prices
            ledger.settle(
                meter.answered(
                    self._account(), self.events.last, self.events.output_seen, prices, _now()
                )
            )
        return allowed

    async def _end_run(self, down: web.StreamResponse) -> None:
        """End the run: the model has called what it may not, and Codex never sees the call. The
        answer is read on for its usage."""
        message = (
            f"the model called the tool {self.events.called!r}, which the job type does not allow"
            " (allowedTools)"
        )
        denial = Denied("guardrail", message)
        self.ledger.settle(meter.stopped(self.ledger.account, denial))
        self.ledger.log("call.withheld", tool=self.events.called)
        response = {"id": "codexrun_refused", "status": "failed", "error": denial.body["error"]}
        event = json.dumps({"type": "response.failed", "response": response})
        await self._pass_on(down.write(f"event: response.failed\ndata: {event}\n\n".encode()))
        self._client_left()

    def _headers_down(self, answer: aiohttp.ClientResponse) -> dict[str, str]:
        return self.key_filter.headers(header_filter.down(answer.headers))

    def _reason(self, error: BaseException) -> str:
        """Return an error's reason; the HTTP parser's quotes what the upstream has sent."""
        cause = getattr(error, "os_error", None)
        reason = getattr(cause, "strerror", None) or str(error) or type(error).__name__
        return self.key_filter.text(reason)[:200]

    async def _pass_on(self, sending: Awaitable[object]) -> None:
        try:
            await self._while_attended(sending)
        except ConnectionError:
            self._client_left()

    @property
    def attended(self) -> bool:
        """Return whether somebody still waits for this answer: neither has it ended, nor has the
        client left."""
        gone = self.request.transport is None or self.request.transport.is_closing()
        return self.events.last is None and self.client_left_at is None and not gone

    def _client_left(self) -> None:
        if self.client_left_at is None:
            self.client_left_at = time.monotonic()

    async def _while_attended(self, work: Awaitable[T]) -> T:
        """Return `work`'s result, looking at the client once a second.

        Raises:
            AbandonedError: it will not be waited for any longer.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                ready, _ = await asyncio.wait(
                    {task}, timeout=max(0.0, self.check_at - time.monotonic())
                )
                if time.monotonic() >= self.check_at:
                    self.check_at = time.monotonic() + CHECK_SECONDS
                    self._save_streamed()
                if ready:
                    return task.result()
                self._give_up_if_pointless()
        finally:
            task.cancel()

    def _save_streamed(self) -> None:
        """Save how much has been streamed, in case this process does not live to see the end of
        it."""
        if self.streamed != self.saved_bytes and self.ledger.account.in_flight is not None:
            self.saved_bytes = self.streamed
            self.ledger.save(self._account())

    def _account(self) -> meter.Account:
        return meter.streamed(self.ledger.account, self.streamed)

    def _give_up_if_pointless(self) -> None:
        if self.request.transport is None or self.request.transport.is_closing():
            self._client_left()
        left = self.client_left_at
        if self.abandon or (
            left is not None and time.monotonic() - max(left, self.ledger.last_byte) > DRAIN_SECONDS
        ):
            raise AbandonedError


def _bad_gateway(ledger: Ledger) -> web.Response:
    error = ledger.account.last_error
    body = {
        "error": {
            "type": "codexrun_gate",
            "code": "unreachable",
            "message": error.message if error else "",
        }
    }
    return web.json_response(body, status=502)


def _now() -> datetime:
    return datetime.now(UTC)
