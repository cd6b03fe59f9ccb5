"""A release in a namespace of its own, which a test may stop, kill and starve while other tests use
the first one."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager

from lab import NAMESPACE, ROOT, Json, Lab


@contextmanager
def own_release(lab: Lab, stem: str) -> Iterator[Lab]:
    """One with the values of the first, to which it leaves the definitions; `env` has its api. Both
    release and namespace are gone at the end, whatever a test has left of them."""
    namespace = lab.name(stem)
    labels = {**lab.mark, "pod-security.kubernetes.io/enforce": "restricted"}
    lab.core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
    shown = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    values: Json = {**json.loads(shown), "crds": {"install": False}}
    chart = str(ROOT / "charts/codexrun")
    options = ("-n", namespace, "-f", "-", "--wait", "--timeout", "180s")
    try:
        lab.sh("helm", "install", "codexrun", chart, *options, stdin=json.dumps(values))
        own = Lab(namespace)
        api = own.core.read_namespaced_service("codexrun-api", namespace)
        token = own.core.read_namespaced_secret("codexrun-api-token", namespace).data["token"]
        own.env["CODEX_CONTROL_URL"] = f"http://{api.spec.cluster_ip}:{api.spec.ports[0].port}"
        own.env["CODEX_CONTROL_TOKEN"] = base64.b64decode(token).decode()
        yield own
    finally:
        lab.sh("helm", "uninstall", "codexrun", "-n", namespace, "--ignore-not-found")
        delete_namespace(lab, namespace)


def delete_namespace(lab: Lab, namespace: str) -> None:
    """Delete a namespace as people do, and wait until it is gone."""
    lab.sh("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s")
