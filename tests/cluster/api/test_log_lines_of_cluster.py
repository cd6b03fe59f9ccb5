"""Every line that operator, api and the pods of runs have printed while all other tests ran is of
the documented shape."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from lab import NAMESPACE, Lab
from loglines import wrong_lines
from rest_facade import Facade

pytestmark = pytest.mark.afterwards

OURS = ("app.kubernetes.io/component in (operator,api)", "codexrun.dev/run-uid")


def started(pod: Any) -> Iterator[tuple[str, bool]]:
    """Containers that have printed something, and whether it is of the life before the present
    one."""
    for status in (
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    ):
        if status.state.running or status.state.terminated or status.restart_count:
            yield status.name, False
        if status.restart_count:
            yield status.name, True


def lines(lab: Lab, pod: str, container: str, *, previous: bool) -> list[str]:
    """None where the kubelet has none any more: the pod has gone meanwhile, or a third life has
    begun."""
    try:
        raw = lab.core.read_namespaced_pod_log(
            pod, NAMESPACE, container=container, previous=previous, _preload_content=False
        ).data
    except ApiException as error:
        if error.status in (400, 404):
            return []
        raise
    return [line for line in raw.decode().split("\n") if line]


def test_every_line_of_every_container(lab: Lab) -> None:
    printed: Counter[str] = Counter()
    wrong = []
    for selector in OURS:
        for pod in lab.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items:
            for container, previous in started(pod):
                found = lines(lab, pod.metadata.name, container, previous=previous)
                printed[container] += len(found)
                wrong += [
                    f"{pod.metadata.name}/{container}: {trouble}" for trouble in wrong_lines(found)
                ]
    assert not wrong, f"{len(wrong)} of {sum(printed.values())} lines; the first: " + "\n".join(
        wrong[:20]
    )
    assert all(printed[container] for container in ("operator", "api", "gate", "agent")), printed


def test_every_line_of_the_archive(lab: Lab, facade: Facade) -> None:
    """The same bytes as the agent's, and what the api itself adds where a pod left its log open."""
    pods = lab.core.list_namespaced_pod(NAMESPACE, label_selector=OURS[1]).items
    runs = {pod.metadata.labels["codexrun.dev/run-uid"] for pod in pods}
    assert runs
    with_log = 0
    for run in runs:
        answer = facade.get(f"/runs/{run}/logs")
        if answer.status_code == 404:
            continue  # it never had a log
        assert not wrong_lines(line for line in answer.content.decode().split("\n") if line), run
        with_log += 1
    assert with_log
