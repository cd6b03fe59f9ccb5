"""Only the gate of the very run may ship: every other token that a cluster can give is refused by
the ingest port."""

import json
from collections.abc import Iterator

import httpx
import pytest
from lab import NAMESPACE, Json, Lab
from rest_facade import Facade

AUDIENCE = "codexrun-api"


@pytest.fixture(scope="module")
def ingest(lab: Lab) -> str:
    service = lab.core.read_namespaced_service("codexrun-ingest", NAMESPACE)
    return f"http://{service.spec.cluster_ip}:8081"


@pytest.fixture(scope="module")
def run(lab: Lab) -> Iterator[Json]:
    """Running, with a gate whose token is good."""
    one = lab.phase(lab.run(lab.job_type(), "sleep-300"), "Running")
    yield one
    lab.cancel(one)


@pytest.fixture
def look_alike(lab: Lab, run: Json) -> Iterator[str]:
    """A pod of the same name pattern, labels and service account, made by hand; its controller is
    no Job."""
    real = lab.pod(run)
    body = {
        "metadata": {
            "name": f"{real.metadata.name}x",
            "labels": {**real.metadata.labels, **lab.mark},
        },
        "spec": {
            "serviceAccountName": real.spec.service_account_name,
            "automountServiceAccountToken": False,
            "nodeSelector": {"nowhere": "at-all"},
            "securityContext": lab.core.api_client.sanitize_for_serialization(
                real.spec.security_context
            ),
            "containers": [
                {
                    "name": "agent",
                    "image": "example/none",
                    "securityContext": lab.core.api_client.sanitize_for_serialization(
                        real.spec.containers[0].security_context
                    ),
                }
            ],
        },
    }
    # Without owner references the Job controller would adopt what bears its labels.
    body["metadata"]["labels"].pop("controller-uid", None)
    body["metadata"]["labels"].pop("batch.kubernetes.io/controller-uid", None)
    name = lab.core.create_namespaced_pod(NAMESPACE, body).metadata.name
    yield name
    lab.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--ignore-not-found")


def token(lab: Lab, *more: str, account: str = "codexrun-agent") -> str:
    return lab.kubectl("create", "token", account, *more).stdout.strip()


def pod_token(lab: Lab, pod: str, audience: str = AUDIENCE) -> str:
    return token(
        lab, f"--audience={audience}", "--bound-object-kind=Pod", f"--bound-object-name={pod}"
    )


def ship(url: str, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx.post(f"{url}/ingest/log", params={"offset": 10**9}, headers=headers)


def test_the_gates_own_token_is_taken(lab: Lab, ingest: str, run: Json) -> None:
    answer = httpx.post(
        f"{ingest}/ingest/log",
        params={"offset": 0},
        headers={"Authorization": f"Bearer {pod_token(lab, lab.pod(run).metadata.name)}"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["ended"] is False


def test_a_token_of_another_audience_is_refused(lab: Lab, ingest: str, run: Json) -> None:
    assert (
        ship(
            ingest, pod_token(lab, lab.pod(run).metadata.name, "https://kubernetes.default.svc")
        ).status_code
        == 401
    )


def test_a_token_that_is_bound_to_no_pod_is_refused(lab: Lab, ingest: str) -> None:
    assert ship(ingest, token(lab, f"--audience={AUDIENCE}")).status_code == 403


def test_a_look_alike_pod_with_forged_labels_is_refused(
    lab: Lab, ingest: str, look_alike: str
) -> None:
    assert ship(ingest, pod_token(lab, look_alike)).status_code == 403


def test_a_pod_of_ours_that_belongs_to_no_run_is_refused(lab: Lab, ingest: str) -> None:
    (operator, *_) = lab.core.list_namespaced_pod(
        NAMESPACE, label_selector="app.kubernetes.io/component=operator"
    ).items
    bound = ["--bound-object-kind=Pod", f"--bound-object-name={operator.metadata.name}"]
    answer = ship(ingest, token(lab, f"--audience={AUDIENCE}", *bound, account="codexrun-operator"))
    assert answer.status_code == 403


def test_a_pod_that_is_gone_ships_no_more(lab: Lab, ingest: str) -> None:
    """Its token is still within its hour: the apiserver says in the review that what it was bound
    to is gone."""
    run = lab.phase(lab.run(lab.job_type(), "sleep-300"), "Running")
    late = pod_token(lab, lab.pod(run).metadata.name)
    lab.cancel(run)
    lab.ended(run)
    assert ship(ingest, late).status_code == 401


@pytest.mark.parametrize(
    "credential", ["", "nonsense", "shared"], ids=["none", "nonsense", "the users' token"]
)
def test_users_are_refused(lab: Lab, ingest: str, credential: str) -> None:
    held = lab.env["CODEX_CONTROL_TOKEN"] if credential == "shared" else credential
    assert ship(ingest, held).status_code == 401


def test_one_runs_token_writes_to_no_other_run(
    lab: Lab, facade: Facade, ingest: str, run: Json
) -> None:
    """There is no way to name another: the run is the token's."""
    other = lab.ended(lab.run(lab.job_type(), "message"))
    row = facade.until(other, "succeeded", log_closed=True)
    before = facade.log(other)
    headers = {"Authorization": f"Bearer {pod_token(lab, lab.pod(run).metadata.name)}"}
    line = json.dumps({"run_id": row["run_id"]}).encode()
    for path in (
        f"/ingest/log?offset=0&run_id={row['run_id']}",
        f"/ingest/log?offset=0&run={row['name']}",
    ):
        httpx.post(ingest + path, headers=headers, content=line)
    assert facade.log(other) == before


@pytest.mark.parametrize(
    "path", ["/ingest/log?offset=0", "/ingest/usage", "/ingest/artifacts/final-message.md"]
)
def test_the_public_port_knows_no_ingest(lab: Lab, facade: Facade, run: Json, path: str) -> None:
    headers = {"Authorization": f"Bearer {pod_token(lab, lab.pod(run).metadata.name)}"}
    method = "PUT" if "artifacts" in path else "POST"
    answer = httpx.request(method, facade.url + path, headers=headers, content=b"{}")
    assert answer.status_code in (401, 404), answer.text
