"""`helm test`, a second release in a namespace of its own beside the first, and what is left when
it is uninstalled."""

import json
from collections.abc import Iterator

import pytest
from lab import NAMESPACE, Lab
from other_namespace import release_beside

pytestmark = pytest.mark.alone  # a second operator and api, and a run of another job type

TEST = "codexrun-test"
PASSED = ("its row is there", "its log is there")


@pytest.fixture
def without_test_pod(lab: Lab) -> Iterator[None]:
    yield
    lab.kubectl("delete", "pod", TEST, "--ignore-not-found", "--timeout=60s")


@pytest.mark.usefixtures("without_test_pod")
def test_helm_test_starts_a_real_run_and_finds_its_row_and_its_log(lab: Lab) -> None:
    for _ in range(2):  # the second one finds what the first has left
        helm_test(lab, "codexrun", NAMESPACE)
    assert lab.kubectl("get", "codexjobtype", TEST, check=False).returncode != 0
    assert lab.kubectl("get", "configmap", f"prompt-{TEST}-v1", check=False).returncode != 0


def helm_test(lab: Lab, release: str, namespace: str) -> None:
    lab.sh("helm", "test", release, "-n", namespace, "--timeout", "10m")
    found = lab.sh("kubectl", "logs", "-n", namespace, TEST).stdout
    assert all(words in found for words in PASSED), found


@pytest.fixture
def second(lab: Lab) -> Iterator[str]:
    with release_beside(lab) as namespace:
        yield namespace


def of_cluster(lab: Lab, namespace: str) -> set[str]:
    """Objects of the cluster that carry the namespace in their names."""
    kinds = (
        "clusterroles,clusterrolebindings,"
        "validatingadmissionpolicies,validatingadmissionpolicybindings"
    )
    found = lab.sh("kubectl", "get", kinds, "-o", "name").stdout.split()
    return {name for name in found if f"/codexrun:{namespace}:" in name or f"/{namespace}-" in name}


def test_two_releases_do_their_work_beside_each_other(lab: Lab, second: str) -> None:
    first = of_cluster(lab, NAMESPACE)
    helm_test(lab, "codexrun", second)
    assert len(of_cluster(lab, second)) == len(first) > 0
    token, other = (
        lab.sh("kubectl", "-n", namespace, "get", "secret", "codexrun-api-token", "-o", "json")
        for namespace in (NAMESPACE, second)
    )
    assert json.loads(token.stdout)["data"] != json.loads(other.stdout)["data"]

    lab.sh("helm", "uninstall", "codexrun", "-n", second, "--wait")
    kinds = "deployments,services,roles,rolebindings,networkpolicies,cronjobs,secrets,pvc"
    left = lab.sh("kubectl", "-n", second, "get", kinds, "-o", "name").stdout.split()
    assert set(left) == {
        "persistentvolumeclaim/codexrun-api",
        "secret/codexrun-api-token",
    }
    assert of_cluster(lab, second) == set()
    assert of_cluster(lab, NAMESPACE) == first
    # The definitions are the first one's, and its runs with them.
    assert lab.ended(lab.run(lab.job_type(), "message"))["status"]["phase"] == "Succeeded"
