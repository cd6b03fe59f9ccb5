"""A real Prometheus that scrapes what the chart's ServiceMonitor selects, translated as the
Prometheus Operator does it.

Debian builds it without the discovery of Kubernetes, so the endpoints come from a file; the
selection is Prometheus' own.
"""

import itertools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from lab import NAMESPACE, PATIENCE, ROOT, Json, Lab
from programs import free_port
from promtools import need_prometheus
from rest_facade import Facade

pytestmark = pytest.mark.skipif(
    not Path("/run/codexrun-node/node.json").exists(),
    reason="Prometheus runs on this machine, which reaches pods of its own node only",
)

RULE = ("enabled=true", "force=true")


def monitor(lab: Lab) -> Json:
    """The chart's ServiceMonitor, once a second."""
    settings = ("enabled=true", "force=true", "interval=1s")
    flags = [
        word for setting in settings for word in ("--set", f"metrics.serviceMonitor.{setting}")
    ]
    chart = (
        "helm",
        "template",
        "codexrun",
        str(ROOT / "charts/codexrun"),
        "-n",
        NAMESPACE,
        "--set",
        "demoModel.enabled=true",
    )
    shown = lab.sh(*chart, *flags, "--show-only", "templates/monitoring/servicemonitor.yaml").stdout
    found: Json = yaml.safe_load(shown)
    return found


def meta(kind: str, name: str) -> str:
    """A label as Prometheus' discovery of Kubernetes calls it."""
    return f"__meta_kubernetes_{kind}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"


def discovered(lab: Lab) -> list[Json]:
    """Every port of every endpoint in the namespace, with the labels that the role `endpoints`
    gives it."""
    services = {
        service.metadata.name: service
        for service in lab.core.list_namespaced_service(NAMESPACE).items
    }
    found = []
    for endpoints in lab.core.list_namespaced_endpoints(NAMESPACE).items:
        service = services[endpoints.metadata.name]
        about = {
            "__meta_kubernetes_namespace": NAMESPACE,
            "__meta_kubernetes_service_name": service.metadata.name,
        }
        for key, value in (service.metadata.labels or {}).items():
            about |= {meta("service_label", key): value, meta("service_labelpresent", key): "true"}
        for subset in endpoints.subsets or ():
            for address, port in itertools.product(subset.addresses or (), subset.ports):
                more = {
                    "__meta_kubernetes_endpoint_port_name": port.name,
                    "__meta_kubernetes_pod_name": address.target_ref.name,
                }
                found.append({"targets": [f"{address.ip}:{port.port}"], "labels": about | more})
    return found


def relabelings(spec: Json) -> list[Json]:
    """Selector and port as the Prometheus Operator writes them for the role `endpoints`."""
    (endpoint,) = spec["endpoints"]
    rules = [
        {"action": "keep", "source_labels": [meta("service_label", key)], "regex": re.escape(value)}
        for key, value in spec["selector"].get("matchLabels", {}).items()
    ]
    for wanted in spec["selector"].get("matchExpressions", []):
        action = "keep" if wanted["operator"] in ("In", "Exists") else "drop"
        if wanted["operator"] in ("In", "NotIn"):
            rule = {
                "source_labels": [meta("service_label", wanted["key"])],
                "regex": "|".join(map(re.escape, wanted["values"])),
            }
        else:
            rule = {"source_labels": [meta("service_labelpresent", wanted["key"])], "regex": "true"}
        rules.append({"action": action, **rule})
    rules.append(
        {
            "action": "keep",
            "source_labels": ["__meta_kubernetes_endpoint_port_name"],
            "regex": endpoint["port"],
        }
    )
    targets = {"namespace": "namespace", "service_name": "service", "pod_name": "pod"}
    rules += [
        {"source_labels": [f"__meta_kubernetes_{name}"], "target_label": target}
        for name, target in targets.items()
    ]
    return rules


