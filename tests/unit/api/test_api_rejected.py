"""A refused REST start leaves no object, also when the api that would have deleted it has died: the
operator's rule."""

from typing import Any

import pytest
from fake_cluster import FakeCluster, condition, stamp

from codexrun_core.runs.annotations import DELETE_IF_REJECTED
from codexrun_operator.act.reconcile import Reconciler
from codexrun_operator.settings import PodSettings
from codexrun_operator.watch.keys import Key, Kind


@pytest.mark.parametrize(
    ("marked", "conditions", "stays"),
    [
        ("true", [condition("Accepted", "False")], False),
        (
            "true",
            [condition("Accepted", "False"), condition("Admitted", "False")],
            True,
        ),  # queued once: its caller knows it
        ("", [condition("Accepted", "False")], True),
    ],
)
async def test_who_deletes_a_rejected_start(
    marked: str, conditions: list[Any], stays: bool
) -> None:
    kube = FakeCluster()
    metadata = {"name": "refused", "annotations": {DELETE_IF_REJECTED: marked}}
    kube.put(kube.runs, {"metadata": metadata, "spec": {"jobType": "hello"}})
    kube.status("refused", "Rejected", finishedAt=stamp(), conditions=conditions)
    operator = Reconciler(kube, PodSettings(control_image="c:1", agent_image="a:1"), workers=1)
    await operator.reconcile(Key(Kind.EXPIRY, "refused"))
    assert kube.run_names == (["refused"] if stays else [])
