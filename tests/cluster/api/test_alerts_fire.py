"""Every alert fires for real, by a real Prometheus with the chart's rules, and resolves when the
trouble is over. `for`, thresholds and windows are shortened; conditions are the chart's.

Troubles that do not disturb each other are made at once: what takes time is that they are told,
and that they are over.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml
from lab import NAMESPACE, ROOT, Json, Lab
from rest_facade import Facade
from test_prometheus import (
    Prometheus,
    configuration,
    discovered,
    monitor,
    need_prometheus,
    patiently,
    pytestmark,
)

__all__ = ["pytestmark"]  # where no Prometheus reaches the pods
WINDOW = "20s"
OPERATOR = "deployment/codexrun-operator"
ROLE = "codexrun-operator"
HELD = "codexrun.test/held"
CLAIM = "codexrun-api"
VOLUME_BYTES = 128 * 1024 * 1024
# A little below the twentieth that the archive leaves to the registry.
LEFT_BYTES = VOLUME_BYTES // 21


def rules(lab: Lab) -> Json:
    """The chart's rules, with what is a value shortened."""
    lowered = {
        "CodexrunQueueOld": 1,
        "CodexrunRunsFail": 1,
        "CodexrunBudgetUsedUp": 1,
        "CodexrunRegistryBehind": 1,
    }
    settings = ["enabled=true", "force=true"]
    settings += [f"alerts.{name}.threshold={value}" for name, value in lowered.items()]
    flags = [word for each in settings for word in ("--set", f"metrics.prometheusRule.{each}")]
    template = ("helm", "template", "codexrun", str(ROOT / "charts/codexrun"), "-n", NAMESPACE)
    show = ("--set", "demoModel.enabled=true")
    only = ("--show-only", "templates/monitoring/prometheusrule.yaml")
    spec: Json = yaml.safe_load(lab.sh(*template, *show, *flags, *only).stdout)["spec"]
    for group in spec["groups"]:
        for rule in group["rules"]:
            rule["for"] = "0s"
            rule["expr"] = re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rule["expr"])
    return spec


def kubelet(lab: Lab) -> Json:
    """Scrape what the kubelet exports of volumes, through the apiserver."""
    (node,) = lab.core.list_node().items
    apiserver = lab.core.api_client.configuration
    volumes = {"source_labels": ["__name__"], "regex": "kubelet_volume_stats_.*", "action": "keep"}
    return {
        "job_name": "kubelet",
        "scheme": "https",
        "metrics_path": f"/api/v1/nodes/{node.metadata.name}/proxy/metrics",
        "scrape_interval": "3s",
        "scrape_timeout": "3s",
        "honor_labels": True,
        "tls_config": {
            "ca_file": apiserver.ssl_ca_cert,
            "cert_file": apiserver.cert_file,
            "key_file": apiserver.key_file,
        },
        "static_configs": [{"targets": [apiserver.host.removeprefix("https://")]}],
        "metric_relabel_configs": [volumes],
    }


class Alerting:
    """A Prometheus that evaluates the rules each second."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._targets = folder / "targets.json"
        self.look_again()
        (folder / "rules.yml").write_text(yaml.safe_dump(rules(lab)))
        config = configuration(monitor(lab), self._targets)
        config["global"] = {"evaluation_interval": "1s"}
        config["scrape_configs"].append(kubelet(lab))
        config["rule_files"] = [str(folder / "rules.yml")]
        self.prometheus = Prometheus(folder, config)

    def look_again(self) -> None:
        """Follow the endpoints: a pod that came back has another address."""
        self._targets.write_text(json.dumps(discovered(self._lab)))

    def fires(self, alert: str, **labels: str) -> bool:
        """Whether it does for any series that has these labels."""
        return bool(self.prometheus.values(firing(alert, **labels)))

    def until(self, alert: str, *, fires: bool, **labels: str) -> None:
        for _ in patiently():
            if self.fires(alert, **labels) is fires:
                return
        raise AssertionError(f"{alert} {labels} {'never fired' if fires else 'never resolved'}")

    def until_fired(self, alert: str, job_type: str) -> None:
        """Until it fires for a job type of this test's, or has."""
        for _ in patiently():
            if self.prometheus.values(f"count_over_time({firing(alert, job_type=job_type)}[10m])"):
                return
        raise AssertionError(f"{alert} never fired for {job_type}")

    def until_back(self, alert: str) -> None:
        """Until it has resolved, where the pods that it is about come back."""
        for _ in patiently():
            self.look_again()
            if not self.fires(alert):
                return
        raise AssertionError(f"{alert} never resolved")


