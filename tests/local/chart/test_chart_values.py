"""Values of the chart beyond images and model: what each adds, and what is refused in which
words."""

import json
from typing import Any

import pytest
from test_chart import (
    DEMO,
    REAL,
    Manifest,
    environment,
    hook_of,
    names,
    notes,
    one,
    refusal,
    render,
)

DIGEST = f"sha256:{'0a' * 32}"
PARTS = ("operator", "api")
INGRESS = ("ingress.enabled=true", "ingress.hosts[0]=codexrun.example.com")
TLS = (*INGRESS, "ingress.tls[0].secretName=tls", "ingress.tls[0].hosts[0]=codexrun.example.com")


def pod_of(manifests: list[Manifest], part: str) -> Any:
    return one(manifests, "Deployment", f"codexrun-{part}")["spec"]["template"]


def test_a_digest_stands_in_place_of_the_tag_wherever_the_image_is_named() -> None:
    manifests = render(
        f"image.digest={DIGEST}",
        "image.tag=1.2.3",
        f"agentImage.digest={DIGEST}",
        "image.repository=r",
    )
    given = environment(manifests)
    assert given["CODEXRUN_CONTROL_IMAGE"] == f"r@{DIGEST}"
    assert given["CODEXRUN_AGENT_IMAGE"] == f"localhost/codexrun-agent@{DIGEST}"
    assert pod_of(manifests, "api")["spec"]["containers"][0]["image"] == f"r@{DIGEST}"


@pytest.mark.parametrize("part", PARTS)
def test_extras_reach_the_pod_beside_what_the_chart_sets(part: str) -> None:
    plain = pod_of(render(), part)
    pod = pod_of(
        render(
            f"{part}.podLabels.tier=control",
            f"{part}.podAnnotations.note=hi",
            f"{part}.extraEnv[0].name=TZ",
            f"{part}.extraEnv[0].value=UTC",
            f"{part}.extraVolumes[0].name=ca",
            f"{part}.extraVolumes[0].configMap.name=corp-ca",
            f"{part}.extraVolumeMounts[0].name=ca",
            f"{part}.extraVolumeMounts[0].mountPath=/etc/ca",
            f"{part}.priorityClassName=platform",
        ),
        part,
    )
    assert pod["metadata"]["labels"] == {**plain["metadata"]["labels"], "tier": "control"}
    assert pod["metadata"]["annotations"] == {**plain["metadata"]["annotations"], "note": "hi"}
    (container,), (before,) = pod["spec"]["containers"], plain["spec"]["containers"]
    assert container["env"] == [*before["env"], {"name": "TZ", "value": "UTC"}]
    assert container["volumeMounts"] == [
        *before["volumeMounts"],
        {"name": "ca", "mountPath": "/etc/ca"},
    ]
    assert pod["spec"]["volumes"] == [
        *plain["spec"]["volumes"],
        {"name": "ca", "configMap": {"name": "corp-ca"}},
    ]
    assert pod["spec"]["priorityClassName"] == "platform"


