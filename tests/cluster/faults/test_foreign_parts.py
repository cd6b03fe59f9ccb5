"""What others in the namespace do to runs: a second release, containers of a mesh, a quota that
asks for what the gate has not."""

import base64
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import node_parts
import pytest
from lab import NAMESPACE, ROOT, Json, Lab
from own_operator import SELECTOR
from slot_observer import SlotObserver

from codexrun_cluster.node.network import NODE_IP

pytestmark = pytest.mark.faults

SECOND = "second"  # a release


@pytest.fixture(autouse=True)
def on_the_embedded_node() -> None:
    node_parts.skip_elsewhere()


@contextmanager
def second_release(lab: Lab) -> Iterator[None]:
    """Another release in the same namespace, of the same images."""
    values = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    # What the namespace has once is the first one's.
    own = "crds.install=false,api.enabled=false,demoModel.enabled=false"
    install = ("helm", "install", SECOND, str(ROOT / "charts/codexrun"), "-n", NAMESPACE)
    try:
        lab.sh(*install, "-f", "-", "--set", own, "--wait", "--timeout", "120s", stdin=values)
        yield
    finally:
        lab.sh("helm", "uninstall", SECOND, "-n", NAMESPACE, "--wait", check=False)
        lab.kubectl("rollout", "status", "deployment/codexrun-operator", "--timeout=180s")


def test_of_two_releases_in_one_namespace_one_leads(lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=3)
    with second_release(lab), SlotObserver(lab, job_type) as outside:
        runs = [lab.run(job_type, "sleep-1", stem="two") for _ in range(30)]
        statuses = node_parts.all_ended(lab, runs)
        assert {status["phase"] for status in statuses} == {"Succeeded"}
        assert outside.most <= 3
        assert {len(jobs) for jobs in outside.jobs_of.values()} == {1}
        leaders = {
            pod.metadata.name
            for pod in lab.core.list_namespaced_pod(NAMESPACE, label_selector=SELECTOR).items
            if '"lease.taken"' in lab.core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE)
        }
        assert len(leaders) == 1


@contextmanager
def mesh_container(lab: Lab, job_type: str, folder: Path) -> Iterator[None]:
    """A webhook that gives each pod of a job type a third container, which never ends by itself."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=mesh", "-addext", f"subjectAltName=IP:{NODE_IP}")
    files = ("-keyout", str(key), "-out", str(certificate))
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            *files,
            *subject,
        ],
        check=True,
        capture_output=True,
    )
    server = http.server.HTTPServer((NODE_IP, 0), Mesh)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name = f"mesh-of-{job_type}"
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    webhook = {
        "name": "mesh.codexrun.test",
        "clientConfig": {
            "url": f"https://{NODE_IP}:{server.server_port}/",
            "caBundle": base64.b64encode(certificate.read_bytes()).decode(),
        },
        "objectSelector": {"matchLabels": {"codexrun.dev/job-type": job_type}},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(configuration))
    try:
        yield
    finally:
        lab.kubectl("delete", "mutatingwebhookconfiguration", name)
        server.shutdown()


class Mesh(http.server.BaseHTTPRequestHandler):
    """Adds a copy of the agent's container, without its files, that sleeps."""

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        agent = review["request"]["object"]["spec"]["containers"][0]
        kept = ("image", "imagePullPolicy", "securityContext")
        container: Json = {key: agent[key] for key in kept if key in agent}
        container |= {"name": "mesh", "command": ["sleep", "inf"]}
        patch = [{"op": "add", "path": "/spec/containers/-", "value": container}]
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
        body = {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its signature
        pass


def test_a_third_container_holds_the_slot_and_not_the_run(lab: Lab, tmp_path: Path) -> None:
    """The run ends with its agent and its gate. Its pod runs on, and is in the count until its
    deadline, or until somebody deletes it."""
    job_type = lab.job_type(concurrencyLimit=1)
    with mesh_container(lab, job_type, tmp_path):
        status = lab.ended(lab.run(job_type, "message"))["status"]
        assert (status["phase"], status["usage"]["complete"]) == ("Succeeded", True)
        waiting = lab.phase(lab.run(job_type, "message"), "Queued")
        assert waiting["status"]["reason"] == "ConcurrencyLimit"
        lab.kubectl("delete", "pod", status["podName"], "--wait=true")
        second = lab.ended(waiting)["status"]
        assert second["phase"] == "Succeeded"
        lab.kubectl("delete", "pod", second["podName"], "--wait=true")


@contextmanager
def quota_of_cpu(lab: Lab) -> Iterator[None]:
    """A quota that every container must name a limit for."""
    name = lab.name("cpu")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name},
        "spec": {"hard": {"limits.cpu": "100"}},
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(quota))
    try:
        yield
    finally:
        lab.kubectl("delete", "resourcequota", name)


def test_a_quota_that_asks_for_a_limit_of_cpu_is_what_the_run_says_it_waits_for(lab: Lab) -> None:
    limits = {"timeoutSeconds": 120, "stallSeconds": 60, "startSeconds": 900}
    job_type = lab.job_type(concurrencyLimit=1, limits=limits)
    with quota_of_cpu(lab):
        run = lab.run(job_type, "message")
        waits = lab.until(run, lambda run: "limits.cpu" in (run["status"].get("message") or ""))
        assert (waits["status"]["phase"], waits["status"]["reason"]) == ("Starting", "PodRefused")
    # The Job controller tries again after a pause that doubles, up to some minutes.
    assert lab.ended(run, patience=node_parts.PATIENCE_SECONDS)["status"]["phase"] == "Succeeded"