def firing(alert: str, **labels: str) -> str:
    """The series of an alert that fires."""
    wanted = {"alertname": alert, "alertstate": "firing", **labels}
    matchers = ",".join(f'{label}="{value}"' for label, value in wanted.items())
    return f"ALERTS{{{matchers}}}"


@pytest.fixture(scope="module")
def alerting(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alerting]:
    need_prometheus()
    # Other tests' runs that still wait are trouble too.
    for run in lab.custom.list_namespaced_custom_object(*lab.run_kind)["items"]:
        if run.get("status", {}).get("phase") == "Queued":
            lab.cancel(run)
            lab.ended(run)
    made = Alerting(lab, tmp_path_factory.mktemp("alerting"))
    made.prometheus.targets()
    yield made
    made.prometheus.stop()


@contextmanager
def fired(alerting: Alerting, *names: str) -> Iterator[None]:
    """The block makes a trouble and ends it; afterwards each alert resolves. None fires before."""
    for name in names:
        alerting.until(name, fires=False)
    yield
    for name in names:
        alerting.until(name, fires=False)


@contextmanager
def no_jobs(lab: Lab) -> Iterator[None]:
    """The operator's Role without the right to create Jobs."""
    before = json.loads(lab.kubectl("get", "role", ROLE, "-o", "json").stdout)["rules"]
    without = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if verb != "create"]}
        if "jobs" in rule["resources"]
        else rule
        for rule in before
    ]

    lab.set_rules(ROLE, without)
    try:
        yield
    finally:
        lab.set_rules(ROLE, before)


@pytest.mark.disruptive
def test_a_held_job_type_and_an_old_queue(lab: Lab, alerting: Alerting) -> None:
    job_type = lab.job_type()
    with fired(alerting, "CodexrunJobTypeHeld", "CodexrunQueueOld"):
        with no_jobs(lab):
            run = lab.run(job_type, "message")
            alerting.until("CodexrunJobTypeHeld", fires=True)
            alerting.until("CodexrunQueueOld", fires=True)
        assert lab.ended(run)["status"]["phase"] == "Succeeded"


BUDGET = {"limits": {"maxTokens": 2000, "timeoutSeconds": 120}}
FAILING = [
    ("CodexrunRunsFail", "no-message", {}),
    ("CodexrunProviderRefuses", "401", {}),
    ("CodexrunProviderRefuses", "quota", {}),
    ("CodexrunBudgetUsedUp", "runaway", BUDGET),
]


@pytest.mark.disruptive
def test_runs_that_fail(lab: Lab, alerting: Alerting) -> None:
    job_types = [lab.job_type(**spec) for *_, spec in FAILING]

    def fail() -> None:
        runs = [
            lab.run(job_type, scenario)
            for job_type, (_, scenario, _) in zip(job_types, FAILING, strict=True)
        ]
        assert [lab.ended(run)["status"]["phase"] for run in runs] == ["Failed"] * len(runs)

    with fired(alerting, *(alert for alert, *_ in FAILING)):
        # The first make the series of the job types: increase() counts from what it saw before.
        fail()
        alerting.prometheus.until_scraped()
        fail()
        for job_type, (alert, *_) in zip(job_types, FAILING, strict=True):
            alerting.until_fired(alert, job_type)


@pytest.mark.disruptive
def test_a_run_that_stays_stopping(lab: Lab, alerting: Alerting) -> None:
    run = lab.in_a_command(lab.run(lab.job_type(), "sleep-300"))
    pod = lab.pod(run).metadata.name
    patch_finalizers(lab, pod, {"finalizers": [HELD]})
    with fired(alerting, "CodexrunStoppingTooLong"):
        lab.cancel(run)
        lab.kubectl("delete", "pod", pod, "--wait=false")
        alerting.until("CodexrunStoppingTooLong", fires=True)
        patch_finalizers(lab, pod, {"$deleteFromPrimitiveList/finalizers": [HELD]})
        lab.ended(run)


def patch_finalizers(lab: Lab, pod: str, metadata: Json) -> None:
    """Add or take away ours alone: a strategic merge knows the list as a set."""
    patch = json.dumps({"metadata": metadata})
    lab.kubectl("patch", "pod", pod, "--type=strategic", "-p", patch)


