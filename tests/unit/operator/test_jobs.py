"""What a run's Job looks like: valid, restricted Pod Security, three clocks, and each secret only
where it belongs."""

import base64
import json
import tomllib
from dataclasses import replace
from typing import Any

import kubernetes_schemas
import pytest
from builders import PRICES, SHA, UID, kind, prompt, run

from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.runs.label_keys import job_name
from codexrun_operator.decide.observed import job_from
from codexrun_operator.decide.validation import Accepted, validate_run
from codexrun_operator.job.container_parts import env_json, quantity
from codexrun_operator.job.job import GRACE_SECONDS, build_job
from codexrun_operator.settings import (
    CLONE_RESOURCES,
    GATE_RESOURCES,
    GitAccess,
    Identity,
    ModelAccess,
    PodSettings,
    settings_from,
)
from codexrun_pod.gate.settings import CA_FILE, Settings

SETTINGS = PodSettings(
    control_image="example/codexrun:1",
    agent_image="example/agent:1",
    upstream_url="http://model/v1",
    model_secret="model-key",
    pull_secrets=("registry",),
    job_ttl_seconds=600,
)
URL = "https://git.example/acme/app"
RICH = {
    "git": {
        "allowedURLs": ["https://git.example/acme/*"],
        "credentialsSecretRef": {"name": "git-login"},
    },
    "env": [{"name": "NPM_TOKEN", "valueFrom": {"secretKeyRef": {"name": "npm", "key": "token"}}}],
    "image": "example/go-agent:2",
    "runtimeClassName": "gvisor",
    "resources": {"limits": {"memory": "4Gi"}},
    "podTemplate": {
        "nodeSelector": {"pool": "codex"},
        "tolerations": [{"key": "codex", "operator": "Exists"}],
        "annotations": {"team": "a"},
        "labels": {"team": "a"},
        "imagePullSecrets": [{"name": "team"}],
        "priorityClassName": "low",
    },
    "limits": {"maxTokens": 1000, "timeoutSeconds": 120, "startSeconds": 30},
}


def built(
    of: CodexRun | None = None,
    job_type: CodexJobType | None = None,
    settings: PodSettings = SETTINGS,
) -> dict[str, Any]:
    of = of or run()
    job_type = job_type or kind()
    verdict = validate_run(of, job_type, prompt(), PRICES)
    assert isinstance(verdict, Accepted), verdict
    return build_job(of, job_type, verdict, 1, settings)


def plain() -> dict[str, Any]:
    return built()


def rich() -> dict[str, Any]:
    return built(run(workspace={"git": {"url": URL, "ref": "main"}}), kind(**RICH))


BOTH = pytest.mark.parametrize("job", [plain(), rich()], ids=["plain", "rich"])


def spec_of(job: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def containers(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in (*spec_of(job)["initContainers"], *spec_of(job)["containers"])}


def env(container: dict[str, Any]) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def config(job: dict[str, Any], container: str, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(env(containers(job)[container])[name])
    return value


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("hello-1", "hello-1-11111111-1"),
        ("a" * 39 + "-" + "b" * 23, "a" * 39 + "-11111111-1"),
        ("a" * 39 + ".b", "a" * 39 + "-11111111-1"),
        ("a" * 63, "a" * 40 + "-11111111-1"),
    ],
)
def test_the_job_has_the_name_that_the_api_derives_short_enough_for_a_label(
    name: str, wanted: str
) -> None:
    assert built(run(name=name))["metadata"]["name"] == job_name(name, UID, 1) == wanted
    assert len(wanted) <= 63


def test_kueue_finds_its_queue_on_the_job_and_nowhere_else() -> None:
    label = "kueue.x-k8s.io/queue-name"
    assert label not in plain()["metadata"]["labels"]
    job = built(job_type=kind(queueName="team-a"))
    assert job["metadata"]["labels"][label] == "team-a"
    assert label not in job["spec"]["template"]["metadata"]["labels"]
    assert job_from(job | {"metadata": job["metadata"] | {"uid": "job-1"}}).genuine


@BOTH
@pytest.mark.parametrize("version", ["1.31", "1.34"])
def test_the_apiserver_would_take_it(job: dict[str, Any], version: str) -> None:
    kubernetes_schemas.validate(job, version)


