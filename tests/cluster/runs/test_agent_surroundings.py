"""What an agent finds around itself, and what a cluster sees of its pod."""

import pytest
from lab import Json, Lab


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(
        prompt=lab.prompt("scenario: shell\ncommand: {{command}}\n"),
        sizes={"workspace": "64Mi", "home": "128Mi", "sharedMemory": "256Mi"},
        env=[
            {"name": "PRICE", "value": "$5 for $(HOME) or $$"},
            {"name": "GOPATH", "value": "/go"},
        ],
        propagateLabels=["codexrun.test/round", "absent"],
    )


def said(lab: Lab, job_type: str, command: str) -> str:
    run = lab.ended(lab.run(job_type, inputs={"command": command}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    message: str = run["status"]["result"]["message"]
    return message


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python3 -c 'import getpass; print(getpass.getuser())'", "agent"),
        ("head -c 200000000 /dev/zero > /dev/shm/x && echo large enough", "large enough"),
        ("mkdir -p $GOPATH/pkg/mod && echo $GOPATH", "/home/agent/go"),
        ('printf "%s\\n" "$PRICE"', "$5 for $(HOME) or $$"),
        ("env | grep -cE '^PYTHON(UNBUFFERED|DONTWRITE)' || true", "0"),
    ],
    ids=[
        "its user has a name",
        "shared memory",
        "caches in HOME",
        "a plain value",
        "no PYTHON* of the runner",
    ],
)
def test_what_the_agent_finds(lab: Lab, job_type: str, command: str, words: str) -> None:
    assert said(lab, job_type, command).splitlines()[0] == words


def test_a_full_workspace_names_its_field(lab: Lab, job_type: str) -> None:
    # the runner stops it at 95%, before the kubelet evicts the pod
    command = "head -c 65000000 /dev/zero > x; sleep 60"
    run: Json = lab.ended(lab.run(job_type, inputs={"command": command}))
    failure = run["status"]["failure"]
    assert failure["class"] == "storage", run["status"]
    assert "sizes.workspace" in failure["message"]


def test_what_the_cluster_sees_of_the_pod(lab: Lab, job_type: str) -> None:
    run = lab.ended(lab.run(job_type, inputs={"command": "true"}))
    pod = lab.pod(run).metadata
    assert pod.annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert pod.annotations["karpenter.sh/do-not-disrupt"] == "true"
    (job,) = lab.jobs(run)
    for labels in (pod.labels, job.metadata.labels):
        assert labels["codexrun.test/round"] == lab.mark["codexrun.test/round"]
        assert "absent" not in labels