def configuration(found: Json, targets: Path) -> Json:
    spec = found["spec"]
    (endpoint,) = spec["endpoints"]
    assert spec["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    job = {
        "job_name": "codexrun",
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["interval"],
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint["honorLabels"],
        "file_sd_configs": [{"files": [str(targets)]}],
        "relabel_configs": relabelings(spec),
    }
    return {"scrape_configs": [job]}


class Prometheus:
    def __init__(self, folder: Path, config: Json) -> None:
        address = f"127.0.0.1:{free_port()}"
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(config))
        command = [
            "prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address={address}",
        ]
        self._log = folder / "prometheus.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.http = httpx.Client(base_url=f"http://{address}/api/v1", timeout=30)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()

    def _ask(self, path: str, **query: str) -> Json:
        try:
            answer = self.http.get(path, params=query)
        except httpx.TransportError:
            assert self.process.poll() is None, self._log.read_text()
            return {}
        if answer.status_code == 503:  # it listens before it is ready
            return {}
        found: Json = answer.json().get("data") or {}
        return found

    def targets(self) -> list[Json]:
        """Those that are scraped, once the same two have been scraped well."""
        found: list[Json] = []
        for _ in patiently():
            found = self._ask("/targets", state="active").get("activeTargets", [])
            if len(found) > 1 and all(target["health"] == "up" for target in found):
                return found
        raise AssertionError(
            f"never up: {json.dumps(found, indent=1)}\n{self._log.read_text()[-2000:]}"
        )

    def values(self, query: str) -> dict[tuple[str, ...], float]:
        """By the values of the labels in their order."""
        result = self._ask("/query", query=query).get("result", [])
        return {
            tuple(v for _, v in sorted(r["metric"].items()) if v != "__name__"): float(
                r["value"][1]
            )
            for r in result
        }

    def value(self, query: str) -> float | None:
        return next(iter(self.values(query).values()), None)

    def until_scraped(self) -> None:
        """Until what the operator exports now is here: two scrapes later."""
        query = "timestamp(codexrun_operator_leader)"
        now = time.time()
        for _ in patiently():
            if (self.value(query) or 0) > now + 1:
                return
        raise AssertionError("the operator is not scraped any more")


def patiently() -> Iterator[None]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(0.2)


