"""One admitted request, there and back: forwarded with the key, streamed without buffering, metered
on the way."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from codexrun_pod.gate import errors, header_filter
from codexrun_pod.gate import usage as tokens
from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.content_coding import Body, UnreadableError
from codexrun_pod.gate.errors.body import MAX_MESSAGE_CHARS
from codexrun_pod.gate.header_filter import MAX_HEAD_BYTES, head_bytes
from codexrun_pod.gate.identity import ExchangeError
from codexrun_pod.gate.input_size import input_size
from codexrun_pod.gate.policy import tools
from codexrun_pod.gate.policy.key_filter import KeyFilter
from codexrun_pod.gate.policy.verdicts import Admitted, Denied
from codexrun_pod.gate.sse import EventStream
from codexrun_pod.gate.usage import Usage

T = TypeVar("T")

CHECK_SECONDS = 1.0  # how often the client is looked after
CLIENT_READ_SECONDS = 60.0  # in which a client has to take what is sent to it
# A client that left no longer than this before a stop left because of it: the runner ends Codex,
# and then itself, within 15 s.
LEFT_WITH_THE_RUN_SECONDS = 30.0
MAX_ERROR_BYTES = 1024 * 1024  # of the body of an upstream error
JSON_OR_PAGE = ("json", "html", "xml")  # in the media type of an answer that is no stream
FINAL_STATUS = 400  # which Codex does not try again
NOT_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ClientHttpProxyError,
)


class UnreadableHeadError(Exception):
    """The answer's head is larger than the gate reads."""


class AbandonedError(Exception):
    """The gate has to end, or the next request has waited for too long: reading on is over."""


