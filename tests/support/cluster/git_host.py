"""A Git server in the cluster, with git_server.py in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab

PASSWORD = "hunter2-canary-5d1f"


@contextmanager
def serving(lab: Lab) -> Iterator[str]:
    """The host name of one."""
    name = lab.name("git")
    image = (
        lab.apps.read_namespaced_deployment("codexrun-operator", lab.namespace)
        .spec.template.spec.containers[0]
        .image
    )
    script = Path(__file__).with_name("git_server.py").read_text()
    lab.core.create_namespaced_config_map(
        lab.namespace, {"metadata": {"name": name}, "data": {"git_server.py": script}}
    )
    security = {
        "runAsNonRoot": True,
        "runAsUser": 10009,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "git",
        "image": image,
        "command": ["python3", "/etc/git/git_server.py"],
        "env": [{"name": "GIT_PASSWORD", "value": PASSWORD}, {"name": "HOME", "value": "/tmp"}],
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": security,
        "volumeMounts": [{"name": "script", "mountPath": "/etc/git"}],
    }
    pod = {
        "metadata": {"name": name, "labels": {"git": name}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "script", "configMap": {"name": name}}],
        },
    }
    lab.core.create_namespaced_pod(lab.namespace, pod)
    service = {
        "metadata": {"name": name},
        "spec": {"selector": {"git": name}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    lab.core.create_namespaced_service(lab.namespace, service)
    secret = {"metadata": {"name": name}, "type": "kubernetes.io/basic-auth"}
    lab.core.create_namespaced_secret(
        lab.namespace, {**secret, "stringData": {"username": "bot", "password": PASSWORD}}
    )
    lab.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    # A ready pod is not yet an address that answers: the node's proxy learns of it a moment later.
    answers = f"until git ls-remote http://{name}/repo.git; do sleep 0.1; done"
    lab.kubectl(
        "exec", "deployment/codexrun-demo-model", "--", "timeout", "30", "sh", "-c", answers
    )
    yield name
    for kind in ("pod", "service", "secret", "configmap"):
        lab.kubectl("delete", kind, name, "--wait=false")
