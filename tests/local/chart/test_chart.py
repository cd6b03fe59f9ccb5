"""The chart, rendered by a real helm: what reaches the cluster, and what is refused before it
does."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_schemas
import pytest
import yaml
from docblocks import Block, all_blocks

from codexrun_core.schemas.inputs import MAX_INPUTS_BYTES, InputsError, check_inputs
from codexrun_operator.settings import CLONE_RESOURCES, GATE_RESOURCES

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts/codexrun"
BUILT_IN = (
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "CronJob",
    "Deployment",
    "Ingress",
    "Job",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "Role",
    "RoleBinding",
    "Secret",
    "Service",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
CLUSTER_SCOPED = (
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
)
POLICY = "codexrun-codexrun-inputs-size"
TOKEN_REVIEWS = "codexrun:codexrun:codexrun:token-reviews"
# What makes the token, and goes when that is done.
HOOKS = {f"{kind}/codexrun-api-token" for kind in ("Job", "Role", "RoleBinding", "ServiceAccount")}
API = {
    f"ClusterRole/{TOKEN_REVIEWS}",
    f"ClusterRoleBinding/{TOKEN_REVIEWS}",
    "CodexJobType/codexrun-test",
    "ConfigMap/prompt-codexrun-test-v1",
    "CronJob/codexrun-cleanup",
    "Deployment/codexrun-api",
    "NetworkPolicy/codexrun-api",
    "Pod/codexrun-test",
    "PodDisruptionBudget/codexrun-api",
    "PersistentVolumeClaim/codexrun-api",
    "Role/codexrun-api",
    "RoleBinding/codexrun-api",
    "Service/codexrun-api",
    "Service/codexrun-ingest",
    "ServiceAccount/codexrun-api",
} | HOOKS

Manifest = dict[str, Any]

DEMO = ("demoModel.enabled=true",)
REAL = ("model.upstreamURL=https://api.openai.com/v1", "model.existingSecret=codex-model")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # So short a life needs no garbage collection: it took a third of helm's time.
    return subprocess.run(
        [helm(), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "GOGC": "off"},
    )


def helm() -> str:
    """Of `make up`, else the machine's own."""
    found = shutil.which("helm", path=f"{ROOT}/.cluster/bin{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.fail(
            "helm is neither in .cluster/bin nor in PATH; `make up` builds it and puts it there"
        )
    return found


def settings(values: tuple[str, ...]) -> list[str]:
    return [argument for value in values for argument in ("--set", value)]


def render(*values: str, release: str = "codexrun", namespace: str = "codexrun") -> list[Manifest]:
    """With the demo model, unless the values name a model."""
    if not any(value.startswith("model.upstreamURL=") for value in values):
        values = (*DEMO, *values)
    options = ["-n", namespace, "--kube-version", "1.34", *settings(values)]
    done = run("template", release, str(CHART), *options)
    assert done.returncode == 0, done.stderr
    # In C: the definitions are long, and most tests render.
    loaded = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    return [manifest for manifest in loaded if manifest]


def refusal(*values: str) -> str:
    done = run("template", "codexrun", str(CHART), *settings(values))
    assert done.returncode != 0, "helm accepted it"
    return done.stderr


