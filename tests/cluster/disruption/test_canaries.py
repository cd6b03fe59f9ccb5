"""Canaries through one full flow: a Git credential, a Secret of the job type, the model's key and
the control token are in nothing that anybody can read afterwards."""

import base64
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from git_host import PASSWORD
from lab import Json, Lab
from rest_facade import Facade

KEY = "sk-canary-91c2e07d5b"
SECRET = "canary/team+t0ken=58"
COMMAND = "env; cat .git/config; echo $TEAM_TOKEN > note.txt; printf x$TEAM_TOKEN | base64"
ARTIFACTS = ("final-message.md", "workspace.patch", "rollout.jsonl", "output.json")
TABS = ("codex", "log", "prompt", "artifacts", "yaml")


@pytest.fixture(scope="module")
def with_key(lab: Lab) -> Iterator[None]:
    """The release with a model key of ours, and as it was afterwards."""
    name = lab.name("model-key")
    encoded = base64.b64encode(KEY.encode()).decode()
    lab.core.create_namespaced_secret(
        lab.namespace, {"metadata": {"name": name}, "data": {"api-key": encoded}}
    )
    with lab.chart_with(f"model.existingSecret={name}"):
        yield
    lab.core.delete_namespaced_secret(name, lab.namespace)


@pytest.fixture(scope="module")
def ended(lab: Lab, facade: Facade, host: str, with_key: None) -> Json:
    """A run that clones with a password, and prints and writes what it knows."""
    name = lab.name("team-secret")
    lab.core.create_namespaced_secret(
        lab.namespace, {"metadata": {"name": name}, "stringData": {"token": SECRET}}
    )
    job_type = lab.job_type(
        prompt=lab.prompt("scenario: shell\ncommand: {{command}}\n"),
        git={"allowedURLs": [f"http://{host}/*"], "credentialsSecretRef": {"name": host}},
        env=[
            {"name": "TEAM_TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}},
            {"name": "REGION", "value": "europe-west"},
        ],
    )
    workspace = {"git": {"url": f"http://{host}/private.git"}}
    run = lab.ended(lab.run(job_type, inputs={"command": COMMAND}, workspace=workspace))
    facade.until(run, "succeeded", log_closed=True)
    return run


def places(lab: Lab, facade: Facade, run: Json) -> Iterator[tuple[str, str]]:
    """Everything of the flow that somebody can read, by where it stands."""
    # of pods the run's own: the Git server of the tests has its password in its environment
    own = f"codexrun.dev/run-uid={run['metadata']['uid']}"
    yield "objects", lab.kubectl("get", "cxr,cjt,events,configmaps", "-o", "yaml").stdout
    yield "its objects", lab.kubectl("get", "jobs,pods", "-l", own, "-o", "yaml").stdout
    pod = lab.pod(run).metadata.name
    for container in ("clone", "gate", "agent"):
        yield f"log of {container}", lab.kubectl("logs", pod, "-c", container).stdout
    for part in ("operator", "api"):
        log = lab.kubectl("logs", f"deployment/codexrun-{part}", "--tail=20000").stdout
        yield f"log of {part}", log
    run_id = run["metadata"]["uid"]
    yield "row", facade.get(f"/runs/{run_id}").text
    yield "archived log", facade.log(run).decode()
    for artifact in ARTIFACTS:
        yield artifact, facade.get(f"/runs/{run_id}/artifacts/{artifact}").text
    for path in ("/metrics", "/runs", "/openapi.json"):
        yield path, facade.get(path).text
    with httpx.Client(base_url=facade.url, timeout=90, follow_redirects=True) as visitor:
        visitor.post("/console/login", data={"token": lab.env["CODEX_CONTROL_TOKEN"]})
        for tab in TABS:
            answer = visitor.get(f"/console/runs/{run_id}", params={"tab": tab})
            assert run_id in answer.text, f"no page: {answer}"
            yield f"page {tab}", answer.text


def test_no_canary_is_in_anything_that_can_be_read(lab: Lab, facade: Facade, ended: Json) -> None:
    assert ended["status"]["phase"] == "Succeeded", ended["status"]
    secrets = {
        "the job type's Secret": SECRET,
        "the same, escaped": quote(SECRET, safe=""),
        "the same as base64": base64.b64encode(b"x" + SECRET.encode()).decode()[4:-4],
        "the model's key": KEY,
        "the Git password": PASSWORD,
        "the control token": lab.env["CODEX_CONTROL_TOKEN"],
    }
    for place, text in places(lab, facade, ended):
        for what, secret in secrets.items():
            assert secret not in text, f"{what} is in {place}"


def test_the_run_says_what_was_withheld(lab: Lab, facade: Facade, ended: Json) -> None:
    row = facade.row(ended)
    assert "TEAM_TOKEN" in row["warnings"][0]
    assert row["warnings"] == ended["status"]["warnings"]
    assert "europe-west" in facade.log(ended).decode(), "what is no Secret is not masked"
    uid = ended["metadata"]["uid"]
    assert facade.get(f"/runs/{uid}/artifacts/workspace.patch").status_code == 404


def test_the_commit_and_the_clone_s_log_are_kept(lab: Lab, facade: Facade, ended: Json) -> None:
    row = facade.row(ended)
    commit = ended["status"]["commitId"]
    assert len(commit) == 40
    assert row["commit_id"] == commit
    first = facade.log(ended).splitlines()[0]
    assert b'"src":"clone"' in first
    assert commit.encode() in first