@pytest.mark.parametrize("part", PARTS)
def test_a_spread_without_a_selector_counts_the_pods_of_this_part(part: str) -> None:
    keys = {"maxSkew": "1", "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    first, second = (f"{part}.topologySpreadConstraints[{i}]" for i in range(2))
    pod = pod_of(
        render(
            *(f"{first}.{key}={value}" for key, value in keys.items()),
            *(f"{second}.{key}={value}" for key, value in keys.items()),
            f"{second}.labelSelector.matchLabels.app=other",
        ),
        part,
    )
    filled, own = (c["labelSelector"] for c in pod["spec"]["topologySpreadConstraints"])
    assert filled["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert filled["matchLabels"]["app.kubernetes.io/component"] == part
    assert own == {"matchLabels": {"app": "other"}}


@pytest.mark.parametrize(
    ("part", "name"),
    [("operator", "CODEXRUN_LEASE"), ("api", "CODEX_CONTROL_TOKEN"), ("api", "TZ")],
)
def test_a_variable_that_is_set_already_is_refused(part: str, name: str) -> None:
    entries = [
        f"{part}.extraEnv[{i}].{k}={v}"
        for i in range(2)
        for k, v in (("name", name), ("value", "x"))
    ]
    words = refusal(*DEMO, *entries)
    assert f"{part}.extraEnv: {name} is already set, by the chart or by another entry" in words


def test_one_name_stands_in_front_of_all() -> None:
    manifests = render(
        "fullnameOverride=agents", "crds.install=false", "admissionPolicy.install=false"
    )
    assert all(
        name.partition("/")[2].startswith(("agents-", "codexrun:", "prompt-agents-"))
        for name in names(manifests)
    )


def test_an_ingress_leads_to_rest_and_console_alone() -> None:
    manifests = render(*TLS, "ingress.className=nginx")
    spec = one(manifests, "Ingress", "codexrun-api")["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"secretName": "tls", "hosts": ["codexrun.example.com"]}]
    (rule,) = spec["rules"]
    assert rule["host"] == "codexrun.example.com"
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "codexrun-api", "port": {"name": "http"}}


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ((), None),
        (INGRESS, "http://codexrun.example.com"),
        (TLS, "https://codexrun.example.com"),
        ((*TLS, "api.externalURL=https://other.example.com"), "https://other.example.com"),
    ],
    ids=["nobody comes from outside", "without a certificate", "with one", "as told"],
)
def test_links_lead_to_where_the_ingress_is(values: tuple[str, ...], url: str | None) -> None:
    assert environment(render(*values), "codexrun-api").get("CODEXRUN_EXTERNAL_URL") == url


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("ingress.enabled=true",), "ingress.hosts: an Ingress without a host takes"),
        ((*INGRESS, "api.enabled=false"), "ingress.enabled: there is nothing to reach without the"),
        (
            ("metrics.prometheusRule.enabled=true",),
            "or set metrics.prometheusRule.force=true to render it anyway",
        ),
    ],
    ids=["no host", "no api", "no Prometheus Operator"],
)
def test_what_cannot_work_is_refused_with_the_way_out(values: tuple[str, ...], words: str) -> None:
    assert words in refusal(*DEMO, *values)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("fullnameOverride=Agents", "/fullnameOverride"),
        ("image.digest=1.2.3", "/image/digest"),
        (f"agentImage.digest={DIGEST[:-1]}", "/agentImage/digest"),
        (
            "commonLabels.app\\.kubernetes\\.io/name=x",
            "commonLabels: app.kubernetes.io/name is the chart's own label; leave it out",
        ),
        ("operator.podLabels.app\\.kubernetes\\.io/component=x", "operator.podLabels: app.kub"),
        ("api.podLabels.codexrun\\.dev/run=x", "api.podLabels: codexrun.dev/run is"),
        ("api.podAnnotations.a=1", "/api/podAnnotations"),
        ("api.extraEnv[0].value=x", "/api/extraEnv/0"),
        ("operator.extraVolumes[0].emptyDir=x", "/operator/extraVolumes/0"),
        ("operator.extraVolumeMounts[0].name=x", "/operator/extraVolumeMounts/0"),
        (
            "operator.topologySpreadConstraints[0].maxSkew=1",
            "/operator/topologySpreadConstraints/0",
        ),
        ("ingress.hosts[0]=https://codexrun.example.com", "/ingress/hosts/0"),
        ("ingress.tls[0].secretName=x", "/ingress/tls/0"),
        ("ingress.host=x", "host"),
        ("networkPolicy.egress[0].ports[0].port=443", "/networkPolicy/egress/0"),
        ("networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0", "/networkPolicy/egress/0"),
        ("networkPolicy.egress[0].to[0].cidr=10.0.0.0/8", "/networkPolicy/egress/0"),
        ("networkPolicy.closed=sometimes", "/networkPolicy/closed"),
        ("podDisruptionBudget.minAvailable=1", "minAvailable"),
        ("metrics.prometheusRule.alerts.CodexrunApiGone.enabled=false", "CodexrunApiGone"),
        ("metrics.prometheusRule.alerts.CodexrunApiDown.threshold=1", "threshold"),
        ("metrics.prometheusRule.alerts.CodexrunApiDown.for=soon", "CodexrunApiDown/for"),
        ("metrics.dashboard.enabled=perhaps", "/metrics/dashboard/enabled"),
        ("rbac.clusterRole=true", "clusterRole"),
        ("test.model=gpt 5", "/test/model"),
    ],
)
def test_a_wrong_value_is_refused_by_name(value: str, named: str) -> None:
    assert named in refusal(*DEMO, value)


