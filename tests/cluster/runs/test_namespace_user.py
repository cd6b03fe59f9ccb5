"""What somebody gets who may only create CodexRuns in the namespace, and what an agent gets who has
a shell: no further than docs/security.md says."""

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from lab import NAMESPACE, Json, Lab

UID = "0b3f7c7e-5c0f-4a43-9a51-2f8f0f8b7a11"
KEY_FOLDER = "/var/run/codexrun/model"


class User:
    """It acts with rights of its own: `codexruns: create, get`, and nothing else."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.name = f"system:serviceaccount:{NAMESPACE}:{name}"
        api = client.ApiClient()
        api.set_default_header("Impersonate-User", self.name)
        self._runs = client.CustomObjectsApi(api)
        self._lab = lab

    def create(self, body: Json, **options: Any) -> Json:
        """Create a CodexRun as who leaves out what checks of a client there are."""
        created: Json = self._runs.create_namespaced_custom_object(
            *self._lab.run_kind, body, field_validation="Ignore", **options
        )
        return created

    def tried(self, body: Json) -> Json:
        """What would be stored; admission and schema have had their say."""
        return self.create(body, dry_run="All")

    def may(self, verb: str, resource: str) -> bool:
        kind, _, subresource = resource.partition("/")
        words = [verb, kind, *([f"--subresource={subresource}"] if subresource else [])]
        asked = self._lab.kubectl("auth", "can-i", *words, f"--as={self.name}", check=False)
        return asked.stdout.strip() == "yes"


@pytest.fixture(scope="module")
def user(lab: Lab) -> Iterator[User]:
    name = lab.name("only-runs")
    rights = client.RbacAuthorizationV1Api()
    rule = {"apiGroups": ["codexrun.dev"], "resources": ["codexruns"], "verbs": ["create", "get"]}
    rights.create_namespaced_role(NAMESPACE, {"metadata": {"name": name}, "rules": [rule]})
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
    }
    rights.create_namespaced_role_binding(NAMESPACE, binding)
    yield User(lab, name)
    rights.delete_namespaced_role_binding(name, NAMESPACE)
    rights.delete_namespaced_role(name, NAMESPACE)


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    schema = {
        "type": "object",
        "properties": {"scenario": {"type": "string"}},
        "required": ["scenario"],
        "additionalProperties": False,
    }
    limits = {"maxTokens": 200_000, "timeoutSeconds": 120, "stallSeconds": 60}
    return lab.job_type(inputsSchema=schema, limits=limits)


def manifest(lab: Lab, job_type: str, changes: Json) -> Json:
    """A run with the changes laid over it; a key with dots is a path."""
    body: Json = {
        "apiVersion": "codexrun.dev/v1alpha1",
        "kind": "CodexRun",
        "metadata": {"name": lab.name("hostile"), "labels": dict(lab.mark)},
        "spec": {"jobType": job_type, "inputs": {"scenario": "message"}},
    }
    for path, value in changes.items():
        *parents, last = path.split("|")
        place = body
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = copy.deepcopy(value)
    return body


def test_the_user_may_create_runs_and_nothing_that_grants_more(user: User) -> None:
    allowed = {("create", "codexruns"), ("get", "codexruns")}
    for verb in ("create", "get", "list", "patch", "delete"):
        for resource in (
            *("codexruns", "codexruns/status", "codexjobtypes", "jobs", "pods", "pods/exec"),
            *("secrets", "configmaps", "serviceaccounts/token", "roles", "leases", "pods/log"),
        ):
            assert user.may(verb, resource) is ((verb, resource) in allowed), (verb, resource)


# What grants power is the job type's: named in a run it is not even stored.
POWERS: dict[str, Any] = {
    "spec|image": "evil.example/agent",
    "spec|command": ["sh", "-c", "id"],
    "spec|env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "codex", "key": "api-key"}}}],
    "spec|envFrom": [{"secretRef": {"name": "codexrun-api-token"}}],
    "spec|podTemplate": {"spec": {"hostNetwork": True, "hostPID": True}},
    "spec|serviceAccountName": "codexrun-operator",
    "spec|automountServiceAccountToken": True,
    "spec|securityContext": {"privileged": True},
    "spec|volumes": [{"name": "root", "hostPath": {"path": "/"}}],
    "spec|nodeName": "node",
    "spec|hostUsers": True,
    "spec|runtimeClassName": "none",
    "spec|resources": {"limits": {"memory": "1Ti"}},
    "spec|sandbox": "none",
    "spec|allowedTools": ["shell", "web_search"],
    "spec|allowedModels": ["gpt-6.2-sol"],
    "spec|mcpServers": [{"name": "x", "command": ["sh"]}],
    "spec|modelSecretRef": {"name": "codexrun-api-token", "key": "token"},
    "spec|prompt": {"name": "hello", "version": "v1"},
    "spec|outputSchema": {},
    "spec|concurrencyLimit": 1000,
    "spec|git": {"allowedURLs": ["https://evil.example/*"], "credentialsSecret": "x"},
    "spec|workspace": {
        "git": {"url": "https://example.com/a.git", "credentialsSecret": "x", "depth": 0}
    },
    "status": {"phase": "Succeeded", "result": {"message": "paid"}, "attempt": 7},
}


@pytest.mark.parametrize("path", POWERS)
def test_what_grants_power_is_not_stored(lab: Lab, user: User, job_type: str, path: str) -> None:
    stored = user.tried(manifest(lab, job_type, {path: POWERS[path]}))
    plain = user.tried(manifest(lab, job_type, {}))
    if path == "spec|workspace":
        assert stored["spec"].pop("workspace")["git"].keys() <= {"url", "ref"}
    assert stored["spec"] == plain["spec"]
    assert stored.get("status") == plain.get("status")


REFUSED: dict[str, Json] = {
    "a name of 64 characters": {"metadata|name": "a" * 64},
    "a name that leads elsewhere": {"metadata|name": "../../secrets/x"},
    "another namespace": {"metadata|namespace": "kube-system"},
    "a job type that leads elsewhere": {"spec|jobType": "../pods/x"},
    "a job type in capitals": {"spec|jobType": "Hello"},
    "inputs that are a list": {"spec|inputs": ["x"]},
    "inputs of 70 KB": {"spec|inputs": {"scenario": "x" * 70_000}},
    "inputs of many keys": {"spec|inputs": {f"k{n}": "x" * 10 for n in range(9_000)}},
    "no tokens": {"spec|limits": {"maxTokens": 0}},
    "fewer than no tokens": {"spec|limits": {"maxTokens": -1}},
    "tokens beyond what a number holds": {"spec|limits": {"maxTokens": 2**70}},
    "a week and a second": {"spec|limits": {"timeoutSeconds": 604_801}},
    "a model with a new line": {"spec|model": "gpt-5.5\nX-Evil: 1"},
    "an effort of its own": {"spec|effort": "ULTRA"},
    "a workspace of files": {"spec|workspace": {"git": {"url": "file:///etc"}}},
    "a workspace by ssh": {"spec|workspace": {"git": {"url": "ssh://git@example.com/a"}}},
    "a workspace by a helper": {"spec|workspace": {"git": {"url": "ext::sh -c id"}}},
    "a workspace with a password": {"spec|workspace": {"git": {"url": "https://u:p@e.com/a"}}},
    "a ref that is an option": {
        "spec|workspace": {"git": {"url": "https://example.com/a.git", "ref": "--upload-pack=x"}}
    },
    "a priority above all": {"spec|priority": 1_001},
    "a cancellation by nobody": {"spec|cancel": {"reason": "x"}},
    "a retry of no uid": {"spec|retryOf": {"name": "a", "uid": "x"}},
    "an end before the beginning": {"spec|ttlSecondsAfterFinished": -1},
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_apiserver_refuses(lab: Lab, user: User, job_type: str, name: str) -> None:
    with pytest.raises(client.ApiException) as refused:
        user.tried(manifest(lab, job_type, REFUSED[name]))
    assert refused.value.status in (400, 403, 422), refused.value


REJECTED: dict[str, Json] = {
    "more tokens than the job type has": {"spec|limits": {"maxTokens": 200_001}},
    "more time than the job type has": {"spec|limits": {"timeoutSeconds": 121}},
    "a slower stall than the job type has": {"spec|limits": {"stallSeconds": 61}},
    "a model that is not allowed": {"spec|model": "gpt-6.2-sol"},
    "a workspace where there is none": {
        "spec|workspace": {"git": {"url": "https://example.com/a.git"}}
    },
    "the metadata address as a workspace": {
        "spec|workspace": {"git": {"url": "http://169.254.169.254/latest"}}
    },
    "a prompt version that is not there": {"spec|promptVersion": "v99"},
    "inputs that the schema does not have": {"spec|inputs": {"scenario": "message", "x": "y"}},
    "no inputs": {"spec|inputs": {}},
    "inputs of 40 levels": {"spec|inputs": {"scenario": json.loads("[" * 40 + "]" * 40)}},
    "a thread that nobody named by uid": {"spec|retryOf": {"name": "hello", "resume": True}},
    "a job type that is not there": {"spec|jobType": "nowhere"},
}


@pytest.mark.parametrize("name", REJECTED)
def test_the_operator_rejects_and_there_is_no_pod(
    lab: Lab, user: User, job_type: str, name: str
) -> None:
    run = lab.ended(user.create(manifest(lab, job_type, REJECTED[name])))
    assert run["status"]["phase"] == "Rejected", run["status"]
    assert lab.jobs(run) == []
    assert lab.pods(run) == []


FORGED: dict[str, Json] = {
    "labels of another run": {
        "metadata|labels": {
            "codexrun.dev/run": "another",
            "codexrun.dev/run-uid": UID,
            "codexrun.dev/job-type": "another",
            "app.kubernetes.io/component": "operator",
        }
    },
    "annotations of the api": {
        "metadata|annotations": {
            "codexrun.dev/requested-by": "root",
            "codexrun.dev/origin": "api",
            "codexrun.dev/request-id": "x" * 5_000,
        }
    },
    "an owner that will be deleted": {
        "metadata|ownerReferences": [
            {"apiVersion": "v1", "kind": "Secret", "name": "codexrun-api-token", "uid": UID}
        ]
    },
}


@pytest.mark.parametrize("name", FORGED)
def test_what_is_forged_in_the_metadata_reaches_no_other_object(
    lab: Lab, user: User, job_type: str, name: str
) -> None:
    changes = FORGED[name]
    if "metadata|labels" in changes:
        changes = {"metadata|labels": changes["metadata|labels"] | lab.mark}
    run = user.create(manifest(lab, job_type, changes))
    if "metadata|ownerReferences" in changes:
        lab.kubectl("wait", "--for=delete", f"cxr/{run['metadata']['name']}", "--timeout=120s")
        return  # the garbage collector took the run itself, and nothing else
    ended = lab.ended(run)
    assert ended["status"]["phase"] == "Succeeded", ended["status"]
    labels = lab.pod(ended).metadata.labels
    assert labels["codexrun.dev/run"] == run["metadata"]["name"]
    assert labels["codexrun.dev/run-uid"] == run["metadata"]["uid"]
    assert "app.kubernetes.io/component" not in labels or (
        labels["app.kubernetes.io/component"] != "operator"
    )


def test_there_are_sixty_of_them() -> None:
    assert len(POWERS) + len(REFUSED) + len(REJECTED) + len(FORGED) >= 60


# It says as JSON what came of each try: a status, or the error's name.
PROBE = """
import ctypes, glob, json, os, socket, ssl, urllib.error, urllib.request
told = {}
def tried(name, call):
    try:
        told[name] = call()
    except urllib.error.HTTPError as error:
        told[name] = error.code
    except Exception as error:
        told[name] = type(error).__name__
