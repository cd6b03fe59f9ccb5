"""The gate's HTTP face on loopback, and its life from first line to last."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from aiohttp.connector import AddrInfoType

from codexrun_pod.gate.account import meter
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.exchange import AbandonedError, Exchange
from codexrun_pod.gate.header_filter import MAX_HEAD_BYTES, MAX_LINE_BYTES, head_bytes
from codexrun_pod.gate.identity import ExchangeError, TokenSource
from codexrun_pod.gate.logs.ingest_client import IngestClient
from codexrun_pod.gate.logs.loopback_routes import LoopbackRoutes
from codexrun_pod.gate.logs.spool import Spool
from codexrun_pod.gate.logs.upload_to_api import Uploader
from codexrun_pod.gate.loopback.request_body import BodyError, BodyReader
from codexrun_pod.gate.loopback.site import LARGE_HEAD, LoopbackSite
from codexrun_pod.gate.policy.rules import admit
from codexrun_pod.gate.policy.verdicts import MAX_QUOTED_CHARS, Admitted, Denied

CONNECT_SECONDS = 10.0
# A model that thinks sends nothing for minutes, and NAT gateways and load balancers forget silent
# connections after one to six, without a word to either side
# (https://github.com/openai/openai-python/issues/3269,
# https://github.com/BerriAI/litellm/issues/31865).
KEEP_ALIVE = {socket.TCP_KEEPIDLE: 45, socket.TCP_KEEPINTVL: 15, socket.TCP_KEEPCNT: 4}
# Bytes. A full context is 1 to 3 MB; the gate's memory limit has to hold a request some ten times,
# if it is not ASCII.
MAX_REQUEST_BYTES = 16 * 1024 * 1024
# At a stop; with what follows, well inside the 20 s the pod leaves the gate.
LAST_RESPONSE_SECONDS = 10.0
LAST_IDLE_SECONDS = 3.0  # a response that is silent for so long is not waited for then
PORT_RETRY_SECONDS = 1.0
PARALLEL_SECONDS = 1.0  # a request waits so long for one that is just ending
# From SIGTERM to the last byte shipped; the pod leaves the gate 20 s, and closing the port takes up
# to two.
LAST_SHIPPING_SECONDS = 17.0
# Codex and the runner have one or two each. A connection takes up to some 200 KB before its request
# is refused.
MAX_CONNECTIONS = 64
MAX_HEADERS = 512  # of an answer; their bytes are counted once they have come
MAX_LOGGED_KEYS = 10  # of those taken out of a request
PARALLEL = Denied(
    "guardrail",
    "parallel requests: a second request arrived before the first had ended; a run may send"
    " only one request at a time",
)


class Gate:
    """Admits requests one after another; the ledger remembers."""

    def __init__(self, ledger: Ledger) -> None:
        """Call inside the event loop."""
        self.ledger = ledger
        self.request_lock = asyncio.Lock()
        self.bodies = BodyReader(MAX_REQUEST_BYTES)
        self.current: Exchange | None = None
        settings = ledger.settings
        urls = [settings.endpoint.upstream]
        if settings.identity is not None:
            urls.append(settings.identity.token_url)
        # To load the CAs takes a twentieth of a second of CPU.
        needs_cas = any(urlsplit(url).scheme == "https" for url in urls)
        # No total limit: a response may stream for many minutes, and the runner watches for stalls.
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            connector=aiohttp.TCPConnector(
                limit=4,
                keepalive_timeout=10.0,
                ssl=settings.endpoint.tls() if needs_cas else True,
                socket_factory=_kept_alive,
            ),
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )
        self.tokens: TokenSource | None = None
        if settings.identity is not None:
            self.tokens = TokenSource(settings.identity, settings.endpoint)
        self.uploader: Uploader | None = None
        if url := ledger.settings.ingest:
            client = IngestClient(url, ledger.settings.ingest_token)
            self.uploader = Uploader(ledger, Spool(ledger.settings.state_dir / "spool"), client)
            self.uploader.start()

    async def close(self, seconds: float) -> None:
        """Upload what is left within `seconds`; no further request will come."""
        if self.uploader is not None:
            await self.uploader.finish(max(0.0, seconds))
            await self.uploader.client.close()
        await self.session.close()

    async def responses(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/responses: forwarded, or 400 with {error: {type: codexrun_refused, code,
        message}}."""
        if head_bytes(request.raw_headers) > MAX_HEAD_BYTES:
            return self._refuse(LARGE_HEAD)
        async with contextlib.AsyncExitStack() as turn:
            try:
                async with self.bodies.whole(request) as raw:
                    if await self._parallel():
                        return self._refuse(PARALLEL)
                    if not await turn.enter_async_context(self._turn()):
                        return self._refuse(self._stalled())
                    if request.transport is None or request.transport.is_closing():
                        return web.Response(status=499)  # it left while it waited
                    verdict = admit(raw, self.ledger.limits)
            except BodyError as error:
                return self._refuse_body(error)
            if isinstance(verdict, Denied):
                return self._refuse(verdict)
            if (refused := self._refused_before(verdict)) is not None:
                return self._refuse(refused)
            exchange = Exchange(self.ledger, request, verdict, self._renewed_token)
            del verdict
            self.current = exchange
            try:
                return await self._exchange(exchange)
            finally:
                exchange.forget_body()
                self.current = None

    async def _exchange(self, exchange: Exchange) -> web.StreamResponse:
        """Forward an admitted request as soon as the provider may be asked again, with the key or
        token of that moment."""
        if not await exchange.wait_for_provider():
            return web.Response(status=499)  # the client left
        try:
            key = await exchange.while_attended(self._credentials())
        except AbandonedError:
            return web.Response(status=503)
        except ValueError as error:
            return self._refuse(Denied("guardrail", str(error)))
        except ExchangeError as error:
            return exchange.without_token(error.error)
        if exchange.admitted.dropped:
            self._note_dropped(exchange.admitted.dropped)
        return await exchange.run(self.session, key)

    def _refused_before(self, admitted: Admitted) -> Denied | None:
        """Deny a request that the provider would refuse again: after an error inside of a stream
        Codex tries again."""
        account = self.ledger.account
        error = account.last_error
        if error is None or account.refused != admitted.digest:
            return None
        return Denied("refused", error.text, final=False)

    async def _parallel(self) -> bool:
        """Return whether somebody is being answered. A client that has left is no reason to refuse:
        Codex tries again after a cut."""
        deadline = time.monotonic() + PARALLEL_SECONDS
        while (
            self.current is not None and self.current.attended and self.ledger.account.stop is None
        ):
            if time.monotonic() > deadline:
                return True
            await asyncio.sleep(0.02)
        return False

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[bool]:
        """Wait until nothing is in flight: the answer that a client has left is read to its end.
        False if that has not come when stallSeconds are over."""
        left_at = self.current.client_left_at if self.current is not None else None
        deadline = (left_at or time.monotonic()) + self.ledger.settings.stall_seconds
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await self.request_lock.acquire()
        except TimeoutError:
            if self.current is not None and not self.current.attended:
                self.current.abandon = "at_most"
            yield False
            return
        try:
            yield True
        finally:
            self.request_lock.release()

    def _stalled(self) -> Denied:
        return Denied(
            "stall",
            "the agent closed a request before the response was complete, and the model did not"
            f" complete the response within {self.ledger.settings.stall_seconds:g} s; for a slow"
            " model, raise limits.stallSeconds",
        )

    def _refuse_body(self, error: BodyError) -> web.Response:
        denial = Denied("guardrail", str(error), final=error.status == 413)
        refusal = self._refuse(denial, 400 if denial.final else error.status)
        refusal.force_close()  # what else comes of the body is not read
        return refusal

    def _note_dropped(self, names: tuple[str, ...]) -> None:
        account = self.ledger.account
        self.ledger.save(replace(account, dropped_keys=account.dropped_keys + len(names)))
        shown = [name[:MAX_QUOTED_CHARS] for name in names[:MAX_LOGGED_KEYS]]
        self.ledger.log("keys.dropped", level="warning", count=len(names), keys=shown)

    def _refuse(self, denial: Denied, status: int = 400) -> web.Response:
        if denial.final and self.ledger.account.stop is None:
            self.ledger.settle(meter.stopped(self.ledger.account, denial))
        if denial.code == "stopping" and not self.ledger.account.cut_short:
            self.ledger.settle(replace(self.ledger.account, cut_short=True))
        self.ledger.log("request.refused", level="warning", code=denial.code, reason=denial.message)
        return web.json_response(denial.body, status=status)

    async def _credentials(self) -> str | None:
        """Return the model's key, or the token that stands for one; None without either.

        Raises:
            ValueError: the key cannot be sent as a header.
            ExchangeError: there is no token.
        """
        return await self.tokens.token(self.session) if self.tokens else self._key()

    async def _renewed_token(self) -> str | None:
        """Return another token in place of one that the provider has refused; None for a key.

        Raises:
            ExchangeError: there is none, which says more than the refusal of the one before.
        """
        if self.tokens is None:
            return None
        self.tokens.forget()
        return await self.tokens.token(self.session)

    def _key(self) -> str | None:
        """Read the key, for each request, since the kubelet renews a mounted Secret in place; None
        without one.

        Raises:
            ValueError: it cannot be sent as a header.
        """
        try:
            key = self.ledger.settings.key_file.read_bytes().strip()
        except FileNotFoundError:
            return None
        if not key:
            return None
        if not key.isascii() or not key.decode("ascii").isprintable() or b" " in key:
            raise ValueError(
                'the entry "api-key" of the model\'s Secret is not one line of printable ASCII'
                " without spaces; correct the Secret"
            )
        return key.decode("ascii")

    async def activity(self, _: web.Request) -> web.Response:
        """GET /activity: seconds since the model's last progress, 0 while the run waits for its
        provider, and the account so far."""
        account = self.ledger.account
        answer = {
            "idleSeconds": max(0.0, round(time.monotonic() - self.ledger.last_byte, 3)),
            "totalTokens": account.usage.total,
            "costMicroUSD": self.ledger.cost(),
            "complete": account.complete,
        }
        return web.json_response({key: value for key, value in answer.items() if value is not None})

    async def healthz(self, _: web.Request) -> web.Response:
        """GET /healthz: proves to the runner that it is this run's gate that listens."""
        settings = self.ledger.settings
        return web.json_response(
            {"service": "codexrun-gate", "runId": settings.run_id, "attempt": settings.attempt}
        )

    def application(self) -> web.Application:
        """Build the application: the model's route, and the runner's."""
        app = web.Application()
        app.router.add_post("/v1/responses", self.responses)
        app.router.add_get("/activity", self.activity)
        app.router.add_get("/healthz", self.healthz)
        LoopbackRoutes(self.uploader, self.ledger).add_routes(app)
        return app


