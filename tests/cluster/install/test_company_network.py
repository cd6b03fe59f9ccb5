"""A release in a company's network: its provider takes tokens of ServiceAccounts and no key, and
its Git host has a certificate of the company's own CA."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import git_server
import manifests
import pytest
from lab import NAMESPACE, ROOT, Json, Lab

AUDIENCE = "https://provider.example/v1"
TOKEN = "short-lived-canary"
JWT = "eyJhbGciOi"  # how each begins: {"alg":
SERVERS = Path(git_server.__file__).with_name("company_servers.py")
PLACES = "/workspace /home /var /etc /run /tmp"


def certificates(folder: Path) -> dict[str, str]:
    """ca.crt, and tls.crt and tls.key of the host `company`, which it has signed."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-subj", "/CN=Company CA", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2")
    openssl("req", "-x509", *new_key, *authority)
    openssl("req", *new_key, "-subj", "/CN=company", "-keyout", "tls.key", "-out", "tls.csr")
    (folder / "names").write_text("subjectAltName=DNS:company\n")
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
    openssl("x509", "-req", "-in", "tls.csr", *signed, "-days", "2", "-out", "tls.crt")
    return {name: (folder / name).read_text() for name in ("ca.crt", "tls.crt", "tls.key")}


def make_servers(lab: Lab, namespace: str, made: dict[str, str]) -> None:
    operator = lab.apps.read_namespaced_deployment("codexrun-operator", NAMESPACE)
    scripts = {Path(file).name: Path(file).read_text() for file in (git_server.__file__, SERVERS)}
    for name, data in (("servers", scripts), ("company-ca", {"ca.crt": made["ca.crt"]})):
        lab.core.create_namespaced_config_map(namespace, {"metadata": {"name": name}, "data": data})
    tls = {name: made[name] for name in ("tls.crt", "tls.key")}
    lab.core.create_namespaced_secret(
        namespace, {"metadata": {"name": "tls"}, "type": "kubernetes.io/tls", "stringData": tls}
    )
    security = {
        "runAsNonRoot": True,
        "runAsUser": 10009,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "servers",
        "image": operator.spec.template.spec.containers[0].image,
        "command": ["python3", "/etc/servers/company_servers.py"],
        "env": [
            {"name": "GIT_CERTIFICATE", "value": "/etc/tls"},
            {"name": "HOME", "value": "/tmp"},
        ],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
        "securityContext": security,
        "volumeMounts": [
            {"name": "scripts", "mountPath": "/etc/servers"},
            {"name": "tls", "mountPath": "/etc/tls"},
        ],
    }
    volumes = [
        {"name": "scripts", "configMap": {"name": "servers"}},
        {"name": "tls", "secret": {"secretName": "tls"}},
    ]
    metadata = {"name": "company", "labels": {"app": "company"}}
    spec = {"containers": [container], "volumes": volumes}
    lab.core.create_namespaced_pod(namespace, {"metadata": metadata, "spec": spec})
    ports = [
        {"name": "http", "port": 80, "targetPort": 8000},
        {"name": "https", "port": 443, "targetPort": 8443},
    ]
    service = {"selector": {"app": "company"}, "ports": ports}
    lab.core.create_namespaced_service(
        namespace, {"metadata": {"name": "company"}, "spec": service}
    )