@BOTH
def test_restricted_pod_security_field_by_field(job: dict[str, Any]) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod = spec_of(job)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} == set()
    for volume in pod["volumes"]:
        assert volume.keys() - {"name"} <= {"emptyDir", "projected", "secret"}
    for container in containers(job).values():
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["runAsUser"] > 0
        assert security["readOnlyRootFilesystem"] is True
        assert (
            security.keys()
            & {"privileged", "procMount", "seLinuxOptions", "runAsNonRoot", "seccompProfile"}
            == set()
        )
        assert "ports" not in container


@BOTH
def test_no_token_and_no_neighbours(job: dict[str, Any]) -> None:
    pod = spec_of(job)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["serviceAccountName"] == "codexrun-agent"
    assert pod["restartPolicy"] == "Never"


@BOTH
def test_everything_is_bounded(job: dict[str, Any]) -> None:
    for container in containers(job).values():
        assert {"memory", "ephemeral-storage"} <= container["resources"]["limits"].keys()
        assert {"cpu"} <= container["resources"]["requests"].keys()
    for volume in spec_of(job)["volumes"]:
        if "emptyDir" in volume:
            assert int(volume["emptyDir"]["sizeLimit"]) > 0


def test_three_clocks_innermost_first() -> None:
    job = rich()
    runner = config(job, "agent", "CODEXRUN_RUN")["timeoutSeconds"]
    pod = spec_of(job)["activeDeadlineSeconds"]
    whole = job["spec"]["activeDeadlineSeconds"]
    assert (runner, pod, whole) == (
        120,
        30 + 120 + GRACE_SECONDS,
        30 + 120 + GRACE_SECONDS + 30 + 60,
    )
    assert spec_of(job)["terminationGracePeriodSeconds"] == GRACE_SECONDS


def test_one_pod_and_no_second() -> None:
    spec = plain()["spec"]
    assert (
        spec["backoffLimit"],
        spec["podReplacementPolicy"],
        spec["ttlSecondsAfterFinished"],
    ) == (0, "TerminatingOrFailed", 600)
    assert spec.keys() & {"completions", "parallelism", "podFailurePolicy"} == set()


@BOTH
def test_it_is_the_run_s(job: dict[str, Any]) -> None:
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (
        "CodexRun",
        UID,
        True,
        True,
    )
    labels = {
        "app.kubernetes.io/managed-by": "codexrun",
        "app.kubernetes.io/name": "codexrun-run",
        "codexrun.dev/run": "hello",
        "codexrun.dev/run-uid": UID,
        "codexrun.dev/job-type": "hello",
        "codexrun.dev/attempt": "1",
    }
    assert job["metadata"]["labels"] == labels
    assert labels.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    for name in labels.values():
        assert len(name) <= 63


def test_it_records_what_the_run_was_admitted_with() -> None:
    job = rich()
    job["metadata"] |= {"uid": "job-1", "creationTimestamp": "2026-11-24T12:00:00Z"}
    job["status"] = {"startTime": "2026-11-24T12:00:00Z"}
    read = job_from(job)
    assert (read.attempt, read.start_seconds, read.model, read.owned) == (1, 30, "gpt-5.5", True)
    assert read.prompt is not None
    assert read.prompt.sha256 == SHA
    assert read.deadline is not None
    assert read.created is not None
    assert (read.deadline - read.created).total_seconds() == job["spec"]["activeDeadlineSeconds"]


@pytest.mark.parametrize(
    "spoilt",
    [
        *(
            "",
            "{",
            "[]",
            "7",
            "{}",
            '{"startSeconds": "x"}',
            '{"startSeconds": true, "prompt": 1, "model": 2}',
        ),
        *(
            '{"startSeconds": 1e999}',
            '{"startSeconds": -1}',
            '{"startSeconds": 86401}',
            "[" * 100_000,
        ),
    ],
)
def test_a_spoilt_record_is_no_reason_to_fall_over(spoilt: str) -> None:
    job = plain()
    job["metadata"] |= {"uid": "job-1", "annotations": {"codexrun.dev/admitted-with": spoilt}}
    job["metadata"]["labels"]["codexrun.dev/attempt"] = spoilt
    read = job_from(job)
    assert read.start_seconds == 600
    assert (read.prompt, read.model, read.sandbox) == (None, None, None)
    assert read.attempt == (7 if spoilt == "7" else 1)


