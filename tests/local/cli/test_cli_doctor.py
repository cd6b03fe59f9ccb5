"""`codexrun doctor`: every check, what it says when all is well, and the fix that it prints when
not."""

import hashlib
import inspect
import re

import pytest
from clistand import Stand
from manifests import job_type

from codexrun_cli.doctor import probing, sandbox, surroundings
from codexrun_cli.errors import CommandError, Unreachable
from codexrun_cli.exit_codes import Code
from codexrun_cli.settings import Settings
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_pod.runner import sandbox as preflight

MONITORS = (
    "/apis/monitoring.coreos.com/v1/namespaces/codexrun/servicemonitors"
    "?labelSelector=app.kubernetes.io/name=codexrun"
)


QUOTAS = "/api/v1/namespaces/codexrun/resourcequotas"
LIMIT_RANGES = "/api/v1/namespaces/codexrun/limitranges"
CONFIG_MAPS = "/api/v1/namespaces/codexrun/configmaps"


def deployment(part: str, *, available: int = 1, **env: str) -> dict:
    container = {"name": part, "env": [{"name": key, "value": value} for key, value in env.items()]}
    return {
        "metadata": {"name": f"codexrun-{part}", "labels": {"app.kubernetes.io/component": part}},
        "spec": {"template": {"spec": {"containers": [container]}}},
        "status": {"availableReplicas": available},
    }


