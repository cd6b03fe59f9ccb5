"""One hostile object hurts only itself: what the apiserver stores, operator and api bear."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from lab import NAMESPACE, PATIENCE, Lab
from rest_facade import Facade

RUNS_PATH = f"/apis/codexrun.dev/v1alpha1/namespaces/{NAMESPACE}/codexruns"
DEPTHS = (40, 260, 1_500, 9_990)  # the apiserver stores JSON to 10,000 levels
POLICY = f"{NAMESPACE}-codexrun-inputs-size"
LARGE_BYTES = 1_300_000
QUERY_BYTES = 60_000
CREATE_ATTEMPTS = 3


def deep_run(lab: Lab, name: str, depth: int) -> str:
    """A CodexRun's JSON with inputs of that many levels; written by hand, since writers give up
    earlier."""
    labels = json.dumps(lab.mark)
    nested = "[" * depth + '"x"' + "]" * depth
    return (
        '{"apiVersion":"codexrun.dev/v1alpha1","kind":"CodexRun",'
        f'"metadata":{{"name":"{name}","labels":{labels}}},'
        f'"spec":{{"jobType":"nowhere","inputs":{{"a":{nested}}}}}}}'
    )


def pods(lab: Lab, *components: str) -> list[Any]:
    """Pods of these components that are not about to go."""
    selector = f"app.kubernetes.io/component in ({', '.join(components)})"
    listed = lab.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
    return [pod for pod in listed if not pod.metadata.deletion_timestamp]


def lives(lab: Lab) -> dict[str, int]:
    """Restarts of operator and api, by pod: the same afterwards means that neither ended."""
    return {
        pod.metadata.name: sum(
            status.restart_count for status in pod.status.container_statuses or []
        )
        for pod in pods(lab, "operator", "api")
    }


def healthy(lab: Lab, facade: Facade) -> None:
    """Both processes answer their probes."""
    assert facade.http.get("/healthz", timeout=10).status_code == 200
    (operator,) = pods(lab, "operator")
    proxy = f"/api/v1/namespaces/{NAMESPACE}/pods/{operator.metadata.name}:8080/proxy/healthz"
    lab.kubectl("get", "--raw", proxy)  # fails on anything but 200


def create(lab: Lab, text: str) -> None:
    """Create an object; a request that the apiserver did not finish in time is sent again, and that
    it exists then is success."""
    for _ in range(CREATE_ATTEMPTS):
        sent = lab.kubectl("create", "--raw", RUNS_PATH, "-f", "-", stdin=text, check=False)
        if sent.returncode == 0 or "AlreadyExists" in sent.stderr:
            return
        if "(Timeout)" not in sent.stderr:
            break
    raise AssertionError(sent.stderr)


@contextmanager
def created(lab: Lab, objects: dict[str, str]) -> Iterator[None]:
    """These objects, by name; gone afterwards, since other tests list every run there is."""
    try:
        for text in objects.values():
            create(lab, text)
        yield
    finally:
        lab.kubectl("delete", "cxr", *objects, "--ignore-not-found")


def until_in_force(lab: Lab, *, in_force: bool) -> None:
    """Switch the policy, and wait until the apiserver does so: nothing can be watched for that."""
    actions = {"spec": {"validationActions": ["Deny" if in_force else "Audit"]}}
    kind = "validatingadmissionpolicybinding"
    # As Helm, or its next upgrade would find that somebody else owns the field.
    as_helm = ("--type=merge", "--field-manager=helm", "-p", json.dumps(actions))
    lab.sh("kubectl", "patch", kind, POLICY, *as_helm)
    body = {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexRun",
        "metadata": {"name": lab.name("large")},
        "spec": {"jobType": "nowhere", "inputs": {"a": "x" * 70_000}},
    }
    try_it = ("create", "--dry-run=server", "-f", "-")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        refused = lab.kubectl(*try_it, stdin=json.dumps(body), check=False).returncode != 0
        if refused is in_force:
            return
    raise AssertionError(f"the policy is {'not' if in_force else 'still'} in force")


@contextmanager
def without_policy(lab: Lab) -> Iterator[None]:
    """The cluster as it is where the installer had no right to make a ValidatingAdmissionPolicy."""
    until_in_force(lab, in_force=False)
    try:
        yield
    finally:
        until_in_force(lab, in_force=True)


def test_deep_objects_stop_neither_operator_nor_api(lab: Lab, facade: Facade) -> None:
    before = lives(lab)
    job_type = lab.job_type()
    names = {depth: lab.name(f"deep-{depth}") for depth in DEPTHS}
    with created(lab, {name: deep_run(lab, name, depth) for depth, name in names.items()}):
        assert lab.ended(lab.run(job_type, "message"))["status"]["phase"] == "Succeeded"
        for depth, name in names.items():
            row = facade.get(f"/runs/{name}").json()
            assert row["name"] == name, depth
            listed = lab.sh("codexrun", "list", "--job-type", "nowhere").stdout
            assert name in listed
            assert facade.get(f"/console/runs/{row['run_id']}").status_code in (200, 303)
        healthy(lab, facade)
        assert lives(lab) == before


def test_inputs_nested_too_deeply_are_rejected_in_the_same_words_at_every_door(
    lab: Lab, facade: Facade
) -> None:
    job_type = lab.job_type(inputsSchema={"type": "object"})
    nested: object = "x"
    for _ in range(40):
        nested = [nested]
    run = lab.ended(lab.run(job_type, inputs={"a": nested}))["status"]
    assert (run["phase"], run["reason"]) == ("Rejected", "InvalidInputs")
    answer = facade.http.post("/runs/start", json={"job_type": job_type, "inputs": {"a": nested}})
    assert answer.status_code == 422
    typed = lab.sh("codexrun", "start", job_type, "-p", f"a:={json.dumps(nested)}", check=False)
    assert typed.returncode != 0
    for words in (run["message"], answer.text, typed.stderr):
        assert "32 levels" in words


@pytest.mark.disruptive
def test_large_objects_stop_neither_operator_nor_api(lab: Lab, facade: Facade) -> None:
    for part in ("operator", "api"):
        lab.kubectl("rollout", "status", f"deployment/codexrun-{part}", "--timeout=120s")
    before = lives(lab)
    items = ",".join(["{}"] * (LARGE_BYTES // 3))
    labels = json.dumps(lab.mark)
    names = [lab.name("large") for _ in range(8)]
    objects = {
        name: '{"apiVersion":"codexrun.dev/v1alpha1","kind":"CodexRun",'
        f'"metadata":{{"name":"{name}","labels":{labels}}},'
        f'"spec":{{"jobType":"nowhere","inputs":{{"a":[{items}]}}}}}}'
        for name in names
    }
    with without_policy(lab), created(lab, objects):
        run = lab.ended(lab.run(lab.job_type(), "message"))
        assert run["status"]["phase"] == "Succeeded"
        facade.until(run, "succeeded")
        healthy(lab, facade)
        assert lives(lab) == before
        # Both list all of them when they start.
        parts = [f"deployment/codexrun-{part}" for part in ("operator", "api")]
        lab.kubectl("rollout", "restart", *parts)
        for part in parts:
            lab.kubectl("rollout", "status", part, "--timeout=120s")
        assert lab.ended(lab.run(lab.job_type(), "message"))["status"]["phase"] == "Succeeded"
        healthy(lab, facade)
        assert not any(lives(lab).values())


def test_a_long_query_is_refused_and_others_are_answered(lab: Lab, facade: Facade) -> None:
    before = lives(lab)
    query = "&".join(f"a{number}" for number in range(QUERY_BYTES // 6))[:QUERY_BYTES]
    for path in ("/runs", "/nowhere", "/console", "/healthz"):
        answer = facade.http.get(f"{path}?{query}")
        assert 400 <= answer.status_code < 500, path
    healthy(lab, facade)
    assert lives(lab) == before