def test_what_is_left_of_a_spoilt_record_holds() -> None:
    job = plain()
    record = {"startSeconds": 30, "prompt": 1, "model": "gpt-5.5", "sandbox": "of a newer version"}
    job["metadata"] |= {
        "uid": "job-1",
        "annotations": {"codexrun.dev/admitted-with": json.dumps(record)},
    }
    read = job_from(job)
    assert (read.start_seconds, read.prompt, read.model, read.sandbox) == (
        30,
        None,
        "gpt-5.5",
        None,
    )


# -- who sees what -------------------------------------------------------------------------------


def sources(job: dict[str, Any], volume: str) -> list[dict[str, Any]]:
    """The sources of a projected volume."""
    (projected,) = [each for each in spec_of(job)["volumes"] if each["name"] == volume]
    listed: list[dict[str, Any]] = projected["projected"]["sources"]
    return listed


WITH_API = replace(SETTINGS, ingest_url="http://codexrun-api-ingest.codexrun.svc:8081")
AZURE = ModelAccess(
    auth_header="api-key",
    query_params={"api-version": "v1"},
    ca_config_map="corp-ca",
    ca_key="bundle.pem",
    proxy="http://p:3128",
)


def test_the_gate_finds_its_files_where_it_looks_for_them() -> None:
    job = built(settings=replace(WITH_API, model=AZURE))
    token, key, authorities = sources(job, "gate-files")
    (mounted,) = [
        each for each in containers(job)["gate"]["volumeMounts"] if each["name"] == "gate-files"
    ]
    folder = mounted["mountPath"]
    assert f"{folder}/{token['serviceAccountToken']['path']}" == str(Settings.ingest_token)
    assert f"{folder}/{key['secret']['items'][0]['path']}" == str(Settings.key_file)
    assert f"{folder}/{authorities['configMap']['items'][0]['path']}" == str(CA_FILE)


@pytest.mark.parametrize(
    ("job", "most_bytes", "most_volumes", "most_variables"),
    [
        (built(), 6_370, 6, 4),
        (built(settings=replace(WITH_API, model=AZURE)), 6_730, 6, 4),
        (
            built(run(workspace={"git": {"url": URL, "ref": "main"}}), kind(**RICH), WITH_API),
            8_070,
            9,
            7,
        ),
    ],
    ids=["plain", "with all of the installation's settings", "with all of a job type's"],
)
def test_a_job_stays_as_light_as_it_is(
    job: dict[str, Any], most_bytes: int, most_volumes: int, most_variables: int
) -> None:
    """The size of Job and pod is most of what a run costs the apiserver: each object is checked,
    stored and told to every watcher several times. Raise a bound only for what is worth that."""
    variables = [variable for c in containers(job).values() for variable in c["env"]]
    assert len(spec_of(job)["volumes"]) <= most_volumes
    assert len(variables) <= most_variables
    assert len(json.dumps(job, separators=(",", ":"))) <= most_bytes


def sees(job: dict[str, Any], volume: str) -> set[str]:
    return {
        name
        for name, c in containers(job).items()
        if volume in {mount["name"] for mount in c["volumeMounts"]}
    }


def test_secrets_are_only_where_they_belong() -> None:
    job = rich()
    assert sees(job, "gate-files") == {"gate"}
    assert sees(job, "git-credentials") == {"clone"}
    assert sees(job, "gate-state") == {"gate"}
    assert sees(job, "agent-files") == {"agent"}
    assert sees(job, "workspace") == {"clone", "agent"}
    assert sees(job, "home") == {"agent"}
    assert {
        name for name, c in containers(job).items() if any("valueFrom" in v for v in c["env"])
    } == {"agent"}
    assert config(job, "agent", "CODEXRUN_RUN")["maskEnv"] == ["NPM_TOKEN"]


def test_every_mount_has_its_volume_and_every_volume_its_mount() -> None:
    for job in (plain(), rich()):
        mounted = {mount["name"] for c in containers(job).values() for mount in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec_of(job)["volumes"]}


