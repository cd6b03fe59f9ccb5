"""The agent's container never holds the model key, and cannot touch who does."""

import base64
from collections.abc import Iterator

import pytest
from lab import NAMESPACE, Lab

KEY = "sk-canary-3b9d21c47e"
SECRET = "canary-token-77aa01"


@pytest.fixture(scope="module")
def with_key(lab: Lab) -> Iterator[None]:
    """The release with a model key of ours, and as it was afterwards."""
    name = lab.name("model-key")
    body = {
        "metadata": {"name": name},
        "data": {"api-key": base64.b64encode(f"{KEY}\n".encode()).decode()},
    }
    lab.core.create_namespaced_secret(NAMESPACE, body)
    with lab.chart_with(f"model.existingSecret={name}"):
        yield
    lab.core.delete_namespaced_secret(name, NAMESPACE)


@pytest.mark.disruptive
def test_the_agent_finds_no_key_and_cannot_signal_the_gate(lab: Lab, with_key: None) -> None:
    run = lab.ended(lab.run(lab.job_type(), "env-probe"))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    found = run["status"]["result"]["message"]
    assert "probe done" in found
    assert "found in" not in found
    assert "mount seen: /var/run/codexrun/model" not in found
    assert "codexrun-gate" not in found
    pod = lab.pod(run)
    gate = next(c for c in pod.spec.init_containers if c.name == "gate")
    # It is there, for the gate alone.
    assert any(m.name == "gate-files" for m in gate.volume_mounts)
    (files,) = [volume for volume in pod.spec.volumes if volume.name == "gate-files"]
    assert any(source.secret for source in files.projected.sources)
    everything = lab.kubectl("get", "cxr,jobs,pods,events,configmaps", "-o", "yaml").stdout
    logs = "".join(
        lab.kubectl("logs", pod.metadata.name, "-c", c).stdout for c in ("agent", "gate")
    )
    assert KEY not in everything + logs


def test_a_secret_of_the_job_type_is_masked_wherever_it_is_printed(lab: Lab) -> None:
    name = lab.name("team-secret")
    lab.core.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": name}, "stringData": {"token": SECRET}}
    )
    env = [{"name": "TEAM_TOKEN", "valueFrom": {"secretKeyRef": {"name": name, "key": "token"}}}]
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    run = lab.ended(
        lab.run(
            lab.job_type(prompt=prompt, env=env),
            inputs={"command": "echo ${#TEAM_TOKEN} $TEAM_TOKEN"},
        )
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    message = run["status"]["result"]["message"]
    assert message.startswith(f"{len(SECRET)} ")  # the agent has it
    assert SECRET not in str(lab.get(run)) + str(lab.log(run))
