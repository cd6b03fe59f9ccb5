"""Alerts and dashboard of the chart: promtool accepts them, every series in them is exported, each
alert fires for what it is there for and for nothing less, and has its runbook."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from expositions import exposition
from prometheus_client.parser import text_string_to_metric_families
from promtools import need_prometheus
from test_chart import DEMO, ROOT, Manifest, names, one, render

RULES = ("metrics.prometheusRule.enabled=true", "metrics.prometheusRule.force=true")
# The kubelet's, and every process'; the others are ours.
FOREIGN = {
    "kubelet_volume_stats_available_bytes",
    "kubelet_volume_stats_capacity_bytes",
    "process_resident_memory_bytes",
}
OPERATOR = 'namespace="codexrun",service="codexrun-operator"'
API = 'namespace="codexrun",service="codexrun-api"'
VOLUME = 'namespace="codexrun",persistentvolumeclaim="codexrun-api"'
PRESENT = [
    {"series": f"codexrun_operator_leader{{{OPERATOR}}}", "values": "1x600"},
    {"series": f"codexrun_api_build_info{{{API}}}", "values": "1x600"},
]


def rule(*values: str) -> Manifest:
    return one(render(*RULES, *values), "PrometheusRule", "codexrun")


def alerts(*values: str) -> dict[str, Manifest]:
    (group,) = rule(*values)["spec"]["groups"]
    return {alert["alert"]: alert for alert in group["rules"]}


def runs(phase: str, failure_class: str, values: str) -> dict[str, str]:
    labels = f'{OPERATOR},job_type="review",phase="{phase}",failure_class="{failure_class}"'
    return {"series": f"codexrun_runs_finished_total{{{labels}}}", "values": values}


def series(name: str, labels: str, values: str) -> dict[str, str]:
    return {"series": f"{name}{{{labels}}}", "values": values}


@dataclass(frozen=True)
class Case:
    """One minute a value. `at`: when it is looked, in minutes."""

    alert: str
    why: str
    given: list[dict[str, str]]
    at: int
    fires: bool = True
    labels: str = ""  # further ones of the alert


REVIEW = 'job_type="review"'
CASES = [
    Case("CodexrunOperatorDown", "no operator is scraped", PRESENT[1:], 6),
    Case("CodexrunOperatorDown", "but for 4 minutes only", PRESENT[1:], 4, fires=False),
    Case(
        "CodexrunOperatorDown",
        "two are, and none leads",
        [*PRESENT[1:], series("codexrun_operator_leader", f'{OPERATOR},pod="a"', "0x600")],
        6,
    ),
    Case(
        "CodexrunOperatorDown",
        "one of two leads",
        [*PRESENT, series("codexrun_operator_leader", f'{OPERATOR},pod="b"', "0x600")],
        60,
        fires=False,
    ),
    Case("CodexrunApiDown", "no api is scraped", PRESENT[:1], 6, labels='service="codexrun-api"'),
    Case(
        "CodexrunApiDown",
        "the api of another namespace does not count",
        [*PRESENT[:1], series("codexrun_api_build_info", 'namespace="b",service="x"', "1x600")],
        6,
        labels='service="codexrun-api"',
    ),
    Case(
        "CodexrunRegistryBehind",
        "by ten minutes",
        [series("codexrun_registry_lag_seconds", API, "600x60")],
        6,
    ),
    Case(
        "CodexrunRegistryBehind",
        "by four",
        [series("codexrun_registry_lag_seconds", API, "240x60")],
        60,
        fires=False,
    ),
    Case(
        "CodexrunQueueOld",
        "since the first minute, for an hour and more",
        [series("codexrun_oldest_pending_timestamp_seconds", OPERATOR, "1x120")],
        66,
    ),
    Case(
        "CodexrunQueueOld",
        "for half an hour",
        [series("codexrun_oldest_pending_timestamp_seconds", OPERATOR, "1x120")],
        30,
        fires=False,
    ),
    Case(
        "CodexrunQueueOld",
        "nobody waits, which is told as 0",
        [series("codexrun_oldest_pending_timestamp_seconds", OPERATOR, "0x120")],
        110,
        fires=False,
    ),
    Case(
        "CodexrunStoppingTooLong",
        "at every moment",
        [series("codexrun_runs", f'{OPERATOR},{REVIEW},phase="Stopping"', "1x60")],
        16,
        labels=REVIEW,
    ),
    Case(
        "CodexrunStoppingTooLong",
        "with a moment without",
        [series("codexrun_runs", f'{OPERATOR},{REVIEW},phase="Stopping"', "1x8 0x1 1x8")],
        16,
        fires=False,
    ),
    Case(
        "CodexrunRunsFail",
        "ten within the hour",
        [runs("Failed", "stall", "0x10 10x50")],
        20,
        labels=f'{REVIEW},failure_class="stall"',
    ),
    Case(
        "CodexrunRunsFail",
        "two",
        [runs("Failed", "stall", "0x10 2x50")],
        20,
        fires=False,
    ),
    Case(
        "CodexrunRunsFail",
        "ten that were cancelled, and ten successes",
        [runs("Cancelled", "", "0x10 10x50"), runs("Succeeded", "", "0x10 10x50")],
        20,
        fires=False,
    ),
    *(
        Case(
            "CodexrunProviderRefuses",
            f"one run, {failure}",
            [runs("Failed", failure, "0x10 1x50")],
            12,
            labels=f'{REVIEW},failure_class="{failure}"',
        )
        for failure in ("auth", "quota")
    ),
    Case(
        "CodexrunProviderRefuses",
        "an hour ago",
        [runs("Failed", "auth", "0x10 1x90")],
        70,
        fires=False,
    ),
    Case(
        "CodexrunBudgetUsedUp",
        "five within six hours",
        [runs("Failed", "budget", "0x10 5x300")],
        60,
        labels=REVIEW,
    ),
    Case("CodexrunBudgetUsedUp", "one", [runs("Failed", "budget", "0x10 1x300")], 60, fires=False),
    Case(
        "CodexrunArchiveFull",
        "five of a hundred are free",
        [
            series("kubelet_volume_stats_available_bytes", VOLUME, "5x60"),
            series("kubelet_volume_stats_capacity_bytes", VOLUME, "100x60"),
        ],
        11,
        labels='persistentvolumeclaim="codexrun-api"',
    ),
    Case(
        "CodexrunArchiveFull",
        "half of it is",
        [
            series("kubelet_volume_stats_available_bytes", VOLUME, "50x60"),
            series("kubelet_volume_stats_capacity_bytes", VOLUME, "100x60"),
        ],
        60,
        fires=False,
    ),
    Case(
        "CodexrunLogGaps",
        "one log",
        [series("codexrun_logs_cut_off_total", API, "0x10 1x50")],
        12,
    ),
    Case(
        "CodexrunLogGaps",
        "none",
        [series("codexrun_logs_cut_off_total", API, "1x60")],
        30,
        fires=False,
    ),
    Case(
        "CodexrunUnreadableObjects",
        "one pod",
        [series("codexrun_unreadable_objects_total", f'{OPERATOR},kind="pod"', "0x10 1x50")],
        12,
        labels='service="codexrun-operator",kind="pod"',
    ),
    Case(
        "CodexrunJobTypeHeld",
        "for longer than ten minutes",
        [series("codexrun_job_type_held", f"{OPERATOR},{REVIEW}", "1x60")],
        11,
        labels=REVIEW,
    ),
    Case(
        "CodexrunJobTypeHeld",
        "for a moment",
        [series("codexrun_job_type_held", f"{OPERATOR},{REVIEW}", "1x5 0x50")],
        11,
        fires=False,
    ),
]


def label_map(text: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


def promtool(*words: str) -> None:
    need_prometheus()
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def spec_file(folder: Path, *values: str) -> Path:
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(rule(*values)["spec"]))
    return file


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    promtool("check", "rules", str(spec_file(tmp_path)))


def test_each_alert_fires_for_what_it_is_there_for(tmp_path: Path) -> None:
    made = alerts()
    tests = []
    for case in CASES:
        alert = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
        labels = {**label_map(case.labels), **made[case.alert]["labels"]}
        samples = [{"labels": firing(case.alert, labels), "value": 1}] if case.fires else []
        query = {"expr": alert, "eval_time": f"{case.at}m", "exp_samples": samples}
        tests.append(
            {
                "name": f"{case.alert}: {case.why}",
                "interval": "1m",
                "input_series": case.given,
                "promql_expr_test": [query],
            }
        )
    file = tmp_path / "tests.yaml"
    rules = str(spec_file(tmp_path))
    file.write_text(
        yaml.safe_dump({"rule_files": [rules], "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", str(file))


def firing(alert: str, labels: dict[str, str]) -> str:
    all_labels = {**labels, "alertname": alert, "alertstate": "firing"}
    return "ALERTS{" + ",".join(f'{k}="{v}"' for k, v in sorted(all_labels.items())) + "}"


def test_each_alert_has_a_case_that_fires() -> None:
    assert {case.alert for case in CASES if case.fires} == set(alerts())


def test_each_alert_is_fired_on_a_cluster_too() -> None:
    text = (ROOT / "tests/cluster/api/test_alerts_fire.py").read_text()
    assert [name for name in alerts() if f'"{name}"' not in text] == []


def exported() -> set[str]:
    found = set(FOREIGN)
    for component in ("operator", "api"):
        for family in text_string_to_metric_families(exposition(component)):
            found |= {sample.name for sample in family.samples} | {family.name}
    return found


def dashboard() -> Any:
    manifests = render("metrics.dashboard.enabled=true")
    return json.loads(one(manifests, "ConfigMap", "codexrun-dashboard")["data"]["codexrun.json"])


def queries() -> list[str]:
    return [
        target["expr"].replace("$namespace", "codexrun")
        for panel in dashboard()["panels"]
        for target in panel.get("targets", [])
    ]


def test_every_series_of_alerts_and_dashboard_is_exported() -> None:
    there = exported()
    for text in (*(alert["expr"] for alert in alerts().values()), *queries()):
        used = set(re.findall(r"\b((?:codexrun|kubelet|process)_\w+)(?=[{ \[])", text))
        assert used, text
        assert used <= there, text


def test_promtool_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    recorded = [
        {"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    promtool("check", "rules", str(file))


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_each_alert_has_a_page_with_commands_and_links_to_it() -> None:
    page = (ROOT / "docs/alerts.md").read_text()
    sections = dict(re.findall(r"^## (Codexrun\w+)\n(.*?)(?=^## |\Z)", page, re.M | re.S))
    made = alerts("metrics.prometheusRule.runbookURL=https://git.example.com/alerts.md")
    assert set(sections) == set(made)
    for name, alert in made.items():
        assert "```sh\n" in sections[name], name
        url = alert["annotations"]["runbook_url"]
        assert url == f"https://git.example.com/alerts.md#{name.lower()}"
    assert not any("runbook_url" in alert["annotations"] for alert in alerts().values())


def test_an_alert_is_changed_or_switched_off_alone() -> None:
    changed = alerts(
        "metrics.prometheusRule.alerts.CodexrunApiDown.enabled=false",
        "metrics.prometheusRule.alerts.CodexrunQueueOld.threshold=7200",
        "metrics.prometheusRule.alerts.CodexrunQueueOld.for=1m",
    )
    plain = alerts()
    assert set(plain) - set(changed) == {"CodexrunApiDown"}
    assert changed["CodexrunQueueOld"]["expr"].endswith("> 7200")
    assert changed["CodexrunQueueOld"]["for"] == "1m"
    others = set(changed) - {"CodexrunQueueOld"}
    assert {name: changed[name] for name in others} == {name: plain[name] for name in others}


def test_where_there_is_no_api_nobody_misses_it() -> None:
    without = set(alerts("api.enabled=false"))
    assert without.isdisjoint({"CodexrunApiDown", "CodexrunRegistryBehind", "CodexrunArchiveFull"})
    assert "PrometheusRule/codexrun" not in names(render(*DEMO))
