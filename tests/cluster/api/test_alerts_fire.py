"""Alerts fire for real, by a real Prometheus with the chart's rules, and resolve when the trouble
is over. `for`, thresholds and windows are shortened; conditions are the chart's.

Some are left to promtool (tests/local/chart/test_chart_alerts.py): CodexrunArchiveFull,
whose series are the kubelet's, CodexrunRegistryBehind, which takes a database that is away,
CodexrunLogGaps, and CodexrunUnreadableObjects, since the CRDs keep such objects out.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
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


def rules(lab: Lab) -> Json:
    """The chart's rules, with what is a value shortened."""
    lowered = {
        "CodexrunQueueOld": 1,
        "CodexrunRunsFail": 1,
        "CodexrunBudgetUsedUp": 1,
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


class Alerting:
    """A Prometheus that evaluates the rules each second."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self._lab = lab
        self._targets = folder / "targets.json"
        self.look_again()
        (folder / "rules.yml").write_text(yaml.safe_dump(rules(lab)))
        config = configuration(monitor(lab), self._targets)
        config["global"] = {"evaluation_interval": "1s"}
        config["rule_files"] = [str(folder / "rules.yml")]
        self.prometheus = Prometheus(folder, config)

    def look_again(self) -> None:
        """Follow the endpoints: a pod that came back has another address."""
        self._targets.write_text(json.dumps(discovered(self._lab)))

    def fires(self, alert: str) -> bool:
        query = f'ALERTS{{alertname="{alert}",alertstate="firing"}}'
        return bool(self.prometheus.values(query))

    def until(self, alert: str, *, fires: bool) -> None:
        for _ in patiently():
            if self.fires(alert) is fires:
                return
        raise AssertionError(f"{alert} {'never fired' if fires else 'never resolved'}")


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


FAILING = [
    ("CodexrunRunsFail", "no-message", {}),
    ("CodexrunProviderRefuses", "401", {}),
    ("CodexrunBudgetUsedUp", "runaway", {"limits": {"maxTokens": 2000, "timeoutSeconds": 120}}),
]


@pytest.mark.disruptive
@pytest.mark.parametrize(("alert", "scenario", "spec"), FAILING, ids=[row[0] for row in FAILING])
def test_runs_that_fail(
    lab: Lab, alerting: Alerting, alert: str, scenario: str, spec: Json
) -> None:
    job_type = lab.job_type(**spec)
    with fired(alerting, alert):
        # The first makes the series of the job type: increase() counts from what it saw before.
        assert lab.ended(lab.run(job_type, scenario))["status"]["phase"] == "Failed"
        alerting.prometheus.until_scraped()
        assert lab.ended(lab.run(job_type, scenario))["status"]["phase"] == "Failed"
        alerting.until(alert, fires=True)


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
        for _ in patiently():
            alerting.look_again()
            if not alerting.fires("CodexrunOperatorDown"):
                break


@pytest.mark.disruptive
def test_an_api_that_is_down(facade: Facade, alerting: Alerting) -> None:
    with fired(alerting, "CodexrunApiDown"):
        with facade.away():
            alerting.until("CodexrunApiDown", fires=True)
        for _ in patiently():
            alerting.look_again()
            if not alerting.fires("CodexrunApiDown"):
                break