@pytest.fixture
def well(stand: Stand) -> Stand:
    """A cluster in which everything is as it should be."""
    apps = "/apis/apps/v1/namespaces/codexrun/deployments"
    stand.kube.more |= {
        "/version": {"gitVersion": "v1.34.1", "minor": "34"},
        "/apis/codexrun.dev": {"versions": [{"version": "v1alpha1"}]},
        apps: {
            "items": [
                deployment(
                    "operator", CODEXRUN_MODEL_SECRET="codex-model", CODEXRUN_AGENT_IMAGE="agent:1"
                ),
                deployment("api"),
            ]
        },
        "/api/v1/namespaces/codexrun/secrets/codex-model": {"data": {"api-key": "eA=="}},
        "/api/v1/namespaces/codexrun": {
            "metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        },
        QUOTAS: {"items": []},
        LIMIT_RANGES: {"items": []},
        "/apis/monitoring.coreos.com/v1": {},
        MONITORS: {"items": [{"metadata": {"name": "codexrun"}}]},
    }
    return stand


def test_all_is_well(well: Stand) -> None:
    done = well.cli("doctor")
    assert (done.code, done.err) == (0, "")
    checks = [line.split()[1].rstrip(":") for line in done.out.splitlines()]
    everything = (
        "api token registry cluster crd rights operator api key image pulls metrics quota sandbox"
    )
    assert " ".join(checks) == everything
    assert {line.split()[0] for line in done.out.splitlines()} == {"ok"}, done.out
    assert re.search(r"registry: schema \S+, writes 0s behind", done.out)


def broken_pull() -> dict:
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    metadata = {"name": "hello-1", "labels": {"codexrun.dev/run": "hello"}}
    return {"metadata": metadata, "status": {"containerStatuses": [waiting]}}


def quota(key: str, *, hard: str, used: str) -> dict:
    return {"metadata": {"name": "q"}, "status": {"hard": {key: hard}, "used": {key: used}}}


def of_release(name: str, part: str) -> dict:
    plain = deployment(part)
    annotations = {"meta.helm.sh/release-name": name}
    return {**plain, "metadata": {**plain["metadata"], "annotations": annotations}}


PODS = "/api/v1/namespaces/codexrun/pods?labelSelector=codexrun.dev/run"
APPS = "/apis/apps/v1/namespaces/codexrun/deployments"
ILLS = [
    (
        "cluster",
        {"/version": {"gitVersion": "v1.29.0", "minor": "29"}},
        "to Kubernetes 1.31 or newer",
    ),
    ("crd", {"/apis/codexrun.dev": None}, "helm upgrade --install codexrun"),
    ("crd", {"/apis/codexrun.dev": {"versions": [{"version": "v1"}]}}, "update the client"),
    ("operator", {APPS: {"items": []}}, "helm upgrade --install codexrun"),
    (
        "operator",
        {APPS: {"items": [deployment("operator", available=0)]}},
        "kubectl logs deploy/codexrun-operator",
    ),
    (
        "key",
        {"/api/v1/namespaces/codexrun/secrets/codex-model": None},
        "kubectl create secret generic codex-model",
    ),
    (
        "key",
        {"/api/v1/namespaces/codexrun/secrets/codex-model": {"data": {}}},
        "--from-file=api-key=FILE",
    ),
    ("metrics", {MONITORS: {"items": []}}, "metrics.serviceMonitor.enabled=true"),
    (
        "metrics",
        {APPS: {"items": [of_release("second", "operator")]}, MONITORS: {"items": []}},
        "helm upgrade second charts/codexrun",
    ),
    (
        "api",
        {APPS: {"items": [deployment("operator"), deployment("api", available=0)]}},
        "kubectl logs deploy/codexrun-api",
    ),
    ("pulls", {PODS: {"items": [broken_pull()]}}, "imagePullSecrets"),
    (
        "ca",
        {APPS: {"items": [deployment("operator", CODEXRUN_MODEL_CA_CONFIG_MAP="ca")]}},
        "kubectl create configmap ca -n codexrun --from-file=ca.crt=FILE",
    ),
    (
        "ca",
        {
            APPS: {"items": [deployment("operator", CODEXRUN_MODEL_CA_CONFIG_MAP="ca")]},
            f"{CONFIG_MAPS}/ca": {"data": {"ca.crt": "no certificate"}},
        },
        "kubectl replace -f -",
    ),
    (
        "proxy",
        {APPS: {"items": [deployment("operator", CODEXRUN_MODEL_PROXY="proxy:3128")]}},
        "helm upgrade codexrun charts/codexrun -n codexrun --reuse-values --set model.proxy=",
    ),
    (
        "quota",
        {QUOTAS: {"items": [quota("pods", hard="4", used="4")]}},
        "kubectl describe resourcequota q -n codexrun",
    ),
    (
        "quota",
        {QUOTAS: {"items": [quota("limits.cpu", hard="10", used="1")]}},
        "kubectl patch codexjobtype hello -n codexrun",
    ),
]


@pytest.mark.parametrize(
    ("check", "change", "fix"), ILLS, ids=[f"{row[0]}: {row[2]}" for row in ILLS]
)
def test_each_finding_prints_its_fix(well: Stand, check: str, change: dict, fix: str) -> None:
    for path, answer in change.items():
        well.kube.more.pop(path, None)
        if answer is not None:
            well.kube.more[path] = answer
    done = well.cli("doctor")
    assert done.code == 1
    lines = done.out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith(f"failed  {check}: "))
    assert lines[at + 1].startswith("        fix: ")
    assert fix in lines[at + 1]


def test_a_missing_right_is_named(well: Stand) -> None:
    well.kube.denied = {"create codexruns"}
    done = well.cli("doctor")
    assert done.code == 1
    assert (
        "failed  rights: you are not allowed to create codexruns\n        fix: kubectl create role"
        " codexrun-user" in done.out
    )
    assert (
        "--verb=create --resource=codexruns.codexrun.dev && kubectl create rolebinding" in done.out
    )
    assert "--user=ada\n" in done.out


def test_an_api_that_is_away_and_a_wrong_token(well: Stand) -> None:
    wrong = well.cli("doctor", env={"CODEX_CONTROL_TOKEN": "wrong"})
    assert (wrong.code, "failed  token: " in wrong.out) == (1, True)
    away = well.cli("doctor", "--server", "http://127.0.0.1:9")
    assert (away.code, "failed  api: " in away.out) == (1, True)
    assert "fix: kubectl get pods" in away.out
    assert "fix: codexrun login URL, or CODEX_CONTROL_TOKEN" in wrong.out