@pytest.mark.disruptive
def test_an_operator_that_is_down(lab: Lab, alerting: Alerting) -> None:
    with fired(alerting, "CodexrunOperatorDown"):
        lab.kubectl("scale", OPERATOR, "--replicas=0")
        try:
            alerting.until("CodexrunOperatorDown", fires=True)
        finally:
            lab.kubectl("scale", OPERATOR, "--replicas=1")
            lab.kubectl("rollout", "status", OPERATOR, "--timeout=120s")
        alerting.until_back("CodexrunOperatorDown")


@contextmanager
def small_volume(lab: Lab, facade: Facade, alerting: Alerting) -> Iterator[Path]:
    """The api with its registry on a small volume, which is yielded, and as it was afterwards. What
    its runs leave is lost."""
    claim = lab.core.read_namespaced_persistent_volume_claim(CLAIM, NAMESPACE)
    folder = Path(lab.core.read_persistent_volume(claim.spec.volume_name).spec.local.path)
    mounted = False
    try:
        with fired(alerting, "CodexrunApiDown"):
            with facade.away():
                alerting.until("CodexrunApiDown", fires=True)
                mount_over(folder)
                mounted = True
            alerting.until_back("CodexrunApiDown")
        yield folder
    finally:
        with facade.away():
            if mounted:
                subprocess.run(["umount", folder], check=True)
        alerting.look_again()


def mount_over(folder: Path) -> None:
    """Lay a small empty volume over a large one. The registry is taken along: to an empty one all
    runs of the cluster would be new, and their logs gone."""
    registry = [(file, file.read_bytes(), file.stat()) for file in folder.glob("registry.db*")]
    options = f"size={VOLUME_BYTES},mode=0777"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", folder], check=True)
    for file, content, stat in registry:
        file.write_bytes(content)
        os.chown(file, stat.st_uid, stat.st_gid)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """A volume that somebody's file has filled, but for a part of the registry's share."""
    file = folder / "filler"
    free = shutil.disk_usage(folder).free
    file.write_bytes(bytes(free - LEFT_BYTES))
    try:
        yield
    finally:
        file.unlink()


@contextmanager
def locked(registry: Path) -> Iterator[None]:
    """A SQLite file that somebody else writes to all the time."""
    with closing(sqlite3.connect(registry, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def edited(lab: Lab) -> Iterator[None]:
    """A run with a time that the CRD lets through and no calendar of Python has."""
    run = lab.phase(lab.run(lab.job_type(suspended=True), "message"), "Queued")
    name = run["metadata"]["name"]
    patch = json.dumps({"status": {"startedAt": "0000-01-01T00:00:00Z"}})
    lab.kubectl("patch", "cxr", name, "--subresource=status", "--type=merge", "-p", patch)
    try:
        yield
    finally:
        lab.kubectl("delete", "cxr", name)


@pytest.mark.disruptive
def test_an_api_in_trouble(lab: Lab, facade: Facade, alerting: Alerting) -> None:
    """It is away; its volume is full, so that a killed pod's log has a gap; its registry is locked;
    and there is a run that neither it nor the operator can read."""
    job_type = lab.job_type()
    names = ("CodexrunArchiveFull", "CodexrunLogGaps", "CodexrunRegistryBehind")
    unreadable = "CodexrunUnreadableObjects"
    with small_volume(lab, facade, alerting) as folder, fired(alerting, *names, unreadable):
        with filled(folder):
            run = lab.in_a_command(lab.run(job_type, "sleep-300"))
            with locked(folder / "registry.db"), edited(lab):
                pod = lab.pod(run).metadata.name
                lab.kubectl("delete", "pod", pod, "--force", "--grace-period=0")
                for part in ("operator", "api"):
                    alerting.until(unreadable, service=f"codexrun-{part}", fires=True)
                lab.ended(run)
                alerting.until("CodexrunRegistryBehind", fires=True)
            # Those of a log come last, and pass; a volume stays as full as it is.
            alerting.until("CodexrunLogGaps", fires=True)
            alerting.until("CodexrunArchiveFull", fires=True)
            row = facade.until(run, "cancelled", log_closed=True)
            assert row["log_complete"] is False
        # The registry of the large volume has never had it.
        lab.kubectl("delete", "cxr", run["metadata"]["name"])
