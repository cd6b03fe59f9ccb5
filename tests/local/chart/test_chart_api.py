"""The api's part of the chart: token, registry, storage, monitor, cleanup."""

import json

import pytest
from test_chart import DEMO, HOOKS, Manifest, environment, names, notes, one, refusal, render

MONITOR = ("metrics.serviceMonitor.enabled=true", "metrics.serviceMonitor.force=true")


def container(manifests: list[Manifest]) -> Manifest:
    (found,) = one(manifests, "Deployment", "codexrun-api")["spec"]["template"]["spec"][
        "containers"
    ]
    return found


def variables(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {variable["name"]: variable for variable in container(manifests)["env"]}


def claim(manifests: list[Manifest]) -> Manifest:
    volumes = one(manifests, "Deployment", "codexrun-api")["spec"]["template"]["spec"]["volumes"]
    return next(volume for volume in volumes if volume["name"] == "data")


def test_one_replica_that_is_replaced_never_doubled() -> None:
    spec = one(render(), "Deployment", "codexrun-api")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_a_token_is_made_and_the_api_and_the_cleanup_use_it() -> None:
    manifests = render()
    assert "Job/codexrun-api-token" in names(manifests)
    reference = {"name": "codexrun-api-token", "key": "token"}
    assert variables(manifests)["CODEX_CONTROL_TOKEN"]["valueFrom"]["secretKeyRef"] == reference
    job = one(manifests, "CronJob", "codexrun-cleanup")["spec"]["jobTemplate"]["spec"]["template"][
        "spec"
    ]
    (cleanup,) = job["containers"]
    assert cleanup["command"][:3] == ["python3", "-m", "codexrun_api.runs.cleanup_job"]
    env = {variable["name"]: variable for variable in cleanup["env"]}
    assert env["CODEX_CONTROL_TOKEN"]["valueFrom"]["secretKeyRef"] == reference
    assert env["CODEX_CONTROL_URL"]["value"] == "http://codexrun-api:8080"


def test_an_existing_token_is_used_and_read_as_a_folder_so_that_it_can_change() -> None:
    manifests = render("api.token.existingSecret=mine")
    assert not HOOKS & names(manifests)
    assert (
        variables(manifests)["CODEX_CONTROL_TOKEN"]["valueFrom"]["secretKeyRef"]["name"] == "mine"
    )
    assert (
        environment(manifests, "codexrun-api")["CODEXRUN_TOKEN_FILE"]
        == "/var/run/codexrun/tokens/tokens"
    )
    assert not any("subPath" in mount for mount in container(manifests)["volumeMounts"])


def test_the_registry_is_sqlite_on_the_volume_unless_said_otherwise() -> None:
    assert "CODEXRUN_REGISTRY_URL" not in variables(render())
    named = variables(render("registry.url=postgresql://codexrun@db/codexrun"))
    assert named["CODEXRUN_REGISTRY_URL"]["value"] == "postgresql://codexrun@db/codexrun"
    secret = variables(render("registry.existingSecret=db"))["CODEXRUN_REGISTRY_URL"]["valueFrom"][
        "secretKeyRef"
    ]
    assert secret == {"name": "db", "key": "url"}


def test_storage_is_a_claim_of_ours_yours_or_none() -> None:
    made = render("api.persistence.size=20Gi", "api.persistence.storageClass=fast")
    spec = one(made, "PersistentVolumeClaim", "codexrun-api")["spec"]
    assert (spec["storageClassName"], spec["resources"]["requests"]["storage"]) == ("fast", "20Gi")
    assert claim(made)["persistentVolumeClaim"]["claimName"] == "codexrun-api"
    yours = render("api.persistence.existingClaim=disk")
    assert claim(yours)["persistentVolumeClaim"]["claimName"] == "disk"
    assert "PersistentVolumeClaim/codexrun-api" not in names(yours)
    assert "emptyDir" in claim(render("api.persistence.enabled=false"))


def test_ingest_is_a_service_of_its_own() -> None:
    ports = {
        name: [p["port"] for p in one(render(), "Service", name)["spec"]["ports"]]
        for name in ("codexrun-api", "codexrun-ingest")
    }
    assert 8081 not in ports["codexrun-api"]
    assert ports["codexrun-ingest"] == [8081]


def test_gates_are_told_where_to_ship_only_where_an_api_listens() -> None:
    def told(*values: str) -> str | None:
        (operator,) = one(render(*values), "Deployment", "codexrun-operator")["spec"]["template"][
            "spec"
        ]["containers"]
        return next(
            (e["value"] for e in operator["env"] if e["name"] == "CODEXRUN_INGEST_URL"), None
        )

    assert told() == "http://codexrun-ingest.codexrun:8081"
    assert told("api.enabled=false") is None


def test_the_monitor_selects_the_metrics_ports_of_operator_and_api() -> None:
    manifests = render(
        *MONITOR, "metrics.serviceMonitor.labels.release=kps", "metrics.serviceMonitor.interval=15s"
    )
    monitor = one(manifests, "ServiceMonitor", "codexrun")
    assert monitor["metadata"]["labels"]["release"] == "kps"
    assert monitor["spec"]["endpoints"] == [
        {"port": "metrics", "path": "/metrics", "interval": "15s", "honorLabels": True}
    ]
    selector = monitor["spec"]["selector"]
    for service in (m for m in manifests if m["kind"] == "Service"):
        labels = service["metadata"]["labels"]
        selected = selector["matchLabels"].items() <= labels.items() and all(
            (labels.get(e["key"]) in e["values"])
            if e["operator"] == "In"
            else e["key"] not in labels
            for e in selector["matchExpressions"]
        )
        has_port = "metrics" in [port["name"] for port in service["spec"]["ports"]]
        assert selected == has_port, service["metadata"]["name"]


def test_the_monitor_goes_to_another_namespace_when_asked() -> None:
    monitor = one(
        render(*MONITOR, "metrics.serviceMonitor.namespace=monitoring"),
        "ServiceMonitor",
        "codexrun",
    )
    assert monitor["metadata"]["namespace"] == "monitoring"
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["codexrun"]}


