"""Properties of whatever the chart renders: of each file in ci/, of every value alone, and of two
hundred sets of values made at random."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_schemas
import pytest
import yaml
from test_chart import BUILT_IN, CHART, CLUSTER_SCOPED, Manifest, names, pods, run

KUBERNETES = ("1.31", "1.32", "1.33", "1.34", "1.35", "1.36")
CI_FILES = sorted((CHART / "ci").glob("*-values.yaml"))
RANDOM_SETS = 200
# Installed by others, or checked against our own models (tests/unit/operator).
NOT_BUILT_IN = ("CodexJobType", "CustomResourceDefinition", "PrometheusRule", "ServiceMonitor")
# What a release of version 0.1.0 does not have among its values when it is upgraded with
# --reuse-values: Helm then has the old chart's defaults, and nothing in place of the new ones.
NEW_VALUES = (
    "fullnameOverride",
    "image.digest",
    "agentImage.digest",
    *(
        f"{part}.{value}"
        for part in ("operator", "api")
        for value in (
            "annotations",
            "podLabels",
            "podAnnotations",
            "extraEnv",
            "extraVolumes",
            "extraVolumeMounts",
            "priorityClassName",
            "topologySpreadConstraints",
        )
    ),
    "ingress",
    "networkPolicy",
    "podDisruptionBudget",
    "metrics.prometheusRule",
    "metrics.dashboard",
    "rbac",
    "test",
    "git",
    "jobs.gate",
    "jobs.clone",
    "model.identity",
    "model.dropReasoningIds",
    "api.closed",
)


@dataclass(frozen=True)
class Rendered:
    """What helm made of a set of values."""

    values: dict[str, Any]
    manifests: list[Manifest]

    def of_kind(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]


def render(folder: Path, values: Any, *, version: str = "1.34") -> Rendered:
    file = folder / "values.yaml"
    file.write_text(json.dumps(values))
    options = ("-n", "team-a", "--kube-version", version, "-f", str(file))
    done = run("template", "rel", str(CHART), *options)
    assert done.returncode == 0, f"{done.stderr}\n{json.dumps(values)}"
    loaded = list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))
    return Rendered(values, [manifest for manifest in loaded if manifest])


def selected(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def containers(rendered: Rendered) -> Iterator[Manifest]:
    for pod in pods(rendered.manifests):
        yield from pod["spec"]["containers"]


def assert_holds(rendered: Rendered) -> None:
    """Labels, selectors, references, security contexts, resources, images: for any values."""
    manifests = rendered.manifests
    assert len(names(manifests)) == len(manifests), "two objects of one kind and name"
    for manifest in manifests:
        check_metadata(manifest)
    assert {m["kind"] for m in manifests} <= {*BUILT_IN, *NOT_BUILT_IN}
    for pod in pods(manifests):
        check_pod(pod)
    check_references(rendered)
    check_images(rendered)
    assert not rendered.of_kind("Secret"), "a secret in the manifest"


def check_metadata(manifest: Manifest) -> None:
    kind, metadata = manifest["kind"], manifest["metadata"]
    if kind == "CustomResourceDefinition":
        return
    if kind in CLUSTER_SCOPED:
        assert "namespace" not in metadata
        assert "team-a" in metadata["name"]
        assert "rel" in metadata["name"]
    else:
        assert metadata["namespace"] in ("team-a", "monitoring")
        assert len(metadata["name"]) <= 63
    assert metadata["labels"].keys() >= {
        "app.kubernetes.io/name",
        "app.kubernetes.io/instance",
        "app.kubernetes.io/component",
        "app.kubernetes.io/version",
        "app.kubernetes.io/managed-by",
        "app.kubernetes.io/part-of",
        "helm.sh/chart",
    }
    assert all(len(value) <= 63 for value in metadata["labels"].values())


def check_pod(pod: Manifest) -> None:
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] in (True, False)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    assert len(volumes) == len(spec.get("volumes", []))
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
        variables = [variable["name"] for variable in container.get("env", [])]
        assert len(set(variables)) == len(variables)


def check_references(rendered: Rendered) -> None:
    """Whoever is named is there: pods of selectors, Roles and accounts of bindings, Services of an
    Ingress, claims of volumes."""
    present = names(rendered.manifests)
    deployments = rendered.of_kind("Deployment")
    for deployment in deployments:
        spec = deployment["spec"]
        assert selected(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
        account = spec["template"]["spec"].get("serviceAccountName")
        assert account is None or f"ServiceAccount/{account}" in present
        for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]
    templates = [deployment["spec"]["template"] for deployment in deployments]
    for kind, selector_of in (
        ("Service", lambda m: m["spec"]["selector"]),
        ("PodDisruptionBudget", lambda m: m["spec"]["selector"]["matchLabels"]),
    ):
        for manifest in rendered.of_kind(kind):
            matching = [
                t for t in templates if selected(selector_of(manifest), t["metadata"]["labels"])
            ]
            assert len(matching) == 1, manifest["metadata"]["name"]
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in rendered.of_kind(kind):
            assert f"{binding['roleRef']['kind']}/{binding['roleRef']['name']}" in present
            for subject in binding["subjects"]:
                assert f"ServiceAccount/{subject['name']}" in present
                assert subject["namespace"] == "team-a"
    for ingress in rendered.of_kind("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                name = path["backend"]["service"]["name"]
                assert f"Service/{name}" in present
                assert not name.endswith("-ingest")


def check_images(rendered: Rendered) -> None:
    digest = rendered.values.get("image", {}).get("digest")
    for container in containers(rendered):
        image = container["image"]
        assert image.rpartition("/")[2].count(":") == 1
        if digest:
            assert image.endswith(f"@{digest}")


def check_schemas(rendered: Rendered, version: str) -> None:
    for manifest in rendered.manifests:
        if manifest["kind"] in BUILT_IN:
            kubernetes_schemas.validate(manifest, version)


@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.name)
def test_each_example_of_values_is_linted_and_holds(file: Path, tmp_path: Path) -> None:
    done = run("lint", "--strict", str(CHART), "-f", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert_holds(render(tmp_path, yaml.safe_load(file.read_text())))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("file", CI_FILES, ids=lambda file: file.name)
def test_each_example_fits_the_schemas_of_each_kubernetes(
    file: Path, version: str, tmp_path: Path
) -> None:
    rendered = render(tmp_path, yaml.safe_load(file.read_text()), version=version)
    check_schemas(rendered, version)


def test_a_release_of_before_is_upgraded_with_its_own_values(tmp_path: Path) -> None:
    """What is new stays out, and the rights that the api needs come all the same."""
    values: dict[str, Any] = {"demoModel": {"enabled": True}}
    for path in NEW_VALUES:
        *sections, name = path.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = None
    rendered = render(tmp_path, values)
    assert {"NetworkPolicy", "PodDisruptionBudget", "Ingress"}.isdisjoint(
        manifest["kind"] for manifest in rendered.manifests
    )
    assert [role["metadata"]["name"] for role in rendered.of_kind("ClusterRole")] == [
        "codexrun:team-a:rel:token-reviews"
    ]


class Choices:
    """Values made at random, such as somebody might set; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *of: Any) -> Any:
        return self.random.choice(of)

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def image(self) -> dict[str, Any]:
        return {
            "repository": self.one("localhost/codexrun", "registry.example.com:5000/a/codexrun"),
            "tag": self.one("", "1.2.3", "sha-0a1b2c"),
            "digest": self.one("", f"sha256:{self.random.randrange(16**64):064x}"),
            "pullPolicy": self.one("Always", "IfNotPresent", "Never"),
        }

    def resources(self) -> dict[str, Any]:
        return {
            "requests": {"cpu": self.one("10m", 1, "1"), "memory": "64Mi"},
            "limits": {"memory": self.one("256Mi", "2Gi")},
        }

    def part(self) -> dict[str, Any]:
        return {
            "logLevel": self.one("debug", "info", "warning", "error"),
            "resources": self.resources(),
            "annotations": self.one({}, {"reloader.example.com/auto": "true"}),
            "podLabels": self.one({}, {"team": "platform", "tier": "control"}),
            "podAnnotations": self.one({}, {"sidecar.example.com/inject": "false"}),
            "extraEnv": self.one([], [{"name": "TZ", "value": "UTC"}]),
            "extraVolumes": self.one([], [{"name": "ca", "configMap": {"name": "corp-ca"}}]),
            "priorityClassName": self.one("", "platform"),
            "nodeSelector": self.one({}, {"disk": "ssd"}),
            "tolerations": self.one([], [{"operator": "Exists"}]),
            "affinity": self.one(
                {}, {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
            ),
            "topologySpreadConstraints": self.one(
                [],
                [
                    {
                        "maxSkew": 1,
                        "topologyKey": "kubernetes.io/hostname",
                        "whenUnsatisfiable": "ScheduleAnyway",
                    }
                ],
            ),
        }

    def block(self) -> str:
        address = ".".join(str(self.random.randrange(256)) for _ in range(4))
        return f"{address}/{self.random.randrange(32)}"

    def peer(self) -> dict[str, Any]:
        return self.one(  # type: ignore[no-any-return]
            {"ipBlock": {"cidr": self.block()}},
            {"ipBlock": {"cidr": "::/0"}},
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}},
            {"podSelector": {"matchLabels": {"app": "proxy"}}},
        )

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"to": [self.peer() for _ in range(self.random.randint(1, 3))]}
        if self.flag():
            rule["ports"] = [{"port": self.one(443, 8443), "protocol": "TCP"}]
        return rule

    def values(self) -> dict[str, Any]:
        api = self.flag() or self.flag()
        monitoring = {
            "enabled": self.flag(),
            "force": True,
            "namespace": self.one("", "monitoring"),
            "labels": self.one({}, {"release": "kps"}),
        }
        host = "codexrun.example.com"
        return {
            "nameOverride": self.one("", "agents", "a" * 40),
            "fullnameOverride": self.one("", "", "agents", "f" * 50),
            "commonLabels": self.one({}, {"cost-center": "42"}),
            "image": self.image(),
            "agentImage": self.image(),
            "imagePullSecrets": self.one([], [{"name": "mirror"}, {"name": "team"}]),
            "model": {
                "upstreamURL": "https://api.openai.com/v1",
                "existingSecret": self.one("", "codex-model"),
                "queryParams": self.one({}, {"api-version": "preview", "n": 1}),
            },
            "prices": {"configMap": self.one("", "prices")},
            "demoModel": {"enabled": self.flag(), "resources": self.resources()},
            "operator": {"replicas": self.random.randrange(3), **self.part()},
            "api": {
                "enabled": api,
                "token": {"existingSecret": self.one("", "codex-tokens")},
                "externalURL": self.one("", "https://agents.example.com"),
                "persistence": {
                    "enabled": self.flag(),
                    "existingClaim": self.one("", "disk"),
                    "keep": self.flag(),
                },
                "cleanup": {"enabled": self.flag(), "olderThan": "30d"},
                **self.part(),
            },
            "ingress": {
                "enabled": api and self.flag(),
                "hosts": [host],
                "tls": self.one([], [{"secretName": "tls", "hosts": [host]}]),
            },
            "registry": {"existingSecret": self.one("", "codex-registry")},
            "networkPolicy": {
                "enabled": self.flag() or self.flag(),
                "closed": self.flag(),
                "privateRanges": self.flag(),
                "egress": [self.rule() for _ in range(self.random.randrange(4))],
            },
            "podDisruptionBudget": {"enabled": self.flag()},
            "metrics": {
                "serviceMonitor": monitoring,
                "prometheusRule": {**monitoring, "runbookURL": self.one("", "https://x.example")},
                "dashboard": {"enabled": self.flag()},
            },
            "rbac": {"clusterRoles": self.flag(), "aggregateToDefaultRoles": self.flag()},
            "crds": {"install": False},  # large, and the same whatever the rest is
            "admissionPolicy": {"install": self.flag()},
        }


@pytest.mark.parametrize("worker", range(4))
def test_whatever_is_set_holds(worker: int, tmp_path: Path) -> None:
    for seed in range(worker, RANDOM_SETS, 4):
        rendered = render(tmp_path, Choices(seed).values())
        try:
            assert_holds(rendered)
            if seed // 4 % 4 == 0:  # the schemas take longer than everything else
                check_schemas(rendered, "1.34")
        except Exception as error:
            raise AssertionError(f"seed {seed}: {json.dumps(rendered.values)}") from error