class Exchange:
    """One request, there and back. Its account entry is settled whatever happens in between."""

    def __init__(
        self,
        ledger: Ledger,
        request: web.Request,
        admitted: Admitted,
        renew: Callable[[], Awaitable[str | None]],
    ) -> None:
        """renew: gives another key once the first one is refused, None if there is none; raises
        ExchangeError where there should be one."""
        self.ledger = ledger
        self.request = request
        self.admitted = admitted
        self.renew: Callable[[], Awaitable[str | None]] | None = renew
        self._use(None)
        self.endpoint = ledger.settings.endpoint
        self.host = self.endpoint.host
        self.bytes_came = False  # of an answer that was broken off
        self.client_left_at: float | None = None
        # Set from outside, to read no further: what the answer is charged.
        self.abandon: meter.Charge | None = None
        self.began = time.monotonic()
        self.check_at = self.began + CHECK_SECONDS

    def _use(self, key: str | None) -> None:
        """Send this key, and keep it out of what comes back. Nothing may have come yet."""
        allowed, stripped = self.ledger.settings.tools, self.admitted.stripped
        self.key = key
        self.key_filter = KeyFilter(key)
        # Nothing in it refers to this exchange, whose body would stay until a garbage collection.
        self.events = EventStream(
            lambda event: tools.forbidden_call(event, allowed, stripped), self.key_filter.raw
        )

    async def run(self, session: aiohttp.ClientSession, key: str | None) -> web.StreamResponse:
        """Return the answer for the client: upstream's stream, upstream's error, or 502 when there
        was none. A provider that names a time for the next try is asked again then, as long as the
        run may wait for it.

        key: the model's; None sends none.
        """
        self._use(key)
        while True:
            answer = await self._ask(session)
            if isinstance(answer, web.StreamResponse):
                return answer
            if not await self.wait_for_provider():
                return web.Response(status=499)  # the client left

    async def wait_for_provider(self) -> bool:
        """Wait until the time that the provider has named, if any; return False if nobody needs the
        answer any longer."""
        ledger = self.ledger
        if (until := ledger.account.waiting_until) is None:
            return True
        seconds = _seconds_to(until)
        ledger.touch(seconds)  # an earlier instance of the gate may have granted the time
        ends_at = time.monotonic() + seconds
        while (remaining := ends_at - time.monotonic()) > 0:
            self._look_for_client()
            if self.client_left_at is not None or self.abandon or ledger.terminating:
                return False
            await asyncio.sleep(min(remaining, CHECK_SECONDS))
        ledger.settle(replace(ledger.account, waiting_until=None))
        return True

    def forget_body(self) -> None:
        """Free the body, even while something still refers to this exchange: that of the next
        request takes as much."""
        self.admitted = replace(self.admitted, body=b"")

    def without_token(self, error: errors.UpstreamError) -> web.Response:
        """Answer that there is no token, with a status that Codex does not try again where another
        try would get none either."""
        self._settle_error(self.ledger.account, error)
        self.ledger.log("token.missing", level="error", reason=error.message)
        return self._failure(error.class_)

    async def _ask(self, session: aiohttp.ClientSession) -> web.StreamResponse | None:
        """Send the request once; None if it is to be sent again."""
        ledger = self.ledger
        self.began = time.monotonic()
        admitted = self.admitted
        size = input_size(admitted.beginnings, ledger.account.counted)
        flight = meter.InFlight(admitted.model, size, admitted.max_output, admitted.lowered)
        ledger.save(meter.sent(ledger.account, flight))
        ledger.publish()  # as incomplete, should the gate be killed before the answer's end
        try:
            return await self._forward(session)
        except ExchangeError as error:
            return self.without_token(error.error)
        except AbandonedError:
            self._settle_broken(None, self.abandon)
            if self.request.transport is not None:
                self.request.transport.abort()
            return web.Response(status=503)
        except NOT_CONNECTED as error:
            self._note(errors.unreachable(self.host, self._reason(error), advice=_way_out(error)))
            return self._failure("unreachable")
        except UnreadableError as error:
            coding = self.key_filter.text(str(error))
            self._settle_broken(errors.unreadable(self.host, coding), "at_most")
            return self._failure("unreadable")
        except (aiohttp.ClientResponseError, UnreadableHeadError) as error:
            problem = errors.unreadable_head(self.host, is_too_large=_is_head_too_large(error))
            self._settle_broken(problem, "at_most")
            return self._failure("unreadable")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._settle_broken(errors.unreachable(self.host, self._reason(error)))
            return self._failure("unreachable")
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

    async def _forward(self, session: aiohttp.ClientSession) -> web.StreamResponse | None:
        head = header_filter.up(self.request.headers, self.endpoint.credentials(self.key))
        sending = session.post(
            URL(self.endpoint.responses, encoded=True),
            data=self.admitted.body,
            headers=head,
            allow_redirects=False,
            auto_decompress=False,  # aiohttp passes codings on that it does not know
            proxy=self.endpoint.proxy,
        )
        answer = await self.while_attended(sending)
        try:
            self.ledger.touch()
            if head_bytes(answer.raw_headers) > MAX_HEAD_BYTES:
                raise UnreadableHeadError
            if answer.status != 200 or _is_no_stream(answer):
                return await self._error(answer)
            return await self._stream(answer)
        finally:
            answer.close()

    async def _error(self, answer: aiohttp.ClientResponse) -> web.Response | None:
        """Pass an error on unchanged, but for the key, should the answer quote it, and for the
        status of one that another try would get again; None if the provider is to be waited for."""
        if answer.status == HTTPStatus.UNAUTHORIZED and await self._renewed():
            return None
        try:
            body = await self.while_attended(Body(answer).read(MAX_ERROR_BYTES))
        except UnreadableError as coding:
            body = (
                f"the error message cannot be read, because the response has the Content-Encoding"
                f" {coding}"
            ).encode()
        body = self.key_filter.raw(body)
        error = errors.read(
            body.decode("utf-8", "replace"),
            _now(),
            status=answer.status,
            headers=self.key_filter.headers(answer.headers),
            cap=self._cap(),
            mask=self.ledger.mask.text,
        )
        used = tokens.parse(_usage_in(body)) if answer.status == 200 else None
        self._note(error, used)
        if self.ledger.account.waiting_until is not None:
            return None
        if answer.status < 400 or not body.strip() or body.lstrip().startswith(b"<"):
            return self._failure(error.class_)
        status = FINAL_STATUS if self._is_final else answer.status
        return web.Response(status=status, body=body, headers=self._headers_down(answer))

    async def _renewed(self) -> bool:
        """Return whether there is another key to try with, at most once a request: a token may
        expire early, or be revoked."""
        renew, self.renew = self.renew, None
        key = await self.while_attended(renew()) if renew is not None else None
        if key is None:
            return False
        self._use(key)
        self.ledger.settle(replace(self.ledger.account, in_flight=None))
        return True

    def _note(self, error: errors.UpstreamError, used: Usage | None = None) -> None:
        """Note an error that came in place of an answer; used: what the provider has counted all
        the same."""
        account = self.ledger.account
        if used is not None:
            account = meter.charged(account, used, self.ledger.settings.prices)
        self._settle_error(account, error)

    def _settle_error(self, account: meter.Account, error: errors.UpstreamError) -> None:
        ledger = self.ledger
        max_wait = ledger.settings.max_wait_seconds
        account = meter.noted(account, error, self.admitted.digest, max_wait, _now())
        if (until := account.waiting_until) is not None:
            ledger.touch(_seconds_to(until))
            ledger.log("provider.waited_for", until=until, reason=error.message)
        ledger.settle(account)

    @property
    def _is_final(self) -> bool:
        """Return whether another try of this request would end the same way."""
        return self.ledger.account.refused == self.admitted.digest

    async def _stream(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        upstream = Body(answer)
        down = web.StreamResponse(headers=self._headers_down(answer))
        await self._pass_on(down.prepare(self.request))
        try:
            while chunk := await self.while_attended(upstream.readany()):
                allowed = self._meter(chunk)
                if allowed and self.client_left_at is None:
                    await self._pass_on(down.write(allowed))
                if self.events.called and self.client_left_at is None:
                    await self._end_run(down)
                if self.events.last or self.events.is_too_large:
                    break  # some servers and proxies leave the connection open behind it
        except AbandonedError:
            if self.events.last is None:
                raise
        except aiohttp.ClientError:
            # Broken off in the middle: told below, and to the client by breaking off too. aiohttp
            # loses what had come just before, but it had come.
            self.bytes_came = answer.content.total_bytes > 0
        if self.events.last is None:
            self._settle_without_end()
            if self.request.transport is not None:
                self.request.transport.abort()
        return down

    def _settle_without_end(self) -> None:
        """Settle a stream that had no last event."""
        if self.events.is_too_large:
            self._settle_broken(errors.unreadable_event(self.host), "at_most")
            return
        unread = self.key_filter.raw(self.events.unread.lstrip())
        if unread.startswith((b"{", b"[", b"<")) and not self.events.began:
            # no stream, whatever its header says
            text, mask = unread.decode("utf-8", "replace"), self.ledger.mask.text
            error = errors.read(text, _now(), status=200, mask=mask)
            self._note(error, tokens.parse(_usage_in(unread)))
            return
        is_foreign = self.events.is_foreign and not self.bytes_came
        cut = errors.foreign if is_foreign else errors.cut
        self._settle_broken(cut(self.host))

    def _meter(self, chunk: bytes) -> bytes:
        """Meter a chunk before it is passed on, so that what Codex has seen is in the account;
        return what may be passed on."""
        previous = self.events.last
        progress = self.events.progress
        allowed = self.events.feed(chunk)
        if self.events.progress > progress:
            self.ledger.touch()
        if self.events.last is not None and previous is None:
            ledger = self.ledger
            prices = ledger.settings.prices
            received = self._received()
            last, mask = self.events.last, ledger.mask.text
            account = meter.answered(ledger.account, last, received, prices, _now(), mask=mask)
            error = account.last_error
            if error is not None and error is not ledger.account.last_error:
                # Codex tries again what failed, and what is incomplete, such as by a filter.
                self._settle_error(account, error)
            else:
                ledger.settle(account)
        return allowed

    def _settle_broken(
        self, error: errors.UpstreamError | None, charge: meter.Charge | None = None
    ) -> None:
        """Charge an answer whose end was not seen; charge: None if the provider broke it off."""
        ledger = self.ledger
        received = self._received()
        charge = charge or meter.unmetered(None, received)
        prices = ledger.settings.prices
        account = meter.broken(ledger.account, error, received, charge, prices)
        if error is None:
            ledger.settle(account)
        else:
            self._settle_error(account, error)

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

    def _failure(self, code: str) -> web.Response:
        """Return the last error in the gate's own words: 502 for one that may pass."""
        error = self.ledger.account.last_error
        message = error.text if error else ""
        body = {"error": {"type": "codexrun_gate", "code": code, "message": message}}
        return web.json_response(body, status=FINAL_STATUS if self._is_final else 502)

    def _cap(self) -> str | None:
        """Return the cap that the gate has set, for the message of a server that refuses it."""
        if self.admitted.lowered is None:
            return None
        return (
            f"max_output_tokens was {self.admitted.max_output}, the number of tokens left under"
            f" {self.admitted.lowered}; if the model allows fewer, set the job type's"
            " maxOutputTokens to the model's maximum"
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
        return self.ledger.mask.text(self.key_filter.text(reason)[:MAX_MESSAGE_CHARS])[:200]

    async def _pass_on(self, sending: Awaitable[object]) -> None:
        """Pass on to the client; one that does not read has left, or it could keep the gate from
        reading the answer's end."""
        try:
            async with asyncio.timeout(CLIENT_READ_SECONDS):
                await self.while_attended(sending)
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

    async def while_attended(self, work: Awaitable[T]) -> T:
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


def _way_out(error: BaseException) -> str:
    """Return what to do where no further try would connect; "" if one may."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status < 500:
            return (
                "the proxy (model.proxy) refuses the connection; configure the proxy to accept"
                " connections from the pods' addresses and to the model's host"
            )
        return ""
    if isinstance(error, aiohttp.InvalidURL):
        return "set model.upstreamURL to an http(s) URL"
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError | ssl.CertificateError):
        return (
            "if the endpoint, or a proxy that intercepts TLS, has a certificate from a private CA,"
            " add that CA to model.caBundle; otherwise correct the certificate"
        )
    if isinstance(cause, ssl.SSLError):
        return "check whether model.upstreamURL should begin with http:// or https://"
    return ""


def _is_head_too_large(error: aiohttp.ClientResponseError | UnreadableHeadError) -> bool:
    """Return what is wrong with an answer's head: too large, or no HTTP. Not a word of it is shown,
    since it may hold cookies."""
    return isinstance(error, UnreadableHeadError) or "Got more than" in error.message


def _is_no_stream(answer: aiohttp.ClientResponse) -> bool:
    """Return whether an answer of status 200 says that it is JSON or a web page."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].lower()
    return any(kind in media_type for kind in JSON_OR_PAGE)


def _usage_in(body: bytes) -> Any:
    """Return the usage of a whole response, from a server that does not stream."""
    try:
        response = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return response.get("usage") if isinstance(response, dict) else None


def _now() -> datetime:
    return datetime.now(UTC)


def _seconds_to(moment: str) -> float:
    """Return the seconds until a time in RFC 3339."""
    return (datetime.fromisoformat(moment) - _now()).total_seconds()
