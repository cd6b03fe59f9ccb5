"""The fence: no write begins that the lease might not outlive."""

import asyncio
import functools
import time
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord

from codexrun_core.errors import Unavailable
from codexrun_core.kube.client import WRITE_TIMEOUT_SECONDS
from codexrun_operator import leader
from codexrun_operator.leader import (
    LEASE_SECONDS,
    MARGIN_SECONDS,
    RENEW_SECONDS,
    RETRY_SECONDS,
    FencedLease,
    lead,
)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(leader.time, "monotonic", lambda: self.now)


class Leases:
    """The coordination API with one Lease. Each call takes `takes` seconds of the clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.error: Exception | None = None
        self.lease: client.V1Lease | None = None

    def _call(self) -> None:
        self.clock.now += self.takes
        if self.error:
            raise self.error

    async def read_namespaced_lease(self, name: str, namespace: str) -> client.V1Lease:
        self._call()
        if self.lease is None:
            raise ApiException(status=404)
        return self.lease

    async def create_namespaced_lease(self, namespace: str, body: client.V1Lease) -> None:
        self._call()
        self.lease = body

    async def replace_namespaced_lease(
        self, name: str, namespace: str, body: client.V1Lease
    ) -> None:
        self._call()
        self.lease = body


RECORD = LeaderElectionRecord(
    "me", str(LEASE_SECONDS), "2026-11-24 12:00:00.000000", "2026-11-24 12:00:00.000000"
)


@functools.cache
def no_apiserver() -> client.ApiClient:
    """One for all leases, since each reads the certificates of the machine: no test calls it."""
    return client.ApiClient(client.Configuration(host="http://127.0.0.1:1"))


async def nothing() -> None:
    """What an election calls that only its single turns are taken of."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
async def lease(clock: Clock) -> FencedLease:
    fenced = FencedLease(
        "operator",
        "codexrun",
        "me",
        no_apiserver(),
    )
    fenced.api_instance = Leases(clock)
    return fenced


async def test_no_write_before_the_lease_is_held(lease: FencedLease) -> None:
    assert not lease.held
    with pytest.raises(Unavailable, match="not the leader"):
        lease.may_write()


async def test_a_write_may_begin_only_while_the_lease_outlives_it(
    lease: FencedLease, clock: Clock
) -> None:
    assert await lease.create("operator", "codexrun", RECORD)
    lease.may_write()
    clock.now += LEASE_SECONDS - WRITE_TIMEOUT_SECONDS - MARGIN_SECONDS
    lease.may_write()
    clock.now += 0.001
    assert lease.held
    with pytest.raises(Unavailable):
        lease.may_write()


