"""What the chart renders where it finds an earlier release: `helm template --dry-run=server`
against a cluster of one Secret."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpapiserver import kubeconfig
from test_chart import CHART, DEMO, HOOKS, Manifest, names, one, render, run, settings

TOKEN = base64.b64encode(b"what the clients have").decode()
NAME = "codexrun-api-token"
OWNED = {
    "meta.helm.sh/release-name": "codexrun",
    "meta.helm.sh/release-namespace": "codexrun",
}


def secret(labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    metadata = {
        "name": NAME,
        "namespace": "codexrun",
        "labels": {"app.kubernetes.io/managed-by": "Helm", **labels},
        "annotations": annotations,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata,
        "data": {"token": TOKEN},
    }


RENDERED = secret({"helm.sh/chart": "codexrun-0.1.0"}, OWNED)
MADE_BY_THE_JOB = secret({}, {**OWNED, "helm.sh/resource-policy": "keep"})
OF_ANOTHER_RELEASE = secret(
    {"helm.sh/chart": "codexrun-0.1.0"}, {**OWNED, "meta.helm.sh/release-name": "other"}
)


class Cluster:
    """An apiserver that knows the chart's kinds, and has one object or none."""

    def __init__(self, item: Manifest | None) -> None:
        cluster = self
        self.item = item
        self.kinds: dict[str, set[str]] = {}
        for manifest in render():
            self.kinds.setdefault(manifest["apiVersion"], set()).add(manifest["kind"])
        self.kinds["v1"].add("Secret")

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, answer = cluster.answer(self.path.partition("?")[0].strip("/"))
                body = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, Any]:
        groups = [version.split("/") for version in self.kinds if "/" in version]
        if path == "version":
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if path == "api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "apis":
            listed = [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                }
                for group, version in groups
            ]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}
        version = path.removeprefix("apis/").removeprefix("api/")
        if version in self.kinds:
            return 200, self._resources(version)
        if self.item and path.endswith(f"/secrets/{self.item['metadata']['name']}"):
            return 200, self.item
        return 404, {"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound"}

    def _resources(self, version: str) -> Any:
        resources = [
            {
                "name": "policies".join(kind.lower().rsplit("policy", 1))
                if kind.endswith("Policy")
                else f"{kind.lower()}s",
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": not kind.startswith(("Cluster", "CustomRes", "ValidatingAdm")),
                "verbs": ["get", "list", "create", "patch", "delete"],
            }
            for kind in sorted(self.kinds[version])
        ]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": version,
            "resources": resources,
        }


@pytest.fixture
def upgraded(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Manifest]:
    """What is rendered beside the Secret of the parameter."""
    cluster = Cluster(request.param)
    config = tmp_path / "kubeconfig"
    host, port = cluster.server.server_address[:2]
    config.write_text(kubeconfig(f"http://{host!s}:{port}"))
    monkeypatch.setenv("KUBECONFIG", str(config))
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    options = ("--dry-run=server", "--is-upgrade", "--disable-openapi-validation")
    done = run("template", "codexrun", str(CHART), "-n", "codexrun", *options, *settings(DEMO))
    cluster.server.shutdown()
    cluster.server.server_close()
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


@pytest.mark.parametrize("upgraded", [RENDERED], indirect=True)
def test_a_secret_that_an_earlier_version_rendered_stays_in_the_manifest(
    upgraded: list[Manifest],
) -> None:
    kept = one(upgraded, "Secret", NAME)
    assert kept["data"] == {"token": TOKEN}
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert names(upgraded) >= HOOKS


@pytest.mark.parametrize("upgraded", [None, MADE_BY_THE_JOB, OF_ANOTHER_RELEASE], indirect=True)
def test_no_other_secret_comes_into_the_manifest(upgraded: list[Manifest]) -> None:
    assert f"Secret/{NAME}" not in names(upgraded)
    assert names(upgraded) >= HOOKS