def test_agent_and_gate_are_different_users() -> None:
    users = {name: c["securityContext"]["runAsUser"] for name, c in containers(rich()).items()}
    assert users["gate"] not in (users["agent"], users["clone"])
    assert users["agent"] == users["clone"]


def test_secrets_and_prompt_are_mounted_read_only() -> None:
    for container in containers(rich()).values():
        for mount in container["volumeMounts"]:
            assert mount.get("readOnly", False) is (
                mount["name"] in ("agent-files", "gate-files", "git-credentials")
            )


def test_without_a_key_nothing_is_mounted_for_one() -> None:
    job = built(
        settings=PodSettings(control_image="a", agent_image="b", upstream_url="http://model/v1")
    )
    assert sees(job, "gate-files") == set()
    assert "imagePullSecrets" not in spec_of(job)


def test_a_workspace_brings_the_clone_step_before_the_gate() -> None:
    job = rich()
    assert [c["name"] for c in spec_of(job)["initContainers"]] == ["clone", "gate"]
    assert config(job, "clone", "CODEXRUN_CLONE") == {
        "url": URL,
        "ref": "main",
        "allowedURLs": ["https://git.example/acme/*"],
    }
    assert config(job, "agent", "CODEXRUN_RUN")["git"] is True
    assert [c["name"] for c in spec_of(plain())["initContainers"]] == ["gate"]
    assert config(plain(), "agent", "CODEXRUN_RUN")["git"] is False


def test_the_gate_is_a_native_sidecar_that_hears_of_a_deletion_first() -> None:
    gate = containers(plain())["gate"]
    assert gate["restartPolicy"] == "Always"
    assert gate["lifecycle"]["preStop"]["exec"]["command"] == [
        "touch",
        "/var/lib/codexrun-gate/stopping",
    ]
    assert "startupProbe" not in gate
    assert config(plain(), "gate", "CODEXRUN_GATE") == {
        "runId": UID,
        "jobType": "hello",
        "attempt": 1,
        "upstreamURL": "http://model/v1",
        "port": 8390,
        "models": ["gpt-5.5"],
        "allowedTools": ["apply_patch", "shell"],
        "prices": PRICES.for_gate("gpt-5.5"),
        "priceTable": PRICES.version,
        "stallSeconds": 600,
        "maxWaitSeconds": 120,
    }


def test_the_gate_is_told_what_the_run_may_spend_and_use() -> None:
    limits = {"maxTokens": 1000, "maxCostCents": 50, "stallSeconds": 90}
    tools = ["mcp:docs/search"]
    job = built(
        run(limits={"maxCostCents": 5}),
        kind(limits=limits, allowedTools=tools, mcpServers=[DOCS], maxOutputTokens=32_000),
    )
    told = config(job, "gate", "CODEXRUN_GATE")
    assert (told["maxTokens"], told["maxCostCents"], told["allowedTools"]) == (1000, 5, tools)
    assert (told["maxOutputTokens"], told["stallSeconds"]) == (32_000, 90)


@pytest.mark.parametrize(
    ("spec", "efforts"),
    [
        ({"effort": "low", "allowedEfforts": ["low", "medium"]}, ["low", "medium"]),
        ({"effort": "low"}, None),
        # The model's default, which nobody has named, may be none of the list.
        ({"allowedEfforts": ["high"]}, ["high", "low", "medium"]),
        ({"allowedEfforts": ["low", "medium"]}, ["low", "medium"]),
        ({}, None),
    ],
)
def test_the_gate_is_told_the_efforts_of_a_job_type_that_names_some(
    spec: dict[str, Any], efforts: list[str] | None
) -> None:
    told = config(built(run(), kind(**spec)), "gate", "CODEXRUN_GATE")
    assert told.get("allowedEfforts") == efforts


DOCS = {"name": "docs", "url": "https://docs.example/mcp"}


