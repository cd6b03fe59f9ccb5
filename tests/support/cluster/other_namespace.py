"""A second release, in a namespace of its own beside that of the first."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from lab import NAMESPACE, ROOT, Json, Lab


@contextmanager
def release_beside(lab: Lab) -> Iterator[str]:
    """Yield the namespace of a release with the values of the first, which keeps the definitions;
    both are gone at the end, whatever a test has left of them."""
    namespace = lab.name("second")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
    shown = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    values: Json = {**json.loads(shown), "crds": {"install": False}}
    chart = str(ROOT / "charts/codexrun")
    options = ("-n", namespace, "-f", "-", "--wait", "--timeout", "180s")
    try:
        lab.sh("helm", "install", "codexrun", chart, *options, stdin=json.dumps(values))
        yield namespace
    finally:
        lab.sh("helm", "uninstall", "codexrun", "-n", namespace, "--ignore-not-found")
        delete_namespace(lab, namespace)


def delete_namespace(lab: Lab, namespace: str) -> None:
    """Delete a namespace as people do, and wait until it is gone."""
    lab.sh("kubectl", "delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s")
