"""One leader at a time in a namespace: the official client's Lease election, with a fence that a
stalled leader cannot pass.

A leader holds two leases, NAMESPACE_LEASE and the one that is named after its release, which
earlier versions hold alone (docs/decisions/one-lease-for-a-namespace.md). All operators take them
in this order, so that no two wait for each other.

The library takes the wall clock: one that is set forward lets a second leader in, and one that is
set back keeps everybody out. Here the monotonic clock decides. The fence takes the time before its
request, so it always believes the lease to be older than it is. A write may begin only while the
lease outlives the write's own timeout.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import aiohttp
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from codexrun_core.errors import Unavailable
from codexrun_core.kube.client import WRITE_TIMEOUT_SECONDS
from codexrun_core.logs import fields

log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]

# Two releases in one namespace would each count the slots of the same runs.
NAMESPACE_LEASE = "codexrun-operator"

LEASE_SECONDS = 15
RENEW_SECONDS = 10
RETRY_SECONDS = 2
MARGIN_SECONDS = 1.0
STOP_SECONDS = 5
CALL_SECONDS = 5  # for a request about the lease; the client's own limit is five minutes


def _is_absent(answer: Any) -> bool:
    """Return whether the answer to a read is that there is no such lease."""
    return isinstance(answer, ApiException) and answer.status == HTTPStatus.NOT_FOUND


def _reason(answer: Any) -> str:
    if isinstance(answer, ApiException) and answer.status:
        return f"HTTP {answer.status} {answer.reason or ''}".rstrip()
    return str(getattr(answer, "reason", answer))


class FencedLease(LeaseLock):
    """A Lease that knows how long it surely lasts, and that treats a broken connection as a failed
    attempt."""

    def __init__(self, name: str, namespace: str, identity: str, api: client.ApiClient) -> None:
        super().__init__(name, namespace, identity, api)
        self._held_until = 0.0
        self.turned = time.monotonic()  # when the election last did something
        self._trouble = ""  # with reading the lease, "" for none

    def may_write(self) -> None:
        """Check that the lease outlives a write that begins now.

        Raises:
            Unavailable: it does not.
        """
        remaining = self._held_until - time.monotonic()
        if remaining < WRITE_TIMEOUT_SECONDS + MARGIN_SECONDS:
            raise Unavailable(
                "this operator is not the leader, or its lease expires too soon for a write"
                f" ({max(0.0, remaining):.1f} s left)"
            )

    @property
    def held(self) -> bool:
        return self._held_until > time.monotonic()

    async def get(self, name: str, namespace: str) -> Any:
        self.turned = time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                found, answer = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError) as error:
            found = False
            answer = ApiException(status=0, reason=f"{type(error).__name__}: {error}")
        self._tell_trouble("" if found or _is_absent(answer) else _reason(answer))
        if self._is_lost(found, answer):
            # Whatever time was left: a clock that was set, or a lease that was deleted, has let
            # another one in.
            self._held_until = 0.0
        return found, answer

    def _tell_trouble(self, trouble: str) -> None:
        """Log why the lease cannot be read, once for each cause: who waits for it does nothing
        else."""
        if trouble and trouble != self._trouble:
            log.warning("lease.unreadable", extra=fields(lease=self.name, error=trouble))
        self._trouble = trouble

    def _is_lost(self, found: bool, answer: Any) -> bool:
        """Return whether a read shows that this process does not hold the lease; an error shows
        nothing."""
        if found:
            return bool(answer.holder_identity != self.identity)
        return _is_absent(answer)

    async def create(
        self, name: str, namespace: str, election_record: LeaderElectionRecord
    ) -> bool:
        # The library's own (37.0.2) passes `pretty=True`, which its client refuses: that wants
        # text.
        body = client.V1Lease(
            metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record)
        )
        return await self._attempt(self._created(namespace, body))

    async def _created(self, namespace: str, body: client.V1Lease) -> bool:
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except ApiException:
            return False  # another candidate was faster
        return True

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        return await self._attempt(super().update(name, namespace, updated_record))

    async def _attempt(self, call: Awaitable[bool]) -> bool:
        before = time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                held = await call
        except (aiohttp.ClientError, TimeoutError):
            return False
        if held:
            self._held_until = before + LEASE_SECONDS
        return held

    async def release(self) -> None:
        """Give the lease up, so that the next leader need not wait until it has run out. Best
        effort."""
        if not self.held:
            return
        self._held_until = 0.0
        # Read again: the library keeps the version from before its last update.
        await self.get(self.name, self.namespace)
        if self.lease_reference is None or self.lease_reference.spec is None:
            return
        self.lease_reference.spec.holder_identity = ""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await self.api_instance.replace_namespaced_lease(
                    self.name, self.namespace, self.lease_reference
                )
        except (ApiException, aiohttp.ClientError, TimeoutError):
            return


class Election(LeaderElection):
    """The library's election by the monotonic clock: what it observed, and for how long."""

    def __init__(self, election_config: Config) -> None:
        super().__init__(election_config)
        self._observed_at = 0.0  # when the record was last seen to change

    async def renew_loop(self) -> None:
        """Renew the lease; return when that has failed for RENEW_SECONDS."""
        renewed = time.monotonic()
        while time.monotonic() < renewed + RENEW_SECONDS:
            before = time.monotonic()
            if await self.try_acquire_or_renew():
                renewed = before
            await asyncio.sleep(RETRY_SECONDS)

    async def try_acquire_or_renew(self) -> bool:
        """Take the lease if nobody has it or its holder has not renewed it for LEASE_SECONDS, or
        renew it; return whether this process has it now."""
        lock = self.election_config.lock
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")  # as the library reads it
        own = LeaderElectionRecord(lock.identity, str(LEASE_SECONDS), now, now)
        found, record = await lock.get(lock.name, lock.namespace)
        if not found:
            return _is_absent(record) and await lock.create(lock.name, lock.namespace, own)
        assert isinstance(record, LeaderElectionRecord)
        if self.observed_record is None or record.__dict__ != self.observed_record.__dict__:
            self.observed_record = record
            self._observed_at = time.monotonic()
        if record.holder_identity == lock.identity:
            own.acquire_time = record.acquire_time or now
        elif record.holder_identity and time.monotonic() < self._observed_at + LEASE_SECONDS:
            return False
        return bool(await lock.update(lock.name, lock.namespace, own))