def test_a_company_s_endpoint_is_the_gate_s_business_alone() -> None:
    job = built(settings=replace(SETTINGS, model=AZURE))
    told = config(job, "gate", "CODEXRUN_GATE")
    assert told["authHeader"] == "api-key"
    assert told["queryParams"] == {"api-version": "v1"}
    assert told["proxy"] == "http://p:3128"
    assert told["caBundle"] is True
    assert sees(job, "gate-files") == {"gate"}
    assert {
        "configMap": {
            "name": "corp-ca",
            "items": [{"key": "bundle.pem", "path": "ca/ca.crt"}],
        }
    } in sources(job, "gate-files")


def test_a_team_s_own_key_takes_the_place_of_the_installation_s() -> None:
    job = built(job_type=kind(modelSecretRef={"name": "team-key"}))
    assert [source["secret"] for source in sources(job, "gate-files")] == [
        {"name": "team-key", "items": [{"key": "api-key", "path": "model/api-key"}]}
    ]
    assert sees(job, "gate-files") == {"gate"}


IDENTITY = Identity(
    token_url="https://auth.example.com/oauth/token",
    audience="https://api.example.com/v1",
    parameters={"identity_provider_id": "idp_1"},
)


def test_an_identity_takes_the_place_of_the_installation_s_key_in_the_gate_alone() -> None:
    settings = replace(SETTINGS, model=ModelAccess(identity=IDENTITY))
    job = built(settings=settings)
    assert config(job, "gate", "CODEXRUN_GATE")["identity"] == {
        "tokenURL": "https://auth.example.com/oauth/token",
        "parameters": {"identity_provider_id": "idp_1"},
        "encoding": "json",
    }
    assert sees(job, "gate-files") == {"gate"}
    assert sources(job, "gate-files") == [
        {
            "serviceAccountToken": {
                "audience": "https://api.example.com/v1",
                "expirationSeconds": 3600,
                "path": "identity/token",
            }
        }
    ]
    own = built(job_type=kind(modelSecretRef={"name": "team-key"}), settings=settings)
    assert "identity" not in config(own, "gate", "CODEXRUN_GATE")
    assert [list(source) for source in sources(own, "gate-files")] == [["secret"]]


def test_git_hosts_have_a_ca_and_a_proxy_of_their_own() -> None:
    access = GitAccess(ca_config_map="git-ca", ca_key="ca.pem", proxy="http://p:3128")
    of = run(workspace={"git": {"url": URL}})
    job = built(of, kind(**RICH), replace(SETTINGS, git=access))
    assert config(job, "clone", "CODEXRUN_CLONE")["proxy"] == "http://p:3128"
    environment = {each["name"]: each["value"] for each in containers(job)["clone"]["env"]}
    assert environment["GIT_SSL_CAINFO"] == "/var/run/codexrun/git-ca/ca.crt"
    assert sees(job, "git-ca") == {"clone"}
    (volume,) = [volume for volume in spec_of(job)["volumes"] if volume["name"] == "git-ca"]
    assert volume["configMap"]["items"] == [{"key": "ca.pem", "path": "ca.crt"}]
    assert "proxy" not in config(built(of, kind(**RICH)), "clone", "CODEXRUN_CLONE")


def test_how_long_a_run_waits_for_its_provider() -> None:
    assert config(built(), "gate", "CODEXRUN_GATE")["maxWaitSeconds"] == 120
    job = built(run(limits={"maxWaitSeconds": 5}))
    assert config(job, "gate", "CODEXRUN_GATE")["maxWaitSeconds"] == 5


def test_the_same_tools_in_every_layer() -> None:
    job = built(
        job_type=kind(allowedTools=["shell", "mcp:docs"], mcpServers=[DOCS], sandbox="codex")
    )
    assert config(job, "gate", "CODEXRUN_GATE")["allowedTools"] == ["mcp:docs", "shell"]
    told = config(job, "agent", "CODEXRUN_RUN")
    assert (told["allowedTools"], told["mcpServers"], told["sandbox"]) == (
        ["mcp:docs", "shell"],
        [DOCS],
        "codex",
    )
    assert "auditedTools" not in told, "for tests alone"
    pod = job["spec"]["template"]
    policy = tomllib.loads(pod["metadata"]["annotations"]["codexrun.dev/codex-requirements"])
    assert policy["features"]["shell_tool"] is True
    assert policy["features"]["view_image"] is False
    assert policy["allowed_sandbox_modes"] == ["read-only", "workspace-write"]
    (hook,) = policy["hooks"]["PreToolUse"][0]["hooks"]
    assert hook["command"] == "/opt/codexrun/bin/audit-tool mcp:docs shell"
    (text, policy_file) = sources(job, "agent-files")
    assert policy_file["downwardAPI"]["items"][0]["path"] == "requirements.toml"
    # Any other key of the ConfigMap would be a file of Codex's configuration.
    assert text["configMap"]["items"] == [{"key": "prompt.md", "path": "prompt.md"}]
    assert sees(job, "agent-files") == {"agent"}