def test_a_cluster_that_is_away(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: object) -> None:
        raise Unreachable("no answer", hint="kubectl cluster-info")

    monkeypatch.setattr("codexrun_cli.transports.connection._cluster", nobody)
    stand.rest = False
    done = stand.cli("doctor")
    assert (
        done.code,
        "failed  cluster: no answer\n        fix: kubectl cluster-info\n" in done.out,
    ) == (1, True)
    stand.rest = True
    through_api = stand.cli("doctor")
    assert (through_api.code, "note    cluster: not checked: no answer" in through_api.out) == (
        0,
        True,
    )


def test_a_registry_that_is_late(well: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(well.services.mirror.writer), "lag", property(lambda _: 90.0))
    done = well.cli("doctor")
    assert done.code == 1
    assert (
        "failed  registry: the writes to the registry are 90s behind\n        fix: check that the"
        " database is up: kubectl logs -n codexrun -l app.kubernetes.io/component=api" in done.out
    )


def test_versions_that_are_far_apart(well: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codexrun_cli.doctor.api.own", lambda: "9.0.0")
    done = well.cli("doctor")
    assert re.search(
        r"note +version: client 9\.0\.0 and server \S+ differ .*\n +fix: update the older one",
        done.out,
    )


def test_without_the_api_or_a_key_it_says_how_to_get_them(well: Stand) -> None:
    well.kube.more[APPS] = {"items": [deployment("operator", CODEXRUN_AGENT_IMAGE="agent:1")]}
    well.rest = False
    done = well.cli("doctor")
    assert done.code == 0, "none of these must be there"
    assert "fix: codexrun login URL, or CODEX_CONTROL_URL" in done.out
    change = "fix: helm upgrade codexrun charts/codexrun -n codexrun --reuse-values --set"
    assert f"{change} api.enabled=true" in done.out
    assert f"{change} model.existingSecret=NAME" in done.out


def test_a_job_type_with_a_key_of_its_own(well: Stand) -> None:
    own = job_type("own", modelSecretRef={"name": "other-model"})
    well.at_once(well.kube.put, well.kube.job_types, own)
    done = well.cli("doctor")
    assert (done.code, "ok      key: Secret codex-model" in done.out) == (1, True)
    assert (
        "failed  key: Secret other-model does not exist\n        fix: kubectl create secret generic"
        " other-model" in done.out
    )


def test_a_namespace_that_enforces_less(well: Stand) -> None:
    well.kube.more["/api/v1/namespaces/codexrun"] = {"metadata": {"labels": {}}}
    done = well.cli("doctor")
    assert (
        "the namespace enforces none, so other pods may have more rights\n        fix: kubectl"
        " label namespace codexrun" in done.out
    )


def boxed(number: int, **status: object) -> dict:
    """A run of a job type that wants Codex's own sandbox; the higher number is the newer."""
    metadata = {"name": f"run-{number}", "creationTimestamp": f"2026-01-31T12:00:{number:02}Z"}
    return {"metadata": metadata, "status": {"sandbox": "codex"} | status}


REFUSED = {
    "failure": {
        "class": "config",
        "message": f"{sandbox.DOES_NOT_WORK}: no user namespaces; give the job type ...",
    }
}
TRIED = [
    ("no run yet", [], "note", "codexrun start boxed --wait"),
    ("one that was refused", [boxed(1, **REFUSED)], "failed", "runtimeClassName"),
    ("one that took turns", [boxed(1, turns=2)], "ok", None),
    ("refused once, and not since", [boxed(2, turns=1), boxed(1, **REFUSED)], "ok", None),
    (
        "good once, and refused since",
        [boxed(1, turns=1), boxed(2, **REFUSED)],
        "failed",
        "runtimeClassName",
    ),
    ("one that has not come so far", [boxed(2), boxed(1, turns=1)], "ok", None),
    (
        "one of before, in the pod alone",
        [{**boxed(1), "status": {"sandbox": "pod", "turns": 1}}],
        "note",
        "codexrun start boxed",
    ),
]


@pytest.mark.parametrize(
    ("runs", "result", "fix"), [row[1:] for row in TRIED], ids=[row[0] for row in TRIED]
)
def test_the_newest_run_that_tried_tells_of_codexs_own_sandbox(
    runs: list, result: str, fix: str | None
) -> None:
    found = sandbox.tried("boxed", runs)
    assert found["result"] == result
    assert fix is None or fix in found["fix"]


def test_only_job_types_that_want_it_are_looked_at(well: Stand) -> None:
    well.at_once(well.kube.put, well.kube.job_types, job_type("boxed", sandbox="codex"))
    done = well.cli("doctor")
    assert re.findall(r"sandbox: (\S+ \S+)", done.out) == ["the pod", "job type"]
    assert "note    sandbox: job type boxed: no run has used Codex's own sandbox yet\n" in done.out


def test_the_runner_still_says_it_in_these_words() -> None:
    assert sandbox.DOES_NOT_WORK in inspect.getsource(preflight.check)


def test_a_quota_of_cpu_limits_is_met_by_a_limit_range() -> None:
    quotas = [quota("limits.cpu", hard="10", used="1")]
    ranges = [{"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}]
    (finding,) = surroundings.quota_room(quotas, ranges, [job_type()], "codexrun")
    assert finding["result"] == "ok"


@pytest.mark.parametrize(
    ("body", "result", "fix"),
    [
        ({"data": {"username": "eA==", "password": "eA=="}}, "ok", ""),
        ({"data": {"username": "eA=="}}, "failed", "kubectl delete secret acme-git"),
        (CommandError(Code.NOT_FOUND, "gone"), "failed", "--type=kubernetes.io/basic-auth"),
        (CommandError(Code.NOT_ALLOWED, "no"), "note", ""),
    ],
)
def test_git_credentials(body: object, result: str, fix: str) -> None:
    finding = surroundings.git_credentials(body, "acme-git", "codexrun")
    assert finding["result"] == result
    assert fix in finding.get("fix", "")


def test_what_a_probe_makes_is_valid_and_takes_the_job_type_s_way_to_the_model() -> None:
    spec = job_type()["spec"] | {"modelSecretRef": {"name": "team-key"}, "effort": "low"}
    prompt, made, run = probing.manifests("codexrun-probe-1", spec)
    parsed = CodexJobType.model_validate(made)
    assert parsed.spec.model == spec["model"]
    assert parsed.spec.model_secret_ref is not None
    assert parsed.spec.usable_tools == []
    assert CodexRun.model_validate(run).spec.job_type == made["metadata"]["name"]
    assert prompt["metadata"]["name"] == "prompt-codexrun-probe-1-v1"
    assert (
        parsed.spec.prompt.sha256
        == hashlib.sha256(prompt["data"]["prompt.md"].encode()).hexdigest()
    )


@pytest.mark.parametrize(
    ("status", "result", "words"),
    [
        ({"phase": "Succeeded", "usage": {"totalTokens": 12}}, "ok", "12 tokens"),
        (
            {"phase": "Failed", "failure": {"class": "auth", "message": "key refused"}},
            "failed",
            "Failed (auth): key refused",
        ),
        ({"phase": "Starting", "message": "no node"}, "failed", "Starting: no node"),
        ({}, "failed", "Pending"),
    ],
)
def test_how_a_probe_ended(status: dict, result: str, words: str) -> None:
    finding = probing.verdict({"status": status}, "gpt-5.5", "codexrun")
    assert finding["result"] == result
    assert words in finding["detail"]


def test_the_cluster_is_looked_at_where_the_api_s_runs_are(
    well: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []

    def note_namespace(settings: Settings) -> None:
        looked_at.append(settings.namespace)
        raise Unreachable("no answer")

    monkeypatch.setattr("codexrun_cli.transports.connection._cluster", note_namespace)
    well.cli("doctor")
    assert looked_at == ["codexrun"], "not the kubeconfig's own"
