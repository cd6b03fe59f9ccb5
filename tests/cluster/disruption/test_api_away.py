"""The api is away for a minute, and four kinds of run go through that minute: none depends on it,
and none of them is lost."""

import json
import os
import signal
import time
from dataclasses import dataclass

import pytest
from archived import assert_whole, in_a_command
from lab import Json, Lab
from rest_facade import Facade, Following, Printed

LIMITS = {"timeoutSeconds": 240, "stallSeconds": 120, "startSeconds": 120}


@dataclass(frozen=True)
class Outage:
    """The runs that went through it, and what was seen of them meanwhile."""

    in_the_middle: Json
    printed: Printed
    follower: Following
    while_away: str  # its phase at the end of the outage
    at_the_end: Json
    everything: bytes  # what its container had printed before the api came back
    cut: Json
    before: bytes  # its log when the api went
    cut_printed: Printed
    unseen: Json  # started and ended while nobody looked


@pytest.fixture(scope="module")
def outage(lab: Lab, facade: Facade) -> Outage:
    """A minute, as long as the command of one run: that one ends without the api, which is back
    within the gate's grace."""
    job_type = lab.job_type(concurrencyLimit=8, limits=LIMITS)
    runs = [lab.run(job_type, scenario) for scenario in ("slow-90", "sleep-65", "sleep-200")]
    in_the_middle, at_the_end, cut = (lab.phase(run, "Running") for run in runs)
    printed, end_printed, cut_printed = (Printed(lab, run) for run in runs)
    follower = Following(facade, in_the_middle["metadata"]["uid"])
    in_a_command(facade, at_the_end)
    in_a_command(facade, cut)
    while not facade.log(in_the_middle):
        time.sleep(0.1)
    before = facade.log(cut)
    with facade.away():
        for gate in lab.gates(cut):
            os.kill(gate, signal.SIGSTOP)  # not even its last second may help
        lab.kubectl("delete", "pod", lab.pod(cut).metadata.name, "--force", "--grace-period=0")
        lab.ended(cut)
        unseen = lab.ended(lab.run(job_type, "message"))
        everything = end_printed.all()
        while_away = lab.get(in_the_middle)["status"]["phase"]
    for run in (in_the_middle, at_the_end):
        lab.ended(run)
    return Outage(
        in_the_middle,
        printed,
        follower,
        while_away,
        at_the_end,
        everything,
        cut,
        before,
        cut_printed,
        unseen,
    )


def test_away_in_the_middle_it_gets_everything_afterwards(facade: Facade, outage: Outage) -> None:
    assert outage.while_away == "Running"
    assert_whole(facade, outage.in_the_middle, "succeeded", outage.printed.all())
    assert outage.follower.text() == outage.printed.all()
    assert outage.follower.connections >= 2


def test_away_at_the_end_and_back_within_the_grace_it_gets_everything(
    facade: Facade, outage: Outage
) -> None:
    assert b'"run.ended"' in outage.everything
    assert_whole(facade, outage.at_the_end, "succeeded", outage.everything)


def test_a_log_that_was_cut_says_where_and_why(facade: Facade, outage: Outage) -> None:
    """The pod was killed, with no time to ship, while no api was there."""
    row = facade.until(outage.cut, "cancelled", log_closed=True)
    log = facade.log(outage.cut)
    assert log.startswith(outage.before)
    assert row["log_complete"] is False
    assert row["log_note"]
    last = json.loads(log.splitlines()[-1])
    assert (last["src"], last["text"]) == ("api", "log.cut_off")
    assert outage.cut_printed.all().startswith(outage.before)


def test_a_run_that_it_never_saw_becomes_a_row(facade: Facade, outage: Outage) -> None:
    """Nothing of a run depends on it; what happened meanwhile becomes rows."""
    total = outage.unseen["status"]["usage"]["totalTokens"]
    assert facade.until(outage.unseen, "succeeded")["cost_tokens"] == total