def notes(*values: str) -> str:
    done = run(
        "install", "codexrun", str(CHART), "-n", "codexrun", "--dry-run=client", *settings(values)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    return found


def names(manifests: list[Manifest]) -> set[str]:
    return {f"{m['kind']}/{m['metadata']['name']}" for m in manifests}


def pods(manifests: list[Manifest]) -> Iterator[Manifest]:
    for manifest in manifests:
        if manifest["kind"] == "Deployment" or manifest["kind"] == "Job":
            yield manifest["spec"]["template"]
        elif manifest["kind"] == "Pod":
            yield manifest
        elif manifest["kind"] == "CronJob":
            yield manifest["spec"]["jobTemplate"]["spec"]["template"]


def hook_of(manifest: Manifest) -> str | None:
    hook: str | None = manifest["metadata"].get("annotations", {}).get("helm.sh/hook")
    return hook


def environment(
    manifests: list[Manifest], name: str = "codexrun-operator"
) -> dict[str, str | None]:
    (container,) = one(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value") for variable in container["env"]}


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    """The chart with all its parts on."""
    return render(
        *DEMO,
        "imagePullSecrets[0].name=mirror",
        "imagePullSecrets[1].name=team",
        "commonLabels.team=platform",
        "operator.replicas=2",
        "operator.nodeSelector.disk=ssd",
        "operator.tolerations[0].operator=Exists",
        "operator.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution=null",
    )


def test_helm_finds_no_fault() -> None:
    done = run("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_objects_of_a_plain_installation() -> None:
    assert (
        names(render(*REAL))
        == {
            "ClusterRole/codexrun:codexrun:codexrun:admin",
            "ClusterRole/codexrun:codexrun:codexrun:edit",
            "ClusterRole/codexrun:codexrun:codexrun:view",
            "CustomResourceDefinition/codexjobtypes.codexrun.dev",
            "CustomResourceDefinition/codexruns.codexrun.dev",
            "Deployment/codexrun-operator",
            "NetworkPolicy/codexrun-operator",
            "NetworkPolicy/codexrun-runs",
            "PodDisruptionBudget/codexrun-operator",
            "Role/codexrun-operator",
            "RoleBinding/codexrun-operator",
            "Service/codexrun-operator",
            "ServiceAccount/codexrun-agent",
            "ServiceAccount/codexrun-operator",
            f"ValidatingAdmissionPolicy/{POLICY}",
            f"ValidatingAdmissionPolicyBinding/{POLICY}",
        }
        | API
    )


def test_without_the_api_nothing_of_it_is_there() -> None:
    assert names(render(*REAL)) - names(render(*REAL, "api.enabled=false")) == API


def test_the_demo_model_comes_only_when_asked_for() -> None:
    assert names(render(*REAL, *DEMO)) - names(render(*REAL)) == {
        "Deployment/codexrun-demo-model",
        "NetworkPolicy/codexrun-demo-model",
        "Service/codexrun-demo-model",
    }


def test_built_in_objects_fit_their_schemas(everything: list[Manifest]) -> None:
    for manifest in everything:
        if manifest["kind"] in BUILT_IN:
            kubernetes_schemas.validate(manifest, "1.34")


def test_every_object_is_in_the_release_namespace_and_labelled(everything: list[Manifest]) -> None:
    for manifest in everything:
        if manifest["kind"] == "CustomResourceDefinition":
            continue
        metadata = manifest["metadata"]
        assert metadata.get("namespace") == (
            None if manifest["kind"] in CLUSTER_SCOPED else "codexrun"
        )
        assert (
            metadata["labels"].items()
            >= {
                "app.kubernetes.io/name": "codexrun",
                "app.kubernetes.io/instance": "codexrun",
                "app.kubernetes.io/managed-by": "Helm",
                "app.kubernetes.io/part-of": "codexrun",
                "helm.sh/chart": "codexrun-0.1.0",
                "team": "platform",
            }.items()
        )
        assert metadata["labels"]["app.kubernetes.io/component"] in (
            "operator",
            "api",
            "api-token",
            "cleanup",
            "demo-model",
            "agent",
            "admission",
            "network",
            "test",
            "users",
        )


def test_selectors_match_their_pods_and_nothing_that_changes(everything: list[Manifest]) -> None:
    for deployment in (m for m in everything if m["kind"] == "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert set(selector) == {
            f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")
        }
        assert deployment["spec"]["template"]["metadata"]["labels"].items() >= selector.items()
        service = one(everything, "Service", deployment["metadata"]["name"])
        assert service["spec"]["selector"] == selector
        ports = {
            p["name"]
            for c in deployment["spec"]["template"]["spec"]["containers"]
            for p in c["ports"]
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} == ports - {
            "ingest",
            "probes",
        }


def test_pods_are_restricted(everything: list[Manifest]) -> None:
    """The standard "restricted", and a read-only root on top.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    """
    for pod in pods(everything):
        spec = pod["spec"]
        account = {k: v for k, v in spec["securityContext"].items() if not k.startswith("fsGroup")}
        assert account == {
            "runAsNonRoot": True,
            "runAsUser": 10000,
            "runAsGroup": 10000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume.keys() - {"name"}}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}
        assert spec["enableServiceLinks"] is False
        job = spec.get("restartPolicy") == "Never"
        assert job or "terminationGracePeriodSeconds" in spec
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            assert all("hostPort" not in port for port in container.get("ports", []))
            assert job or {"livenessProbe", "readinessProbe"} <= container.keys()


def test_only_operator_and_api_get_a_token(everything: list[Manifest]) -> None:
    for account in (m for m in everything if m["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    tokens = {
        m["metadata"]["name"]: m["spec"]["template"]["spec"]["automountServiceAccountToken"]
        for m in everything
        if m["kind"] == "Deployment"
    }
    assert tokens == {"codexrun-operator": True, "codexrun-api": True, "codexrun-demo-model": False}


def test_what_makes_the_token_may_do_nothing_else_and_goes(everything: list[Manifest]) -> None:
    assert rights(everything, "codexrun-api-token") == {"core/secrets": {"create"}}
    hooks = [m for m in everything if hook_of(m) == "pre-install,pre-upgrade"]
    assert names(hooks) == HOOKS
    for hook in hooks:
        annotations = hook["metadata"]["annotations"]
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    weights = {h["kind"]: int(h["metadata"]["annotations"]["helm.sh/hook-weight"]) for h in hooks}
    assert all(weights["Job"] > weight for kind, weight in weights.items() if kind != "Job")


def test_the_secret_that_the_job_makes_can_be_taken_over_by_a_chart_that_renders_it(
    everything: list[Manifest],
) -> None:
    """Helm's own marks of ownership, and the one by which nothing is deleted.

    https://helm.sh/docs/topics/charts_hooks/ and Helm's checkOwnership (pkg/action/validate.go).
    """
    job = one(everything, "Job", "codexrun-api-token")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    (text,) = [e["value"] for e in container["env"] if e["name"] == "CODEXRUN_TOKEN_SECRET"]
    metadata = json.loads(text)
    assert metadata["name"] == "codexrun-api-token"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
    assert "helm.sh/chart" not in metadata["labels"], "by this one a rendered Secret is known"
    assert metadata["annotations"] == {
        "helm.sh/resource-policy": "keep",
        "meta.helm.sh/release-name": "codexrun",
        "meta.helm.sh/release-namespace": "codexrun",
    }


def test_each_call_renders_the_same_bytes() -> None:
    options = ("-n", "codexrun", *settings(DEMO))
    first, second = (run("template", "codexrun", str(CHART), *options).stdout for _ in range(2))
    assert first
    assert first == second


def rights(manifests: list[Manifest], role: str) -> dict[str, set[str]]:
    return {
        f"{group or 'core'}/{resource}": set(rule["verbs"])
        for rule in one(manifests, "Role", role)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_api_has_these_rights_and_no_others(everything: list[Manifest]) -> None:
    assert rights(everything, "codexrun-api") == {
        "codexrun.dev/codexruns": {"get", "list", "watch", "create", "patch", "delete"},
        "codexrun.dev/codexjobtypes": {"get", "list", "watch"},
        "core/configmaps": {"list", "watch"},
        "core/pods": {"get"},
        "batch/jobs": {"get"},
    }
    role = one(everything, "ClusterRole", TOKEN_REVIEWS)
    assert role["rules"] == [
        {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}
    ]
    (beyond,) = [m for m in everything if m["kind"] == "ClusterRoleBinding"]
    assert beyond["roleRef"]["name"] == role["metadata"]["name"]
    assert [(s["kind"], s["name"], s["namespace"]) for s in beyond["subjects"]] == [
        ("ServiceAccount", "codexrun-api", "codexrun")
    ]


def test_the_operator_has_these_rights_and_no_others(everything: list[Manifest]) -> None:
    assert rights(everything, "codexrun-operator") == {
        "codexrun.dev/codexruns": {"get", "list", "watch", "delete"},
        "codexrun.dev/codexruns/status": {"update"},
        "codexrun.dev/codexruns/finalizers": {"update"},
        "codexrun.dev/codexjobtypes": {"list", "watch"},
        "codexrun.dev/codexjobtypes/status": {"update"},
        "batch/jobs": {"get", "list", "watch", "create", "patch", "delete"},
        "core/pods": {"get", "list", "watch", "patch", "delete"},
        "core/configmaps": {"list", "watch"},
        "core/events": {"list", "watch", "create"},
        "coordination.k8s.io/leases": {"get", "create", "update"},
    }
    binding = one(everything, "RoleBinding", "codexrun-operator")
    assert [(s["kind"], s["name"]) for s in binding["subjects"]] == [
        ("ServiceAccount", "codexrun-operator")
    ]
    assert binding["roleRef"]["name"] == "codexrun-operator"


def test_the_agents_account_is_bound_to_nothing(everything: list[Manifest]) -> None:
    bound = [
        s["name"] for m in everything if m["kind"].endswith("RoleBinding") for s in m["subjects"]
    ]
    assert "codexrun-agent" not in bound


def test_operator_environment_with_a_real_model() -> None:
    given = environment(
        render(*REAL, "image.repository=registry.acme.io/codexrun", "image.tag=1.2.3")
    )
    assert json.loads(given.pop("CODEXRUN_POD_RESOURCES") or "") == {
        "gate": GATE_RESOURCES,
        "clone": CLONE_RESOURCES,
    }
    assert given == {
        "CODEXRUN_NAMESPACE": None,
        "CODEXRUN_POD_NAME": None,
        "CODEXRUN_LEASE": "codexrun-operator",
        "CODEXRUN_CONTROL_IMAGE": "registry.acme.io/codexrun:1.2.3",
        "CODEXRUN_IMAGE_PULL_POLICY": "IfNotPresent",
        "CODEXRUN_AGENT_IMAGE": "localhost/codexrun-agent:0.1.0",
        "CODEXRUN_AGENT_IMAGE_PULL_POLICY": "IfNotPresent",
        "CODEXRUN_AGENT_SERVICE_ACCOUNT": "codexrun-agent",
        "CODEXRUN_UPSTREAM_URL": "https://api.openai.com/v1",
        "CODEXRUN_MODEL_SECRET": "codex-model",
        "CODEXRUN_INGEST_URL": "http://codexrun-ingest.codexrun:8081",
        "CODEXRUN_JOB_TTL_SECONDS": "86400",
        "CODEXRUN_LOG_LEVEL": "info",
    }


def test_resources_of_gate_and_clone_step_are_values() -> None:
    given = environment(
        render("jobs.gate.resources.limits.cpu=500m", "jobs.clone.resources.limits.memory=4Gi")
    )
    resources = json.loads(given["CODEXRUN_POD_RESOURCES"] or "")
    assert resources["gate"]["limits"] == GATE_RESOURCES["limits"] | {"cpu": "500m"}
    assert resources["clone"]["limits"] == {"memory": "4Gi"}


def test_operator_environment_with_a_company_s_endpoint() -> None:
    values = (
        *REAL,
        "model.authHeader=api-key",
        "model.queryParams.api-version=2026-10",
        "model.caBundle.configMap=corp-ca",
        "model.caBundle.key=bundle.pem",
        "model.proxy=http://proxy.example.com:3128",
    )
    given = environment(render(*values))
    assert given["CODEXRUN_MODEL_AUTH_HEADER"] == "api-key"
    assert json.loads(given["CODEXRUN_MODEL_QUERY_PARAMS"] or "") == {"api-version": "2026-10"}
    assert (given["CODEXRUN_MODEL_CA_CONFIG_MAP"], given["CODEXRUN_MODEL_CA_KEY"]) == (
        "corp-ca",
        "bundle.pem",
    )
    assert given["CODEXRUN_MODEL_PROXY"] == "http://proxy.example.com:3128"


def test_operator_environment_with_an_identity_and_a_git_host_of_one_s_own() -> None:
    plain = environment(render(*REAL))
    assert not {name for name in plain if "IDENTITY" in name or "_GIT_" in name}
    values = (
        *REAL,
        "model.dropReasoningIds=true",
        "model.identity.tokenURL=https://auth.openai.com/oauth/token",
        "model.identity.parameters.identity_provider_id=idp_1",
        "git.caBundle.configMap=git-ca",
        "git.proxy=http://proxy.example.com:3128",
    )
    given = environment(render(*values))
    named = {name: text for name, text in given.items() if name not in plain}
    assert json.loads(named.pop("CODEXRUN_IDENTITY_PARAMETERS") or "") == {
        "identity_provider_id": "idp_1"
    }
    assert named == {
        "CODEXRUN_MODEL_DROP_REASONING_IDS": "true",
        "CODEXRUN_IDENTITY_TOKEN_URL": "https://auth.openai.com/oauth/token",
        "CODEXRUN_IDENTITY_AUDIENCE": "https://api.openai.com/v1",
        "CODEXRUN_IDENTITY_ENCODING": "json",
        "CODEXRUN_GIT_CA_CONFIG_MAP": "git-ca",
        "CODEXRUN_GIT_CA_KEY": "ca.crt",
        "CODEXRUN_GIT_PROXY": "http://proxy.example.com:3128",
    }


@pytest.mark.parametrize("part", ["operator", "api"])
def test_a_price_table_of_the_installation_is_mounted_for_both(part: str) -> None:
    rendered = render(*REAL, "prices.configMap=our-prices", "prices.key=2026.yaml")
    (deployment,) = [
        m for m in rendered if m["kind"] == "Deployment" and m["metadata"]["name"].endswith(part)
    ]
    pod = deployment["spec"]["template"]["spec"]
    told = {"name": "CODEXRUN_PRICES_FILE", "value": "/etc/codexrun/prices/prices.yaml"}
    assert told in pod["containers"][0]["env"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "prices"]
    assert volume["configMap"] == {
        "name": "our-prices",
        "items": [{"key": "2026.yaml", "path": "prices.yaml"}],
    }
    assert {"name": "prices", "mountPath": "/etc/codexrun/prices", "readOnly": True} in pod[
        "containers"
    ][0]["volumeMounts"]


def test_operator_environment_with_the_demo_model(everything: list[Manifest]) -> None:
    seen = environment(everything)
    assert seen["CODEXRUN_UPSTREAM_URL"] == "http://codexrun-demo-model/v1"
    assert "CODEXRUN_MODEL_SECRET" not in seen
    assert seen["CODEXRUN_IMAGE_PULL_SECRETS"] == "mirror,team"


def test_a_named_model_wins_over_the_demo_model() -> None:
    assert environment(render(*DEMO, *REAL))["CODEXRUN_UPSTREAM_URL"] == "https://api.openai.com/v1"


def test_large_numbers_stay_whole() -> None:
    assert (
        environment(render("jobs.ttlSecondsAfterFinished=31536000"))["CODEXRUN_JOB_TTL_SECONDS"]
        == "31536000"
    )


def test_large_inputs_are_refused_in_the_release_namespace_only_and_in_the_operators_words(
    everything: list[Manifest],
) -> None:
    policy = one(everything, "ValidatingAdmissionPolicy", POLICY)
    binding = one(everything, "ValidatingAdmissionPolicyBinding", POLICY)
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert policy["spec"]["matchConstraints"]["resourceRules"] == [
        {
            "apiGroups": ["codexrun.dev"],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": ["codexruns"],
        }
    ]
    assert binding["spec"]["policyName"] == POLICY
    assert binding["spec"]["validationActions"] == ["Deny"]
    only = {"matchLabels": {"kubernetes.io/metadata.name": "codexrun"}}
    assert binding["spec"]["matchResources"]["namespaceSelector"] == only
    (validation,) = policy["spec"]["validations"]
    assert f"<= {MAX_INPUTS_BYTES} " in validation["expression"]
    with pytest.raises(InputsError) as refused:
        check_inputs({"type": "object"}, {"a": "x" * MAX_INPUTS_BYTES})
    field, _, problem = str(refused.value).partition(" bytes long, which exceeds the limit of ")
    assert field.startswith("spec.inputs: the JSON is ")
    assert validation["message"] == f"spec.inputs: the JSON exceeds the limit of {problem}"


def test_an_installer_without_rights_in_the_cluster_leaves_the_policy_out() -> None:
    assert names(render(*REAL)) - names(render(*REAL, "admissionPolicy.install=false")) == {
        f"ValidatingAdmissionPolicy/{POLICY}",
        f"ValidatingAdmissionPolicyBinding/{POLICY}",
    }


def test_an_installer_without_rights_in_the_cluster_leaves_out_all_of_its_objects() -> None:
    without = ("crds.install=false", "admissionPolicy.install=false", "rbac.clusterRoles=false")
    kinds = {m["kind"] for m in render(*REAL, *without)}
    assert not kinds & {*CLUSTER_SCOPED, "CustomResourceDefinition"}


def test_two_releases_in_one_namespace_do_not_collide() -> None:
    first, second = (
        render(*DEMO, "crds.install=false", release=r, namespace="x") for r in ("one", "two")
    )
    assert not names(first) & names(second)
    assert (
        environment(second, "two-codexrun-operator")["CODEXRUN_UPSTREAM_URL"]
        == "http://two-codexrun-demo-model/v1"
    )


def test_the_longest_release_name_gives_names_that_fit() -> None:
    long_names = ("CustomResourceDefinition", *CLUSTER_SCOPED)
    for manifest in render(*DEMO, release="r" * 53):
        assert len(manifest["metadata"]["name"]) <= (253 if manifest["kind"] in long_names else 63)


def test_releases_with_long_names_share_nothing_of_the_cluster() -> None:
    """A name that was cut would be the same for both, and the second installation would fail."""
    names = [
        {
            manifest["metadata"]["name"]
            for manifest in render(*DEMO, release=release)
            if manifest["kind"] in CLUSTER_SCOPED
        }
        for release in ("r" * 52 + "a", "r" * 52 + "b")
    ]
    assert names[0]
    assert not names[0] & names[1]


def test_a_namespace_and_a_release_are_told_apart_in_names_of_the_cluster() -> None:
    """Joined by a hyphen, `a-b` and `c` would be `a` and `b-c`."""
    roles = [
        {
            m["metadata"]["name"]
            for m in render(release=r, namespace=n)
            if m["kind"] == "ClusterRole"
        }
        for n, r in (("a-b", "c"), ("a", "b-c"))
    ]
    assert roles[0]
    assert not roles[0] & roles[1]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (("crds.keep=true",), "keep"),
        (("crds.keep=false",), None),
        (("crds.install=false",), "absent"),
    ],
)
def test_crds_are_installed_and_kept_as_asked(values: tuple[str, ...], kept: str | None) -> None:
    crds = [m for m in render(*values) if m["kind"] == "CustomResourceDefinition"]
    if kept == "absent":
        assert not crds
    else:
        assert [m["metadata"]["annotations"].get("helm.sh/resource-policy") for m in crds] == [
            kept,
            kept,
        ]


@pytest.mark.parametrize("name", ["codexruns", "codexjobtypes"])
def test_the_charts_crds_are_those_of_the_repository(name: str) -> None:
    (rendered,) = [m for m in render() if m["metadata"]["name"] == f"{name}.codexrun.dev"]
    original = yaml.safe_load((ROOT / f"crds/{name}.yaml").read_text())
    assert rendered["spec"] == original["spec"]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("modle.upstreamURL=x", "modle"),
        ("model.upstreamUrl=https://x/v1", "upstreamUrl"),
        ("model.proxy=http://user:secret@proxy:3128", "/model/proxy"),
        ("model.proxy=https://proxy", "/model/proxy"),
        ("model.authHeader=api key", "/model/authHeader"),
        ("model.upstreamURL=api.openai.com/v1", "/model/upstreamURL"),
        ("image.tga=1", "tga"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("agentImage.repository=", "/agentImage/repository"),
        ("demoModel.enabled=yes please", "/demoModel/enabled"),
        ("operator.replicas=many", "/operator/replicas"),
        ("operator.logLevel=loud", "/operator/logLevel"),
        ("operator.resources.request.cpu=1", "request"),
        ("jobs.ttlSecondsAfterFinished=-1", "/jobs/ttlSecondsAfterFinished"),
        ("crds.instal=true", "instal"),
        ("admissionPolicy.install=yes please", "/admissionPolicy/install"),
        ("imagePullSecrets[0]=mirror", "/imagePullSecrets/0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, named: str) -> None:
    assert named in refusal(value)


def test_every_default_is_described_and_allowed() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}
    for name, value in values.items():
        properties = schema["properties"][name].get("properties")
        if isinstance(value, dict) and properties is not None:
            assert value.keys() == properties.keys(), name


def test_an_installation_without_a_model_is_refused() -> None:
    assert "no model is set: set model.upstreamURL" in refusal()


def test_notes_say_when_requests_carry_no_key() -> None:
    assert "carry no API key" in notes("model.upstreamURL=http://vllm.models/v1")
    assert "carry no API key" not in notes(*REAL)


def test_notes_name_the_next_three_commands_and_how_to_remove_all() -> None:
    text = notes(*DEMO)
    assert "codexrun prompts manifests -n codexrun | kubectl apply -f -" in text
    assert "kubectl apply -n codexrun -f examples/hello.yaml" in text
    assert "kubectl get codexruns -n codexrun --watch" in text
    assert "helm uninstall codexrun -n codexrun\n  kubectl delete namespace codexrun" in text
    assert max(len(line) for line in text.splitlines()) <= 80


@pytest.mark.parametrize("block", all_blocks("chart"), ids=str)
def test_documented_installations_render(block: Block) -> None:
    """As they stand, but rendered only: `helm upgrade` looks for the release even in a dry run."""
    shell = 'helm() { [ "$1 $2" = "upgrade --install" ] && shift 2 && "$HELM" template "$@"; }'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{shell}\n{block.text}"],
        check=False,
        cwd=ROOT,
        env=os.environ | {"HELM": helm()},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    assert "kind: Deployment" in done.stdout