@pytest.fixture(scope="module")
def release(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The namespace of a release without an api, and of the company's servers."""
    namespace = lab.name("company")
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    lab.core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
    shown = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    identity = {
        "tokenURL": "http://company/oauth/token",
        "audience": AUDIENCE,
        "parameters": {"identity_provider_id": "idp_1"},
    }
    values: Json = {
        **json.loads(shown),
        "crds": {"install": False},
        "admissionPolicy": {"install": False},
        "api": {"enabled": False},
        "demoModel": {"enabled": False},
        "model": {"upstreamURL": "http://company/v1", "identity": identity},
        "git": {"caBundle": {"configMap": "company-ca"}},
    }
    chart = str(ROOT / "charts/codexrun")
    options = ("-n", namespace, "-f", "-", "--wait", "--timeout", "120s")
    try:
        make_servers(lab, namespace, certificates(tmp_path_factory.mktemp("certificates")))
        lab.sh("helm", "install", "codexrun", chart, *options, stdin=json.dumps(values))
        ready = ("--for=condition=Ready", "pod/company", "--timeout=60s")
        lab.sh("kubectl", "-n", namespace, "wait", *ready)
        yield namespace
    finally:
        lab.sh("kubectl", "-n", namespace, "delete", "cxr", "--all", "--timeout=60s", check=False)
        lab.sh("helm", "uninstall", "codexrun", "-n", namespace, "--ignore-not-found")
        lab.sh("kubectl", "delete", "namespace", namespace, "--wait=false")


def work(lab: Lab, namespace: str, name: str, command: str, *, of: Json, **spec: Any) -> Json:
    """An ended run of that name, whose job type and prompt have it too. of: of the job type."""
    given = {"prompt": {"name": name, "version": "v1"}, **of}
    objects = (
        manifests.prompt(name, text="scenario: shell\ncommand: {{command}}\n"),
        manifests.job_type(name, **given),
        manifests.run(name, jobType=name, inputs={"command": command}, **spec),
    )
    kubectl = ("kubectl", "-n", namespace)
    lab.sh(*kubectl, "apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))
    lab.sh(*kubectl, "wait", "--for=condition=Finished", f"cxr/{name}", "--timeout=120s")
    run: Json = json.loads(lab.sh(*kubectl, "get", "cxr", name, "-o", "json").stdout)
    return run


def test_a_run_needs_no_key_and_no_token_is_anywhere(lab: Lab, release: str) -> None:
    # so that the search does not find itself
    patterns = "|".join(f"{text[:-1]}[{text[-1]}]" for text in (TOKEN, JWT))
    hunt = f"(env; grep -rhoE '{patterns}' {PLACES}) 2>/dev/null; echo done"
    run = work(lab, release, "no-key", hunt, of={})
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["result"]["message"].splitlines()[-1] == "done"
    kubectl = ("kubectl", "-n", release)
    selector = f"codexrun.dev/run-uid={run['metadata']['uid']}"
    pod = lab.core.list_namespaced_pod(release, label_selector=selector).items[0].metadata.name

    # each token was good for one request: the second one found it taken back, and was renewed
    shown = lab.sh(*kubectl, "logs", "company").stdout.splitlines()
    exchanges = [json.loads(line) for line in shown if line.startswith("{")]
    own = [each for each in exchanges if each["claims"]["kubernetes.io"]["pod"]["name"] == pod]
    assert len(own) == 2
    for exchange in own:
        assert exchange["fields"]["identity_provider_id"] == "idp_1"
        assert exchange["claims"]["aud"] == [AUDIENCE]
        subject = f"system:serviceaccount:{release}:codexrun-agent"
        assert exchange["claims"]["sub"] == subject

    texts = [lab.sh(*kubectl, "get", "cxr,jobs,pods,events", "-o", "yaml").stdout]
    texts += [lab.sh(*kubectl, "logs", pod, "-c", name).stdout for name in ("agent", "gate")]
    for text in texts:
        assert TOKEN not in text
        assert JWT not in text


def test_a_git_host_of_a_private_ca_is_cloned_from(lab: Lab, release: str) -> None:
    run = work(
        lab,
        release,
        "private-ca",
        "cat README",
        of={"git": {"allowedURLs": ["https://company/*"]}},
        workspace={"git": {"url": "https://company/repo.git"}},
    )
    assert run["status"]["phase"] == "Succeeded", run["status"]
    assert run["status"]["result"]["message"] == "on main"
    assert len(run["status"]["commitId"]) == 40