def test_no_annotation_of_a_job_type_takes_the_policy_s_place() -> None:
    job = built(
        job_type=kind(
            podTemplate={"annotations": {"codexrun.dev/codex-requirements": "", "team": "a"}}
        )
    )
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert "PreToolUse" in annotations["codexrun.dev/codex-requirements"]
    assert annotations["team"] == "a"


def test_a_model_without_a_price_has_none() -> None:
    assert config(built(job_type=kind(model="new")), "gate", "CODEXRUN_GATE")["prices"] == {}


# -- environment ---------------------------------------------------------------------------------


def test_the_kubelet_has_nothing_to_expand() -> None:
    value = {"a": "$(HOME) $$ $", "ü": "\u2028"}
    assert "$" not in env_json(value)
    assert json.loads(env_json(value)) == value
    job = built(
        run(inputs={"name": "$(HOME) $$(X)"}, workspace={"git": {"url": URL, "ref": "main"}}),
        kind(git={"allowedURLs": ["https://git.example/acme/*"]}),
    )
    for container in containers(job).values():
        for variable in container["env"]:
            assert "$" not in variable.get("value", "")
    assert config(job, "clone", "CODEXRUN_CLONE")["url"] == URL


def test_inputs_arrive_unchanged() -> None:
    inputs = {"name": 'Zoë "$(X)"\n\u2028 {{name}} 😀'}
    value = env(containers(built(run(inputs=inputs)))["agent"])["CODEXRUN_INPUTS"]
    assert json.loads(base64.b64decode(value)) == inputs


def test_the_largest_inputs_fit_the_kernel_s_limit_for_one_variable() -> None:
    job = built(run(inputs={"name": "x" * (64 * 1024 - 13)}))
    assert (
        len("CODEXRUN_INPUTS=") + len(env(containers(job)["agent"])["CODEXRUN_INPUTS"]) < 128 * 1024
    )


def test_byte_stable() -> None:
    assert json.dumps(rich()) == json.dumps(rich())


# -- placement and resources ---------------------------------------------------------------------


def test_placement_comes_from_the_job_type() -> None:
    pod = spec_of(rich())
    assert pod["nodeSelector"] == {"pool": "codex"}
    assert pod["priorityClassName"] == "low"
    assert pod["runtimeClassName"] == "gvisor"
    assert pod["imagePullSecrets"] == [{"name": "team"}, {"name": "registry"}]
    assert {"key": "codex", "operator": "Exists"} in pod["tolerations"]
    assert {
        t["key"]: t["tolerationSeconds"] for t in pod["tolerations"] if "tolerationSeconds" in t
    } == {"node.kubernetes.io/not-ready": 60, "node.kubernetes.io/unreachable": 60}
    assert containers(rich())["agent"]["image"] == "example/go-agent:2"
    assert containers(rich())["gate"]["image"] == "example/codexrun:1"


def test_labels_of_ours_win() -> None:
    template = {"labels": {"codexrun.dev/run-uid": "forged", "team": "a"}}
    labels = built(job_type=kind(podTemplate=template))["spec"]["template"]["metadata"]["labels"]
    assert (labels["codexrun.dev/run-uid"], labels["team"]) == (UID, "a")