def test_people_have_rights_by_the_cluster_s_own_roles() -> None:
    """A job type grants power, so it takes an admin."""
    aggregated: dict[str, dict[str, set[str]]] = {}
    for role in render():
        if role["kind"] != "ClusterRole":
            continue
        for label in role["metadata"]["labels"]:
            _, there, builtin = label.partition("/aggregate-to-")
            if there:
                rights = aggregated.setdefault(builtin, {})
                for rule in role["rules"]:
                    for resource in rule["resources"]:
                        rights.setdefault(resource, set()).update(rule["verbs"])
    read = {"get", "list", "watch"}
    write = read | {"create", "update", "patch", "delete", "deletecollection"}
    assert aggregated == {
        "view": {"codexruns": read, "codexjobtypes": read},
        "edit": {"codexruns": write, "codexjobtypes": read},
        "admin": {"codexruns": write, "codexjobtypes": write},
    }
    roles = {n for n in names(render("rbac.aggregateToDefaultRoles=false")) if "ClusterRole/" in n}
    assert roles == {"ClusterRole/codexrun:codexrun:codexrun:token-reviews"}


def test_budgets_never_hold_up_a_drain() -> None:
    for part in PARTS:
        spec = one(render(), "PodDisruptionBudget", f"codexrun-{part}")["spec"]
        assert (spec["maxUnavailable"], "minAvailable" in spec) == (1, False)
    assert not any(
        name.startswith("PodDisruptionBudget")
        for name in names(render("podDisruptionBudget.enabled=false"))
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            ("registry.url=postgresql://codexrun:secret@db/codexrun",),
            "set registry.existingSecret to its name",
        ),
        (("rbac.clusterRoles=false",), "Logs are not archived until"),
        (INGRESS, "the Ingress has no certificate (ingress.tls)"),
    ],
    ids=["a password in a value", "no TokenReview", "no certificate"],
)
def test_notes_warn(values: tuple[str, ...], words: str) -> None:
    text = notes(*DEMO, *values)
    assert words in " ".join(text.split())
    assert "secret@" not in text
    assert words not in " ".join(notes(*DEMO).split())


def test_notes_name_the_place_that_people_reach() -> None:
    assert "https://codexrun.example.com/runs" in notes(*DEMO, *TLS)
    assert "http://codexrun-api.codexrun:8080/runs" in notes(*DEMO)
    assert "helm test codexrun -n codexrun" in notes(*DEMO)


def test_hooks_are_the_token_and_the_test_and_no_others() -> None:
    assert {hook_of(manifest) for manifest in render(*REAL)} == {
        None,
        "pre-install,pre-upgrade",
        "test",
    }


def test_the_dashboard_is_one_that_grafana_s_sidecar_takes() -> None:
    manifests = render("metrics.dashboard.enabled=true", "metrics.dashboard.namespace=monitoring")
    dashboard = one(manifests, "ConfigMap", "codexrun-dashboard")
    assert dashboard["metadata"]["namespace"] == "monitoring"
    assert dashboard["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(dashboard["data"]["codexrun.json"])["uid"] == "codexrun"
