"""A webhook of the tests that patches what others create, as meshes and queue controllers do."""

import base64
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from lab import PATIENCE, Lab

Json = dict[str, Any]
GROUPS = {"jobs": "batch", "pods": ""}


class _Webhook(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, patch: list[Json]) -> None:
        super().__init__((address, 0), _Handler)
        self.patch = base64.b64encode(json.dumps(patch).encode()).decode()
        self.called = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Webhook

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": self.server.patch,
        }
        body = json.dumps(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.server.called.set()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def _own_address(lab: Lab) -> str:
    """The address of this machine on the way to the apiserver."""
    server = urlsplit(lab.core.api_client.configuration.host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))
        return str(probe.getsockname()[0])


def _certificate(folder: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate that is its own CA, and its key."""
    certificate, key = folder / "ca.crt", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=patches", "-addext", f"subjectAltName=IP:{address}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *names, *files], check=True, capture_output=True
    )
    return certificate, key


@contextmanager
def patched_at_creation(lab: Lab, resource: str, job_type: str, *patch: Json) -> Iterator[None]:
    """Patch each Job or pod (`resource`: jobs, pods) of a job type as it is created (RFC 6902)."""
    address = _own_address(lab)
    name = f"patches-{resource}-of-{job_type}"
    with TemporaryDirectory() as folder:
        certificate, key = _certificate(Path(folder), address)
        server = _Webhook(address, list(patch))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        authority = base64.b64encode(certificate.read_bytes()).decode()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    webhook = {
        "name": "patches.tests.codexrun.dev",
        "clientConfig": {
            "url": f"https://{address}:{server.server_port}/",
            "caBundle": authority,
        },
        "rules": [
            {
                "apiGroups": [GROUPS[resource]],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": [resource],
            }
        ],
        "objectSelector": {"matchLabels": {"codexrun.dev/job-type": job_type}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }
    lab.kubectl("apply", "-f", "-", stdin=json.dumps(configuration))
    try:
        _until_in_force(lab, server, resource, job_type)
        yield
    finally:
        lab.kubectl("delete", "mutatingwebhookconfiguration", name)
        server.shutdown()


def _until_in_force(lab: Lab, server: _Webhook, resource: str, job_type: str) -> None:
    """Wait until the apiserver asks; the objects that it is asked about are only tried."""
    metadata = {"generateName": "try-", "labels": {"codexrun.dev/job-type": job_type}}
    # As the namespace's Pod Security Standard, restricted, has it.
    container = {
        "name": "c",
        "image": "none",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {
        "restartPolicy": "Never",
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10_000,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    deadline = time.monotonic() + PATIENCE
    while not server.called.is_set():
        assert time.monotonic() < deadline, "the webhook never came into force"
        if resource == "jobs":
            job = {"metadata": metadata, "spec": {"template": {"spec": pod}}}
            lab.batch.create_namespaced_job(lab.namespace, job, dry_run="All")
        else:
            lab.core.create_namespaced_pod(
                lab.namespace, {"metadata": metadata, "spec": pod}, dry_run="All"
            )