def _kept_alive(address: AddrInfoType) -> socket.socket:
    """Make the socket of a connection to the provider."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


async def serve(ledger: Ledger) -> None:
    """Listen until SIGTERM or SIGINT, let the response in flight end for a while, write, return."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gate = Gate(ledger)
    # Not decompressed: some kilobytes would become as many megabytes before anybody looks at them.
    runner = web.AppRunner(
        gate.application(), access_log=None, shutdown_timeout=2.0, auto_decompress=False
    )
    await runner.setup()
    try:
        if await _listen(runner, ledger, stop):
            ledger.log("gate.listening", port=ledger.settings.port)
            await stop.wait()
        stopped_at = time.monotonic()
        ledger.terminating = True
        await _last_response(gate)
        await gate.close(stopped_at + LAST_SHIPPING_SECONDS - time.monotonic())
    finally:
        await runner.cleanup()
        ledger.publish()
        fields = {
            "complete": ledger.account.complete,
            "log_bytes": ledger.log_bytes,
            "log_complete": ledger.log_complete,
        }
        ledger.log("gate.ended", cost_tokens=ledger.account.usage.total, **fields)


async def _listen(runner: web.AppRunner, ledger: Ledger, stop: asyncio.Event) -> bool:
    """Listen; return True once the port is the gate's, False if told to stop before.

    A port that somebody holds is the agent's doing, as nothing else runs in the pod: whoever
    answers there is not the gate, so the run ends `guardrail`. The gate goes on trying, since it is
    the operator who ends the run.
    """
    while not stop.is_set():
        try:
            await LoopbackSite(runner, ledger.settings.port, MAX_CONNECTIONS).start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = Denied(
                "guardrail", f"port {ledger.settings.port} of the gate is in use by another process"
            )
            if ledger.account.stop is None:
                ledger.settle(meter.stopped(ledger.account, taken))
                ledger.log("port.taken", level="error", port=ledger.settings.port)
            await asyncio.wait({asyncio.ensure_future(stop.wait())}, timeout=PORT_RETRY_SECONDS)
        else:
            return True
    return False


async def _last_response(gate: Gate) -> None:
    """Wait a moment for the usage of the last response while bytes still come, although the agent
    is gone."""
    stopped_at = time.monotonic()
    while gate.current is not None:
        now = time.monotonic()
        silent = now - max(gate.ledger.last_byte, gate.current.began)
        if now > stopped_at + LAST_RESPONSE_SECONDS or silent > LAST_IDLE_SECONDS:
            gate.current.abandon = gate.current.charge_at_stop(stopped_at)
        await asyncio.sleep(0.1)