class Leases:
    """What a leader holds, in the order in which it is taken; all of them, or it does not lead."""

    def __init__(self, release: str, namespace: str, identity: str, api: client.ApiClient) -> None:
        names = dict.fromkeys((NAMESPACE_LEASE, release))  # a release may have the very name
        self.leases = [FencedLease(name, namespace, identity, api) for name in names]

    def may_write(self) -> None:
        """Check that each lease outlives a write that begins now.

        Raises:
            Unavailable: one does not.
        """
        for lease in self.leases:
            lease.may_write()

    @property
    def held(self) -> bool:
        return all(lease.held for lease in self.leases)

    @property
    def turned(self) -> float:
        """Return when the election that is under way last did something (monotonic)."""
        waited_for = next((lease for lease in self.leases if not lease.held), self.leases[-1])
        return min(self.leases[0].turned, waited_for.turned)

    async def lead(self, work: Work) -> None:
        """Wait for one lease after the other, then do `work`; returns when one of them is lost or
        the work ends, and the process is to end then."""
        await self._lead(self.leases, work)

    async def _lead(self, leases: list[FencedLease], work: Work) -> None:
        first, *others = leases
        await lead(first, partial(self._lead, others, work) if others else work)

    async def release(self) -> None:
        """Give all up, the last one first. Best effort."""
        for lease in reversed(self.leases):
            await lease.release()


async def lead(lease: FencedLease, work: Work) -> None:
    """Wait for the lease, then do `work`; returns when the lease is lost or the work ends."""
    lease.turned = time.monotonic()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    working: list[asyncio.Task[None]] = []

    async def watched_work() -> None:
        # The library would renew the lease of a leader whose work has died.
        task = asyncio.create_task(work())
        working.append(task)
        await asyncio.wait((task,))
        if not task.cancelled() and (error := task.exception()):
            done.set_exception(error)
        else:
            done.set_result(None)

    async def stopped() -> None:
        log.error("lease.lost")

    election = asyncio.create_task(
        Election(
            Config(lease, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, watched_work, stopped)
        ).run()
    )
    try:
        await asyncio.wait((election, done), return_when=asyncio.FIRST_COMPLETED)
        for ended in (done, election):
            if ended.done():
                ended.result()
    finally:
        # The work first: nothing may be written once the lease is given away.
        for task in (*working, election):
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_SECONDS)
