"""What others in the namespace do to runs: a second release, a quota that asks for limits which no
container has."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import node_parts
import pytest
from lab import NAMESPACE, ROOT, Lab
from own_operator import SELECTOR
from slot_observer import SlotObserver

pytestmark = pytest.mark.faults

SECOND = "second"  # a release


@pytest.fixture(autouse=True)
def on_the_embedded_node() -> None:
    node_parts.skip_elsewhere()


@contextmanager
def second_release(lab: Lab) -> Iterator[None]:
    """Another release in the same namespace, of the same images."""
    values = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    # What the namespace has once is the first one's.
    own = (
        "crds.install=false,api.enabled=false,demoModel.enabled=false,"
        "model.upstreamURL=http://codexrun-demo-model/v1"
    )
    install = ("helm", "install", SECOND, str(ROOT / "charts/codexrun"), "-n", NAMESPACE)
    try:
        lab.sh(*install, "-f", "-", "--set", own, "--wait", "--timeout", "120s", stdin=values)
        yield
    finally:
        lab.sh("helm", "uninstall", SECOND, "-n", NAMESPACE, "--wait", check=False)
        lab.kubectl("rollout", "status", "deployment/codexrun-operator", "--timeout=180s")


def test_of_two_releases_in_one_namespace_one_leads(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=3)
    with second_release(lab), SlotObserver(lab, job_type) as outside:
        runs = [lab.run(job_type, "sleep-1", stem="two") for _ in range(30)]
        statuses = node_parts.all_ended(lab, runs)
        assert {status["phase"] for status in statuses} == {"Succeeded"}
        assert outside.most <= 3
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}
        leaders = {
            pod.metadata.name
            for pod in lab.core.list_namespaced_pod(NAMESPACE, label_selector=SELECTOR).items
            if '"lease.taken"' in lab.core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE)
        }
        assert len(leaders) == 1


@contextmanager
def quota_of_cpu(lab: Lab) -> Iterator[None]:
    """A quota that every container must name a limit for."""
    name = lab.name("cpu")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name},
        "spec": {"hard": {"limits.cpu": "100"}},
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    try:
        yield
    finally:
        lab.kubectl("delete", "resourcequota", name)


def test_a_quota_that_asks_for_a_limit_of_cpu_is_what_the_run_fails_for(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1)
    with quota_of_cpu(lab):
        failure = lab.ended(lab.run(job_type, "message"))["status"]["failure"]
    assert failure["class"] == "config"
    for words in ("limits.cpu", "jobs.gate.resources"):
        assert words in failure["message"]
    assert lab.ended(lab.run(job_type, "message"))["status"]["phase"] == "Succeeded"
