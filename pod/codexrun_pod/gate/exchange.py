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
from codexrun_pod.gate.content_coding import Body, UnreadableError
from codexrun_pod.gate.input_size import input_size
from codexrun_pod.gate.policy import tools
from codexrun_pod.gate.policy.key_filter import KeyFilter
from codexrun_pod.gate.policy.verdicts import Admitted, Denied
from codexrun_pod.gate.sse import EventStream

T = TypeVar("T")

CHECK_SECONDS = 1.0  # how often the client is looked after
CLIENT_READ_SECONDS = 60.0  # in which a client has to take what is sent to it
# A client that left no longer than this before a stop left because of it: the runner ends Codex,
# and then itself, within 15 s.
LEFT_WITH_THE_RUN_SECONDS = 30.0
MAX_ERROR_BYTES = 1024 * 1024  # of the body of an upstream error
NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ClientHttpProxyError,
)


class AbandonedError(Exception):
    """The gate has to end, or the next request has waited for too long: reading on is over."""


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
        self.bytes_came = False  # of an answer that was broken off
        self.client_left_at: float | None = None
        # Set from outside, to read no further: what the answer is charged.
        self.abandon: meter.Charge | None = None
        self.began = time.monotonic()
        self.check_at = self.began + CHECK_SECONDS

    async def run(self, session: aiohttp.ClientSession) -> web.StreamResponse:
        """Return the answer for the client: upstream's stream, upstream's error, or 502 when there
        was none."""
        ledger = self.ledger
        admitted = self.admitted
        size = input_size(admitted.beginnings, ledger.account.counted)
        flight = meter.InFlight(admitted.model, size, admitted.max_output, admitted.lowered)
        ledger.save(meter.sent(ledger.account, flight))
        ledger.publish()  # as incomplete, should the gate be killed before the answer's end
        try:
            return await self._forward(session)
        except AbandonedError:
            self._settle_broken(None, self.abandon)
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
        except UnreadableError as error:
            self._settle_broken(
                errors.unreadable(self.host, self.key_filter.text(str(error))), "at_most"
            )
            return _unreadable(ledger)
        except (aiohttp.ClientError, TimeoutError) as error:
            self._settle_broken(errors.unreachable(self.host, self._reason(error)))
            return _bad_gateway(ledger)
        except asyncio.CancelledError:
            self._settle_broken(None, "estimate")
            raise
        finally:
            if ledger.account.in_flight is not None:  # a fault of the gate
                self._settle_broken(None, "at_most")
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
            auto_decompress=False,  # aiohttp passes codings on that it does not know
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
        try:
            body = await self._while_attended(Body(answer).read(MAX_ERROR_BYTES))
        except UnreadableError as coding:
            body = f"its text has the Content-Encoding {coding}".encode()
        body = self.key_filter.raw(body)
        error = errors.from_answer(
            answer.status, answer.headers, body.decode("utf-8", "replace"), _now(), self._cap()
        )
        self.ledger.settle(meter.refused_upstream(self.ledger.account, error))
        return web.Response(status=answer.status, body=body, headers=self._headers_down(answer))

    async def _stream(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        upstream = Body(answer)
        down = web.StreamResponse(headers=self._headers_down(answer))
        await self._pass_on(down.prepare(self.request))
        try:
            while chunk := await self._while_attended(upstream.readany()):
                self.ledger.touch()
                allowed = self._meter(chunk)
                if allowed and self.client_left_at is None:
                    await self._pass_on(down.write(allowed))
                if self.events.called and self.client_left_at is None:
                    await self._end_run(down)
                if self.events.last:
                    break  # some servers and proxies leave the connection open behind it
        except AbandonedError:
            if self.events.last is None:
                raise
        except aiohttp.ClientError:
            # Broken off in the middle: told below, and to the client by breaking off too. aiohttp
            # loses what had come just before, but it had come.
            self.bytes_came = answer.content.total_bytes > 0
        if self.events.last is None:
            self._settle_broken(errors.cut(self.host))
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
            received = self._received()
            ledger.settle(
                meter.answered(ledger.account, self.events.last, received, prices, _now())
            )
        return allowed

    def _settle_broken(
        self, error: errors.UpstreamError | None, charge: meter.Charge | None = None
    ) -> None:
        """Charge an answer whose end was not seen; charge: None if the provider broke it off."""
        ledger = self.ledger
        received = self._received()
        charge = charge or meter.unmetered(None, received)
        prices = ledger.settings.prices
        ledger.settle(meter.broken(ledger.account, error, received, charge, prices))

    def _received(self) -> meter.Received:
        self._look_for_client()
        return meter.Received(
            text_bytes=self.events.text_bytes,
            searches=self.events.searches,
            seconds=time.monotonic() - self.began,
            began=self.events.began or self.bytes_came,
            left=self.client_left_at is not None,
        )

    def charge_at_stop(self, stopped_at: float) -> meter.Charge:
        """Return what the answer is charged if a stop that began then ends it before its usage has
        come; stopped_at: of time.monotonic."""
        left = self.client_left_at
        long_before = left is not None and stopped_at - left > LEFT_WITH_THE_RUN_SECONDS
        return "at_most" if long_before else "estimate"

    def _cap(self) -> str | None:
        """Return the cap that the gate has set, for the message of a server that refuses it."""
        if self.admitted.lowered is None:
            return None
        return (
            f"max_output_tokens was {self.admitted.max_output}, which is left of"
            f" {self.admitted.lowered}; if the model cannot answer as much, set maxOutputTokens of"
            " the job type to what it can"
        )

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
        """Pass on to the client; one that does not read has left, or it could keep the gate from
        reading the answer's end."""
        try:
            async with asyncio.timeout(CLIENT_READ_SECONDS):
                await self._while_attended(sending)
        except ConnectionError:
            self._client_left()
        except TimeoutError:
            self._client_left()
            if self.request.transport is not None:
                self.request.transport.abort()

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
            AbandonedError: `abandon` was set.
        """
        task = asyncio.ensure_future(work)
        try:
            while True:
                ready, _ = await asyncio.wait(
                    {task}, timeout=max(0.0, self.check_at - time.monotonic())
                )
                if time.monotonic() >= self.check_at:
                    self.check_at = time.monotonic() + CHECK_SECONDS
                if self.abandon is not None:
                    raise AbandonedError
                if ready:
                    return task.result()
                self._look_for_client()
        finally:
            task.cancel()

    def _look_for_client(self) -> None:
        if self.request.transport is None or self.request.transport.is_closing():
            self._client_left()


def _bad_gateway(ledger: Ledger) -> web.Response:
    return _failure(ledger, 502, "unreachable")


def _unreadable(ledger: Ledger) -> web.Response:
    """400, which Codex does not try again: the next answer would be no other, and paid too."""
    return _failure(ledger, 400, "unreadable")


def _failure(ledger: Ledger, status: int, code: str) -> web.Response:
    error = ledger.account.last_error
    body = {
        "error": {
            "type": "codexrun_gate",
            "code": code,
            "message": error.message if error else "",
        }
    }
    return web.json_response(body, status=status)


def _now() -> datetime:
    return datetime.now(UTC)