def test_a_monitor_without_its_definition_is_refused_with_the_way_out() -> None:
    said = refusal(*DEMO, "metrics.serviceMonitor.enabled=true")
    assert "install the Prometheus Operator first, or set metrics.serviceMonitor.force=true" in said


def test_cleanup_can_be_told_when_and_what() -> None:
    job = one(
        render("api.cleanup.olderThan=30d", "api.cleanup.schedule=0 1 * * *"),
        "CronJob",
        "codexrun-cleanup",
    )
    assert job["spec"]["schedule"] == "0 1 * * *"
    (cleanup,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert cleanup["command"][-2:] == ["--older-than", "30d"]
    assert "CronJob/codexrun-cleanup" not in names(render("api.cleanup.enabled=false"))


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("api.enabeld=true", "enabeld"),
        ("api.externalURL=codexrun.example.com", "/api/externalURL"),
        ("api.persistence.size=lots", "/api/persistence/size"),
        ("api.cleanup.olderThan=fortnight", "/api/cleanup/olderThan"),
        ("registry.url=mysql://db/x", "/registry/url"),
        ("metrics.serviceMonitor.interval=often", "/metrics/serviceMonitor/interval"),
    ],
)
def test_a_wrong_value_of_the_api_is_refused_by_name(value: str, named: str) -> None:
    assert named in refusal(*DEMO, value)


def test_notes_say_how_to_call_it() -> None:
    text = notes(*DEMO)
    assert "kubectl get secret -n codexrun codexrun-api-token" in text
    assert "curl" not in notes(*DEMO, "api.enabled=false")


def test_the_console_is_made_read_only_by_a_value() -> None:
    assert "CODEXRUN_CONSOLE_READ_ONLY" not in variables(render())
    assert (
        variables(render("console.readOnly=true"))["CODEXRUN_CONSOLE_READ_ONLY"]["value"] == "true"
    )
    assert "console" in refusal("console.readonly=true")


def test_links_of_the_console_are_values_and_only_of_the_web() -> None:
    assert "CODEXRUN_CONSOLE_LINKS" not in variables(render())
    url = "https://logs.example.com/?run=${name}&from=$(start)"
    value = variables(render("console.links[0].name=Loki", f"console.links[0].url={url}"))[
        "CODEXRUN_CONSOLE_LINKS"
    ]["value"]
    # The kubelet reads $(x) as a variable, and $$(x) as $(x).
    assert json.loads(value) == [{"name": "Loki", "url": url.replace("$(", "$$(")}]
    assert "/console/links/0/url" in refusal(
        "console.links[0].name=x", "console.links[0].url=javascript:alert(1)"
    )
    assert "/console/links/0" in refusal("console.links[0].name=x")


def test_a_closed_api_is_scraped_with_its_token_and_the_operator_never_gets_it() -> None:
    manifests = render(*MONITOR, "api.closed=true")
    (api,) = one(manifests, "Deployment", "codexrun-api")["spec"]["template"]["spec"]["containers"]
    assert {"name": "CODEXRUN_CLOSED", "value": "true"} in api["env"]
    for name, component in (("codexrun", "operator"), ("codexrun-api", "api")):
        spec = one(manifests, "ServiceMonitor", name)["spec"]
        (expression, _) = spec["selector"]["matchExpressions"]
        assert expression["values"] == [component]
        (endpoint,) = spec["endpoints"]
        credentials = endpoint.get("authorization", {}).get("credentials")
        secret = {"name": "codexrun-api-token", "key": "token"}
        assert credentials == (secret if component == "api" else None)
    said = refusal(
        *DEMO, *MONITOR, "api.closed=true", "metrics.serviceMonitor.namespace=monitoring"
    )
    assert "set api.closed=false" in said


def test_probes_have_a_port_that_no_service_and_no_policy_opens() -> None:
    manifests = render()
    (api,) = one(manifests, "Deployment", "codexrun-api")["spec"]["template"]["spec"]["containers"]
    assert {api[probe]["httpGet"]["port"] for probe in api if probe.endswith("Probe")} == {"probes"}
    assert {"name": "probes", "containerPort": 8082} in api["ports"]
    services = [each["spec"]["ports"] for each in manifests if each["kind"] == "Service"]
    policy = one(manifests, "NetworkPolicy", "codexrun-api")["spec"]["ingress"]
    ports = [str(port) for ports in services for port in ports] + [str(policy)]
    assert not any("probes" in text or "8082" in text for text in ports)
