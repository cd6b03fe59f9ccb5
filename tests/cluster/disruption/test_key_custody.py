"""The agent's container never holds the model key, and cannot touch who does."""

import base64
from collections.abc import Iterator

import pytest
from lab import Lab

KEY = "sk-canary-3b9d21c47e"


@pytest.fixture(scope="module")
def with_key(lab: Lab) -> Iterator[None]:
    """The release with a model key of ours, and as it was afterwards."""
    name = lab.name("model-key")
    body = {
        "metadata": {"name": name},
        "data": {"api-key": base64.b64encode(f"{KEY}\n".encode()).decode()},
    }
    lab.core.create_namespaced_secret(lab.namespace, body)
    with lab.chart_with(f"model.existingSecret={name}"):
        yield
    lab.core.delete_namespaced_secret(name, lab.namespace)


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
