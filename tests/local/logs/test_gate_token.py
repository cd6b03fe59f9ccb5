"""With an api in the installation the gate, and only the gate, gets a token for it."""

import json

import pytest
from builders import kind, run

from codexrun_core.resources import PromptUsed
from codexrun_core.resources.limits import Limits
from codexrun_operator.decide.validation import Accepted
from codexrun_operator.job.job import build_job
from codexrun_operator.settings import PodSettings, settings_from

NEEDED = {
    "CODEXRUN_NAMESPACE": "codexrun",
    "CODEXRUN_POD_NAME": "operator-0",
    "CODEXRUN_CONTROL_IMAGE": "c",
    "CODEXRUN_AGENT_IMAGE": "a",
    "CODEXRUN_UPSTREAM_URL": "http://model/v1",
}


def pod(ingest_url, **spec):
    accepted = Accepted(
        prompt=PromptUsed(name="hello", version="v1", sha256="0" * 64),
        model="m",
        effort=None,
        limits=Limits(timeout_seconds=60, start_seconds=60),
    )
    settings = PodSettings(
        control_image="c", agent_image="a", upstream_url="http://model/v1", ingest_url=ingest_url
    )
    return build_job(run(**spec), kind(), accepted, 1, settings)["spec"]["template"]["spec"]


def config(container, name):
    return json.loads(
        next(variable["value"] for variable in container["env"] if variable["name"] == name)
    )


def test_the_token_is_in_the_gate_alone_and_for_the_api_alone():
    spec = pod("http://api:8081")
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "gate-files"]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"] == {
        "audience": "codexrun-api",
        "expirationSeconds": 3600,
        "path": "ingest/token",
    }
    containers = {each["name"]: each for each in (*spec["initContainers"], *spec["containers"])}
    mounts = {
        name: [m for m in each["volumeMounts"] if m["name"] == "gate-files"]
        for name, each in containers.items()
    }
    assert mounts == {
        "gate": [{"name": "gate-files", "mountPath": "/var/run/codexrun", "readOnly": True}],
        "agent": [],
    }
    assert config(containers["gate"], "CODEXRUN_GATE")["ingestURL"] == "http://api:8081"
    assert "http://api:8081" not in json.dumps(containers["agent"])
    assert spec["automountServiceAccountToken"] is False


def test_without_an_api_there_is_no_token():
    spec = pod("")
    assert "serviceAccountToken" not in json.dumps(spec)
    assert config(spec["initContainers"][-1], "CODEXRUN_GATE").get("ingestURL") is None


@pytest.mark.parametrize(
    ("retry", "resume"), [({"name": "old", "resume": True}, True), ({"name": "old"}, False)]
)
def test_the_runner_is_told_to_resume(retry, resume):
    (agent,) = pod("http://api:8081", retryOf=retry)["containers"]
    assert config(agent, "CODEXRUN_RUN")["resume"] is resume


@pytest.mark.parametrize(
    ("value", "url"), [(None, ""), ("", ""), (" http://api:8081/ ", "http://api:8081")]
)
def test_where_the_operator_learns_of_the_api(value, url):
    environment = NEEDED | ({} if value is None else {"CODEXRUN_INGEST_URL": value})
    assert settings_from(environment).pods.ingest_url == url