def http(url, method="GET", data=None, **headers):
    context = ssl._create_unverified_context()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=3) as answer:
        return answer.status
def connect(host, port):
    socket.create_connection((host, port), timeout=3).close()
    return "connected"
def readable(pattern):
    return [path for path in glob.glob(pattern) if os.access(path, os.R_OK)]
def environments():
    read = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as file:
                if b"codexrun_pod.gate" in file.read():
                    read.append(path)
        except OSError:
            pass
    return read
api, ingest, operator, kubernetes = @ADDRESSES@
gate = "http://127.0.0.1:8390"
log = f"http://{ingest}:8081/ingest/log?offset=0"
artifact = f"http://{ingest}:8081/ingest/artifacts/output.json"
junk = {"Authorization": "Bearer junk"}
tried("rest", lambda: http(f"http://{api}:8080/runs"))
tried("rest with a token of its own", lambda: http(f"http://{api}:8080/runs", **junk))
tried("start", lambda: http(f"http://{api}:8080/runs/start", "POST", b"{}"))
tried("clean up", lambda: http(f"http://{api}:8080/cleanup", "POST", b"{}"))
tried("console", lambda: http(f"http://{api}:8080/console/static/app.css"))
tried("ingest", lambda: http(log, "POST", b"x"))
tried("ingest with junk", lambda: http(log, "POST", b"x", **junk))
tried("ingest of artifacts", lambda: http(artifact, "PUT", b"x", **junk))
tried("probes by the service", lambda: connect(api, 8082))
tried("operator", lambda: http(f"http://{operator}:8080/", "POST", b"{}"))
tried("apiserver", lambda: http(f"https://{kubernetes}/api/v1/namespaces/codexrun/secrets"))
tried("models", lambda: http(f"{gate}/v1/models"))
tried("files of the provider", lambda: http(f"{gate}/v1/files", "POST", b"x"))
tried("chat", lambda: http(f"{gate}/v1/chat/completions", "POST", b"{}"))
tried("somewhere else by the gate", lambda: http(f"{gate}/http://example.com/"))
tried("the gate's own artifact", lambda: http(f"{gate}/artifacts/output.json", "PUT", b"{}"))
tried("an artifact elsewhere", lambda: http(f"{gate}/artifacts/..%2fusage.json", "PUT", b"{}"))
tried("root", lambda: os.setuid(0))
tried("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
tried("mount", lambda: ctypes.CDLL(None).mount(b"x", b"/tmp", b"tmpfs", 0, None))
tried("root file system", lambda: open("/evil", "w").close())
tried("service account", lambda: readable("/var/run/secrets/kubernetes.io/serviceaccount/*"))
tried("key", lambda: readable("@KEY@*") + readable("@KEY@/*"))
tried("gate's token", lambda: readable("/var/run/codexrun/ingest*/*"))
tried("gate's environment", environments)
tried("user", os.getuid)
print(json.dumps(told))
"""


def test_an_agent_with_a_shell_gets_no_further(lab: Lab) -> None:
    def address(name: str, namespace: str = NAMESPACE) -> str:
        spec = lab.core.read_namespaced_service(name, namespace).spec
        return str(spec.cluster_ip)

    addresses = (
        *(address(f"codexrun-{name}") for name in ("api", "ingest", "operator")),
        address("kubernetes", "default"),
    )
    script = PROBE.replace("@ADDRESSES@", repr(addresses)).replace("@KEY@", KEY_FOLDER)
    encoded = base64.b64encode(script.encode()).decode()
    command = f"python3 -c \"import base64; exec(base64.b64decode('{encoded}'))\""
    prompt = lab.prompt("scenario: shell\ncommand: {{command}}\n")
    run = lab.ended(lab.run(lab.job_type(prompt=prompt), inputs={"command": command}))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    told = json.loads(run["status"]["result"]["message"])
    assert told.pop("user") >= 10_000
    # Where the network enforces policies they end in a timeout; no body of theirs is ever read.
    nowhere = ("TimeoutError", "URLError", "OSError", "ConnectionRefusedError", 401, 403, 404, 405)
    assert {name: answer for name, answer in told.items() if answer == "connected"} == {}
    for name in (
        *("probes by the service", "apiserver", "operator"),
        *("models", "files of the provider", "chat", "somewhere else by the gate"),
        *("the gate's own artifact", "an artifact elsewhere"),
    ):
        assert told.pop(name) in nowhere, name
    refused = (401, *nowhere[:4])  # closed, the policies answer for the api
    for name in (
        *("rest", "rest with a token of its own", "start", "clean up"),
        *("ingest", "ingest with junk", "ingest of artifacts"),
    ):
        assert told.pop(name) in refused, name
    assert told.pop("console") in (200, *nowhere), "the login page's files are everybody's"
    for name in ("root", "raw socket"):
        assert told.pop(name) == "PermissionError", name
    assert told.pop("mount") == -1
    assert told.pop("root file system") == "OSError"  # EROFS
    for name in ("service account", "key", "gate's token", "gate's environment"):
        assert told.pop(name) == [], name
    assert told == {}