async def test_why_a_lease_cannot_be_read_is_logged_once_for_each_cause(
    lease: FencedLease, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it can, the operator does nothing, and nothing else tells why."""
    refused = aiohttp.ClientConnectionError("refused")
    forbidden = ApiException(status=403, reason="Forbidden")
    for error in (refused, refused, forbidden, ApiException(status=503), None, refused):
        lease.api_instance.error = error
        await lease.get("operator", "codexrun")
    told = [record.fields["error"] for record in caplog.records]
    unreachable = "ClientConnectionError: refused"
    assert told == [unreachable, "HTTP 403 Forbidden", "HTTP 503", unreachable]


async def test_the_lease_counts_from_before_its_request(lease: FencedLease, clock: Clock) -> None:
    lease.api_instance.takes = 8
    assert await lease.create("operator", "codexrun", RECORD)
    lease.api_instance.takes = 0
    lease.may_write()
    clock.now += 1.001
    with pytest.raises(Unavailable):
        lease.may_write()


@pytest.mark.parametrize(
    "error", [aiohttp.ClientError("broken"), TimeoutError(), ApiException(status=409)], ids=repr
)
async def test_a_failed_renewal_adds_nothing(
    lease: FencedLease, clock: Clock, error: Exception
) -> None:
    await lease.create("operator", "codexrun", RECORD)
    await lease.get("operator", "codexrun")
    clock.now += 5
    lease.api_instance.error = error
    assert not await lease.update("operator", "codexrun", RECORD)
    clock.now += LEASE_SECONDS - 5
    assert not lease.held


async def test_a_renewal_adds_its_time(lease: FencedLease, clock: Clock) -> None:
    await lease.create("operator", "codexrun", RECORD)
    await lease.get("operator", "codexrun")
    clock.now += 5
    assert await lease.update("operator", "codexrun", RECORD)
    clock.now += LEASE_SECONDS - 1
    assert lease.held


@pytest.mark.parametrize("what", ["another holder", "nobody", "deleted"])
async def test_whoever_sees_that_it_leads_no_more_writes_no_more(
    lease: FencedLease, what: str
) -> None:
    """Although its time is not over: a clock was set, or somebody deleted the lease."""
    await lease.create("operator", "codexrun", RECORD)
    await lease.get("operator", "codexrun")
    lease.may_write()
    if what == "deleted":
        lease.api_instance.lease = None
    else:
        lease.api_instance.lease.spec.holder_identity = "other" if what == "another holder" else ""
    await lease.get("operator", "codexrun")
    with pytest.raises(Unavailable):
        lease.may_write()


async def test_a_read_that_fails_takes_nothing_away(lease: FencedLease) -> None:
    await lease.create("operator", "codexrun", RECORD)
    lease.api_instance.error = ApiException(status=500)
    await lease.get("operator", "codexrun")
    lease.may_write()


@pytest.mark.parametrize("call", ["get", "create", "update"])
async def test_a_call_about_the_lease_does_not_wait_for_ever(
    lease: FencedLease, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A connection into which nothing comes back: a standby has to try again."""
    await lease.create("operator", "codexrun", RECORD)
    await lease.get("operator", "codexrun")
    lease.may_write()

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(leader, "CALL_SECONDS", 0)
    for name in ("read_namespaced_lease", "create_namespaced_lease", "replace_namespaced_lease"):
        setattr(lease.api_instance, name, never)
    if call == "get":
        found, _ = await lease.get("operator", "codexrun")
        assert not found
    else:
        assert not await getattr(lease, call)("operator", "codexrun", RECORD)
    lease.may_write()


async def test_a_broken_read_is_a_failed_attempt_and_still_a_turn(
    lease: FencedLease, clock: Clock
) -> None:
    lease.api_instance.error = aiohttp.ClientError("broken")
    clock.now += 3
    found, error = await lease.get("operator", "codexrun")
    assert not found
    assert isinstance(error, ApiException)
    assert lease.turned == clock.now


async def test_release_lets_the_next_one_in_and_writes_no_more(lease: FencedLease) -> None:
    await lease.create("operator", "codexrun", RECORD)
    await lease.release()
    assert lease.api_instance.lease.spec.holder_identity == ""
    with pytest.raises(Unavailable):
        lease.may_write()


async def test_release_of_a_lease_that_is_not_held_touches_nothing(lease: FencedLease) -> None:
    lease.api_instance.error = AssertionError("asked")
    await lease.release()


class Election:
    """Stands for the library's: leads at once, for as long as `lost` is not set."""

    lost: asyncio.Event

    def __init__(self, config: Any) -> None:
        self.config = config

    async def run(self) -> None:
        task = asyncio.create_task(self.config.onstarted_leading())
        await Election.lost.wait()
        task.cancel()
        await self.config.onstopped_leading()


@pytest.fixture
def election(monkeypatch: pytest.MonkeyPatch) -> type[Election]:
    Election.lost = asyncio.Event()
    monkeypatch.setattr(leader, "Election", Election)
    return Election


async def test_dead_work_ends_the_leadership(lease: FencedLease, election: type[Election]) -> None:
    async def work() -> None:
        raise RuntimeError("dead")

    with pytest.raises(RuntimeError, match="dead"):
        await lead(lease, work)


async def test_a_lost_lease_ends_the_work(lease: FencedLease, election: type[Election]) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            election.lost.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    await lead(lease, work)
    assert ended.is_set()


# -- who leads, whatever the clocks on the wall say ----------------------------------------------


class Candidates:
    """Processes that compete for one lease, and their common monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.leases = Leases(clock)

    def candidate(self, identity: str) -> leader.Election:
        lock = FencedLease(
            "operator",
            "codexrun",
            identity,
            no_apiserver(),
        )
        lock.api_instance = self.leases
        config = Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, nothing, nothing)
        return leader.Election(config)

    def writers(self, *candidates: leader.Election) -> list[str]:
        """Return who may write now."""
        return [
            candidate.election_config.lock.identity
            for candidate in candidates
            if may_write(candidate.election_config.lock)
        ]


def may_write(lease: FencedLease) -> bool:
    try:
        lease.may_write()
    except Unavailable:
        return False
    return True


@pytest.fixture
async def candidates(clock: Clock) -> Candidates:
    return Candidates(clock)


async def test_the_first_one_leads_and_the_second_takes_over_when_it_renews_no_more(
    candidates: Candidates,
) -> None:
    first = candidates.candidate("first")
    second = candidates.candidate("second")
    assert await first.try_acquire_or_renew()
    assert not await second.try_acquire_or_renew()
    candidates.clock.now += LEASE_SECONDS - 1
    assert await first.try_acquire_or_renew()
    assert not await second.try_acquire_or_renew()
    candidates.clock.now += LEASE_SECONDS - 0.1
    assert not await second.try_acquire_or_renew()
    assert candidates.writers(first, second) == []
    candidates.clock.now += 0.1
    assert await second.try_acquire_or_renew()
    assert candidates.writers(first, second) == ["second"]
    assert not await first.try_acquire_or_renew()


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365], ids=str)
async def test_a_clock_on_the_wall_that_is_set_changes_nothing(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    first = candidates.candidate("first")
    second = candidates.candidate("second")
    assert await first.try_acquire_or_renew()
    assert not await second.try_acquire_or_renew()
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + hours * 3600)
    candidates.clock.now += 5
    assert not await second.try_acquire_or_renew()
    assert candidates.writers(first, second) == ["first"]
    candidates.clock.now += LEASE_SECONDS
    assert await second.try_acquire_or_renew()


async def test_a_lease_that_was_given_up_is_taken_at_once(candidates: Candidates) -> None:
    first = candidates.candidate("first")
    second = candidates.candidate("second")
    assert await first.try_acquire_or_renew()
    assert not await second.try_acquire_or_renew()
    await first.election_config.lock.release()
    assert await second.try_acquire_or_renew()


async def test_an_apiserver_that_does_not_answer_is_no_free_lease(candidates: Candidates) -> None:
    second = candidates.candidate("second")
    candidates.leases.error = ApiException(status=500)
    assert not await second.try_acquire_or_renew()


async def test_a_leader_that_cannot_renew_stops(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sleep(seconds: float) -> None:
        candidates.clock.now += seconds

    monkeypatch.setattr(leader.asyncio, "sleep", sleep)
    first = candidates.candidate("first")
    assert await first.try_acquire_or_renew()
    began = candidates.clock.now
    candidates.leases.error = ApiException(status=500)
    await first.renew_loop()
    assert RENEW_SECONDS <= candidates.clock.now - began < LEASE_SECONDS
    assert candidates.writers(first) == []


# -- which lease, while operators of an earlier version are there --------------------------------

RELEASE = "a-codexrun-operator"


class NamedLeases(Leases):
    """The coordination API, with Leases by name."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.by_name: dict[str, client.V1Lease] = {}

    async def read_namespaced_lease(self, name: str, namespace: str) -> client.V1Lease:
        if name not in self.by_name:
            raise ApiException(status=404)
        return self.by_name[name]

    async def create_namespaced_lease(self, namespace: str, body: client.V1Lease) -> None:
        self.by_name[body.metadata.name] = body

    async def replace_namespaced_lease(
        self, name: str, namespace: str, body: client.V1Lease
    ) -> None:
        self.by_name[name] = body


class Process:
    """An operator that competes for the leases of its version; `step` is one turn of the election
    that is under way, and of those that it has won."""

    def __init__(self, identity: str, leases: list[FencedLease], api: NamedLeases) -> None:
        self.identity = identity
        self.leases = leases
        self.ended = False
        self.led = False
        self.elections = []
        for lock in leases:
            lock.api_instance = api
            config = Config(lock, LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS, nothing, nothing)
            self.elections.append(leader.Election(config))

    async def step(self) -> None:
        if self.ended:
            return
        for election in self.elections:
            if not await election.try_acquire_or_renew():
                break
        if self.led and not all(lease.held for lease in self.leases):
            await self.leave()  # as the process does
        self.led = self.writes

    async def leave(self) -> None:
        """SIGTERM."""
        self.ended = True
        for lease in reversed(self.leases):
            await lease.release()

    def die(self) -> None:
        """SIGKILL, or a node that is gone; what it has sent may still be carried out."""
        self.ended = True

    @property
    def writes(self) -> bool:
        return all(may_write(lease) for lease in self.leases)


def earlier(identity: str, lease: str, api: NamedLeases) -> Process:
    """An operator of a version that knows its release's lease only."""
    return Process(identity, [FencedLease(lease, "codexrun", identity, no_apiserver())], api)


def current(identity: str, lease: str, api: NamedLeases) -> Process:
    return Process(identity, leader.Leases(lease, "codexrun", identity, no_apiserver()).leases, api)


MIXES = {
    "upgrade and rollback": [
        (earlier, RELEASE),
        (earlier, RELEASE),
        (current, RELEASE),
        (current, RELEASE),
    ],
    "of the release with the namespace's very name": [
        (earlier, leader.NAMESPACE_LEASE),
        (current, leader.NAMESPACE_LEASE),
        (current, leader.NAMESPACE_LEASE),
    ],
    "that one, earlier, and another release": [
        (earlier, leader.NAMESPACE_LEASE),
        (current, RELEASE),
        (current, RELEASE),
    ],
    "two releases": [(current, RELEASE), (current, "b-operator"), (current, "b-operator")],
}


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@given(
    course=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["step"] * 8 + ["die", "leave", "renew"]),
            st.sampled_from([0.0, 0.5, 2.0, 5.0, 9.0, 14.9, 15.0]),
        ),
        max_size=40,
    )
)
@settings(max_examples=50)
async def test_never_do_two_write_whatever_versions_and_releases_there_are(
    mix: list[tuple[Any, str]], course: list[tuple[int, str, float]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        api = NamedLeases(clock)
        processes = [make(f"p{n}", lease, api) for n, (make, lease) in enumerate(mix)]
        for number, what, seconds in course:
            process = processes[number % len(processes)]
            if what == "step":
                await process.step()
            elif what == "leave":
                await process.leave()
            elif what == "die":
                process.die()
            else:  # all that are there go on, as they do each two seconds
                for other in processes:
                    await other.step()
            assert sum(process.writes for process in processes) <= 1
            clock.now += seconds
            assert sum(process.writes for process in processes) <= 1
        # Whatever has happened, one that comes to it leads in the end.
        for process in processes:
            process.die()
        make, lease = mix[-1]
        last = make("last", lease, api)
        for _ in range(4):
            await last.step()
            clock.now += LEASE_SECONDS
        await last.step()
        assert last.writes


async def test_an_upgraded_operator_waits_for_the_earlier_one_and_keeps_other_releases_out(
    clock: Clock,
) -> None:
    api = NamedLeases(clock)
    old = earlier("old", RELEASE, api)
    new = current("new", RELEASE, api)
    other = current("other", "b-operator", api)
    for _ in range(20):
        for process in (old, new, other):
            await process.step()
        clock.now += RETRY_SECONDS
        assert [process.writes for process in (old, new, other)] == [True, False, False]
    await old.leave()
    await new.step()
    assert new.writes
    again = earlier("rolled back", RELEASE, api)
    await again.step()
    assert not again.writes
    await new.leave()
    await again.step()
    assert again.writes


async def test_the_work_begins_with_the_last_lease_and_ends_with_any(
    election: type[Election], clock: Clock
) -> None:
    leases = leader.Leases(RELEASE, "codexrun", "me", no_apiserver())
    assert [lease.name for lease in leases.leases] == [leader.NAMESPACE_LEASE, RELEASE]
    taken = []
    ended = asyncio.Event()

    class Taking(Election):
        async def run(self) -> None:
            taken.append(self.config.lock.name)
            await super().run()

    async def work() -> None:
        assert taken == [leader.NAMESPACE_LEASE, RELEASE]
        try:
            election.lost.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leader, "Election", Taking)
        await leases.lead(work)
    assert ended.is_set()


async def test_a_standby_is_alive_whichever_lease_it_waits_for(clock: Clock) -> None:
    api = NamedLeases(clock)
    leases = leader.Leases(RELEASE, "codexrun", "new", no_apiserver())
    new = Process("new", leases.leases, api)
    old = earlier("old", RELEASE, api)
    first = current("first", RELEASE, api)
    for waits_for in (leader.NAMESPACE_LEASE, RELEASE):
        for _ in range(200):
            await old.step()
            await first.step()
            await new.step()
            assert clock.now - leases.turned <= RETRY_SECONDS
            clock.now += RETRY_SECONDS
        held = [lease.name for lease in leases.leases if lease.held]
        assert held == ([] if waits_for == leader.NAMESPACE_LEASE else [leader.NAMESPACE_LEASE])
        await first.leave()
        leases.leases[1].turned = clock.now  # its election begins
    clock.now += 1000  # of the first one nobody hears any more
    await new.elections[1].try_acquire_or_renew()
    assert clock.now - leases.turned >= 1000
