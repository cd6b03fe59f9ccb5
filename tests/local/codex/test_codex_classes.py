"""Each scenario of the demo model ends in the class that docs/failure-classes.md says: real Codex
of each supported version, runner, gate and the operator's own decision. All are played side by
side, since Codex tries some of them again for half a minute.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest
from codex_stand import Pod
from verdicts import of_messages
from ways_to_end import LIVE

from codexrun_core.prices.table import built_in

AT_ONCE = 8
PRICES = built_in().on(date.max)
PATIENCE = 170


def play(folder, codex, demo, way):
    pod = Pod(folder, codex, demo)
    try:
        return end_of(pod, way)
    finally:
        pod.clear()


def end_of(pod, way):
    gate = {**way.gate, "prices": PRICES.for_gate("gpt-5.5")} if "prices" in way.gate else way.gate
    pod.start_gate(**gate)
    more = "\n" + way.prompt if way.prompt else ""
    pod.start_runner(
        f"scenario: {way.scenario}{more}", **{"timeout": 150, "stall": 60, **way.runner}
    )
    return pod.end(PATIENCE)


@pytest.fixture(scope="module")
def results(tmp_path_factory, each_codex, demo):
    def one(way):
        return play(tmp_path_factory.mktemp(way.scenario), each_codex, demo, way)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(LIVE_NAMES, pool.map(one, LIVE), strict=True))


LIVE_NAMES = [f"{way.scenario}: {way.title}" for way in LIVE]


@pytest.mark.parametrize(("name", "way"), list(zip(LIVE_NAMES, LIVE, strict=True)), ids=LIVE_NAMES)
def test_a_scenario_ends_in_its_class(results, name, way):
    result = results[name]
    assert of_messages(result.code, result.runner, result.gate) == way.class_, result