@pytest.fixture(scope="module")
def prometheus(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    need_prometheus()
    (folder / "targets.json").write_text(json.dumps(discovered(lab)))
    made = Prometheus(folder, configuration(monitor(lab), folder / "targets.json"))
    yield made
    made.stop()


def test_what_the_monitor_selects_is_operator_and_api_and_both_are_up(
    prometheus: Prometheus,
) -> None:
    services = sorted(target["labels"]["service"] for target in prometheus.targets())
    assert services == ["codexrun-api", "codexrun-operator"]


def test_promtool_accepts_what_both_really_say_and_one_name_alone_is_exported_twice(
    prometheus: Prometheus,
) -> None:
    names = []
    for target in prometheus.targets():
        text = httpx.get(target["scrapeUrl"], timeout=30).text
        done = subprocess.run(
            ["promtool", "check", "metrics"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
        names += re.findall(r"^# TYPE (codexrun_\w+)", text, re.M)
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"codexrun_unreadable_objects_total"}, (
        "each part counts what it cannot read itself, under one name"
    )
    assert set(names) == set(
        re.findall(r"^\| `(codexrun_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    )


def test_each_transition_of_a_run_changes_the_counters_exactly_once(
    lab: Lab, facade: Facade, prometheus: Prometheus
) -> None:
    """Start to success by kubectl, start to cancellation by REST, start to a failure: nothing more,
    nothing less."""
    job_type = lab.job_type(stem="counted")
    mine = f'job_type="{job_type}"'
    finished = f"codexrun_runs_finished_total{{{mine}}}"
    for _ in patiently():
        if prometheus.value(finished) is not None:
            break
    assert set(prometheus.values(finished).values()) == {0}, (
        "the series must be there, at 0, before the first run ends"
    )

    good = lab.run(job_type, "message")
    bad = lab.run(job_type, "401")
    stopped = facade.start(job_type, "sleep-100").json()["run_id"]
    facade.until(stopped, "running")
    prometheus.until_scraped()
    assert prometheus.value(f'sum(codexrun_runs{{{mine},phase="Running"}})') >= 1
    assert facade.http.post(f"/runs/{stopped}/cancel", json={}).status_code in (200, 202)
    usage = lab.ended(good)["status"]["usage"]
    assert lab.ended(bad)["status"]["phase"] == "Failed"
    facade.until(stopped, "cancelled")
    prometheus.until_scraped()

    def by(name: str, *labels: str, of: str = "") -> Any:
        return prometheus.values(f"sum by ({', '.join(labels)}) ({name}{{{mine}{of}}}) != 0")

    # to Prometheus an empty label is none
    ends = {
        ("Succeeded",): 1,
        ("Cancelled",): 1,
        ("auth", "Failed"): 1,
    }
    expected = {
        ("codexrun_runs_created_total", "origin"): {("kubectl",): 2, ("api",): 1},
        ("codexrun_runs_finished_total", "failure_class", "phase"): ends,
        ("codexrun_run_duration_seconds_count", "phase"): {
            ("Succeeded",): 1,
            ("Cancelled",): 1,
            ("Failed",): 1,
        },
        ("codexrun_run_queue_seconds_count", "job_type"): {(job_type,): 3},
        ("codexrun_run_startup_seconds_count", "job_type"): {(job_type,): 3},
    }
    assert {key: by(*key) for key in expected} == expected
    # The three moved once each: from 0 to 1, never further, and never back.
    assert set(prometheus.values(f"changes({finished}[30m]) != 0").values()) == {1}
    spent = by("codexrun_tokens_total", "token_type", of=',model="gpt-5.5"')
    assert spent["input",] >= usage["inputTokens"]
    assert prometheus.value(f"sum(codexrun_runs{{{mine}}})") == 0
    for _ in patiently():  # a slot is held until the pod is proven gone
        if prometheus.value(f"codexrun_slots_held{{{mine}}}") == 0:
            break
    else:
        raise AssertionError("a slot is held by nobody")
    prompts = prometheus.values(
        'sum by (phase) (codexrun_prompt_runs_finished_total{prompt=~"scenario-.*"}) != 0'
    )
    assert prompts.keys() >= {("Succeeded",), ("Failed",), ("Cancelled",)}


def test_every_query_of_the_dashboard_has_data_and_no_alert_s_is_wrong(
    lab: Lab, prometheus: Prometheus
) -> None:
    """With real series, and their real labels. What the kubelet exports is not scraped here."""
    assert lab.ended(lab.run(lab.job_type(), "message"))["status"]["phase"] == "Succeeded"
    prometheus.until_scraped()
    dashboard = json.loads((ROOT / "charts/codexrun/dashboards/codexrun.json").read_text())
    expressions = [
        target["expr"].replace("$namespace", NAMESPACE)
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    for _ in patiently():
        empty = [expression for expression in expressions if not prometheus.values(expression)]
        if not empty:
            break
    else:
        raise AssertionError(f"no data: {empty}")
    quiet = {"CodexrunOperatorDown", "CodexrunApiDown", "CodexrunRegistryBehind"}
    for alert in alerts(lab):
        answer = prometheus.http.get("/query", params={"query": alert["expr"]}).json()
        assert answer["status"] == "success", (alert["alert"], answer)
        if alert["alert"] in quiet:
            assert answer["data"]["result"] == [], alert["alert"]


def alerts(lab: Lab) -> list[Json]:
    """The rules of the chart's PrometheusRule, for this release."""
    settings = ("demoModel.enabled=true", *(f"metrics.prometheusRule.{on}" for on in RULE))
    flags = [word for setting in settings for word in ("--set", setting)]
    template = ("helm", "template", "codexrun", str(ROOT / "charts/codexrun"), "-n", NAMESPACE)
    show = ("--show-only", "templates/monitoring/prometheusrule.yaml")
    rule = yaml.safe_load(lab.sh(*template, *flags, *show).stdout)
    (group,) = rule["spec"]["groups"]
    rules: list[Json] = group["rules"]
    return rules