@pytest.mark.parametrize(
    ("asked", "requests", "limits"),
    [
        (
            None,
            {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
            {"memory": "2Gi", "ephemeral-storage": "14Gi"},
        ),
        (
            {"limits": {"memory": "128Mi"}},
            {"cpu": "100m", "ephemeral-storage": "1Gi"},
            {"memory": "128Mi", "ephemeral-storage": "14Gi"},
        ),
        (
            {"requests": {"memory": "8Gi"}},
            {"cpu": "100m", "memory": "8Gi", "ephemeral-storage": "1Gi"},
            {"memory": "8Gi", "ephemeral-storage": "14Gi"},
        ),
        (
            {
                "requests": {"cpu": 2, "memory": "1Gi"},
                "limits": {"cpu": 4, "memory": "3Gi", "ephemeral-storage": "20Gi"},
            },
            {"cpu": 2, "memory": "1Gi"},
            {"cpu": 4, "memory": "3Gi", "ephemeral-storage": "20Gi"},
        ),
    ],
)
def test_defaults_fit_what_the_job_type_says(asked: Any, requests: Any, limits: Any) -> None:
    job = built(job_type=kind(resources=asked) if asked else kind())
    assert containers(job)["agent"]["resources"] == {"requests": requests, "limits": limits}


# -- workspaces, sizes, variables, clusters ------------------------------------------------------

GIT = {"allowedURLs": ["https://git.example/acme/*"]}
WORKSPACE = {"git": {"url": URL, "ref": "refs/pull/7/head"}}


def test_depth_time_and_memory_of_the_clone_are_the_job_type_s() -> None:
    git = GIT | {"depth": 5, "memory": "4Gi", "timeoutSeconds": 900}
    limits = {"startSeconds": 30, "timeoutSeconds": 120}
    job = built(run(workspace=WORKSPACE), kind(git=git, limits=limits))
    clone = config(job, "clone", "CODEXRUN_CLONE")
    assert (clone["depth"], clone["timeoutSeconds"]) == (5, 900)
    assert containers(job)["clone"]["resources"]["limits"]["memory"] == "4Gi"
    job["metadata"] |= {"uid": "job-1"}
    assert job_from(job).start_seconds == 30 + 900, "the clone's time is no part of startSeconds"
    assert spec_of(job)["activeDeadlineSeconds"] == 30 + 900 + 120 + GRACE_SECONDS
    without = built(run(), kind(git=git, limits=limits))
    assert spec_of(without)["activeDeadlineSeconds"] == 30 + 120 + GRACE_SECONDS, "no clone"


def test_a_clone_that_fails_can_ship_its_log() -> None:
    settings = replace(SETTINGS, ingest_url="http://api:8081")
    job = built(run(workspace=WORKSPACE), kind(git=GIT), settings)
    assert config(job, "clone", "CODEXRUN_CLONE")["ingestURL"] == "http://api:8081"
    assert sees(job, "ingest-token") == {"clone"}
    assert sees(job, "gate-files") == {"gate"}, "where the model's key is too"


def test_sizes_reach_volumes_runner_clone_and_limits() -> None:
    sizes = {"workspace": "20Gi", "home": "512Mi", "tmp": "1Gi", "sharedMemory": "256Mi"}
    job = built(run(workspace=WORKSPACE), kind(sizes=sizes, git=GIT))
    volumes = {volume["name"]: volume.get("emptyDir") for volume in spec_of(job)["volumes"]}
    gib = 2**30
    assert volumes["workspace"] == {"sizeLimit": str(20 * gib)}
    assert volumes["home"] == {"sizeLimit": str(gib // 2)}
    assert volumes["shared-memory"] == {"medium": "Memory", "sizeLimit": str(gib // 4)}
    assert {"name": "shared-memory", "mountPath": "/dev/shm"} in containers(job)["agent"][
        "volumeMounts"
    ]
    told = config(job, "agent", "CODEXRUN_RUN")
    assert (told["workspaceBytes"], told["homeBytes"], told["tmpBytes"]) == (
        20 * gib,
        gib // 2,
        gib,
    )
    assert told["diskBytes"] == 23 * gib + gib // 2
    assert containers(job)["agent"]["resources"]["limits"]["ephemeral-storage"] == "24064Mi"
    assert containers(job)["clone"]["resources"]["limits"]["ephemeral-storage"] == str(21 * gib)


def test_without_a_size_there_is_no_volume_for_shared_memory() -> None:
    assert "shared-memory" not in {volume["name"] for volume in spec_of(rich())["volumes"]}


def test_a_lower_limit_of_ephemeral_storage_is_what_the_runner_watches() -> None:
    job = built(job_type=kind(resources={"limits": {"ephemeral-storage": "1Gi"}}))
    assert config(job, "agent", "CODEXRUN_RUN")["diskBytes"] == 2**30


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("1Gi", 2**30),
        (5, 5),
        ("1G", 10**9),
        ("1.5Ki", 1536),
        ("1e3", 1000),
        ("1E", 10**18),
        ("1500m", 1),
        (".5Gi", 2**29),
        ("", None),
        ("1 Gi", None),
        ("Gi", None),
        ("-1", None),
    ],
)
def test_quantities_of_kubernetes(text: int | str, units: int | None) -> None:
    assert quantity(text) == units


def test_variables_from_secrets_alone_are_masked_and_a_plain_value_arrives_as_written() -> None:
    variables = [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "PRICE", "value": "$5 for $(REGION) or $$"},
    ]
    job = built(job_type=kind(env=variables))
    kubernetes_schemas.validate(job, "1.34")
    assert config(job, "agent", "CODEXRUN_RUN")["maskEnv"] == ["TOKEN"]
    by_name = {variable["name"]: variable for variable in containers(job)["agent"]["env"]}
    assert by_name["REGION"]["valueFrom"]["configMapKeyRef"]["name"] == "c"
    # what the kubelet makes of it: `$$` is one `$`, and `$(X)` after it stays
    assert by_name["PRICE"]["value"].replace("$$", "$") == "$5 for $(REGION) or $$"


def test_autoscalers_leave_a_run_s_node_alone_unless_the_job_type_says_otherwise() -> None:
    annotations = plain()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"
    template = {"annotations": {"karpenter.sh/do-not-disrupt": "false"}}
    job = built(job_type=kind(podTemplate=template))
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["karpenter.sh/do-not-disrupt"] == "false"


def test_labels_of_the_run_go_as_far_as_the_job_type_says() -> None:
    of = run()
    of.metadata.labels = {"team": "payments", "tier": "gold", "other": "x"}
    of.metadata.labels["codexrun.dev/run-uid"] = "forged"
    keys = ["team", "tier", "absent", "codexrun.dev/run-uid"]
    job = built(of, kind(propagateLabels=keys, podTemplate={"labels": {"tier": "of the type"}}))
    of_job, of_pod = job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]
    for labels in (of_job, of_pod):
        assert labels["codexrun.dev/run-uid"] == UID
        assert labels.keys() & {"other", "absent"} == set()
    assert (of_job["team"], of_job["tier"]) == ("payments", "gold")
    assert (of_pod["team"], of_pod["tier"]) == ("payments", "of the type")


NEEDED = (
    "CODEXRUN_NAMESPACE",
    "CODEXRUN_POD_NAME",
    "CODEXRUN_CONTROL_IMAGE",
    "CODEXRUN_AGENT_IMAGE",
    "CODEXRUN_UPSTREAM_URL",
)


@pytest.mark.parametrize("given", [None, "{}", '{"gate": null, "clone": null}'])
def test_of_a_release_without_resources_the_defaults_hold(given: str | None) -> None:
    environment = dict.fromkeys(NEEDED, "x")
    if given is not None:
        environment["CODEXRUN_POD_RESOURCES"] = given
    pods = settings_from(environment).pods
    assert (pods.gate_resources, pods.clone_resources) == (GATE_RESOURCES, CLONE_RESOURCES)


def test_gate_and_clone_have_the_installation_s_resources() -> None:
    gate = {"requests": {"cpu": "10m"}, "limits": {"cpu": "1", "memory": "512Mi"}}
    clone = {"requests": {"memory": "2Gi"}, "limits": {"cpu": "2", "memory": "3Gi"}}
    settings = replace(SETTINGS, gate_resources=gate, clone_resources=clone)
    job = built(run(workspace=WORKSPACE), kind(git=GIT | {"memory": "1Gi"}), settings)
    assert containers(job)["gate"]["resources"] == gate
    resources = containers(job)["clone"]["resources"]
    assert (resources["limits"]["cpu"], resources["limits"]["memory"]) == ("2", "1Gi")
    assert resources["requests"]["memory"] == "1Gi", "no request above its limit"
