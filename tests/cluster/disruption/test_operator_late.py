"""An operator that comes late, and may not read everything at first."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from lab import Lab

ROLE = "codexrun-operator"


@contextmanager
def job_types_not_listable(lab: Lab) -> Iterator[None]:
    """The operator's Role without the right to list and watch job types."""
    before = json.loads(lab.kubectl("get", "role", ROLE, "-o", "json").stdout)
    rules = []
    for rule in before["rules"]:
        resources = [resource for resource in rule["resources"] if resource != "codexjobtypes"]
        if resources:
            rules.append({**rule, "resources": resources})
    lab.set_rules(ROLE, rules)
    try:
        yield
    finally:
        lab.set_rules(ROLE, before["rules"])


def test_runs_that_waited_for_an_operator_run_although_it_may_not_list_job_types_at_first(
    lab: Lab,
) -> None:
    job_type = lab.job_type(concurrencyLimit=4)
    operator = "app.kubernetes.io/component=operator"
    lab.kubectl("scale", "deployment/codexrun-operator", "--replicas=0")
    try:
        lab.kubectl("wait", "--for=delete", "pod", "-l", operator, "--timeout=60s")
        runs = [lab.run(job_type, "message", stem="late") for _ in range(20)]
        with job_types_not_listable(lab):
            lab.kubectl("scale", "deployment/codexrun-operator", "--replicas=1")
            lab.kubectl("rollout", "status", "deployment/codexrun-operator", "--timeout=120s")
            # It leads and has tried: the log says so.
            lab.until_logged("deployment/codexrun-operator", "resync.failed")
            assert {lab.get(run)["status"].get("phase", "Pending") for run in runs} == {"Pending"}
    finally:
        lab.kubectl("scale", "deployment/codexrun-operator", "--replicas=1")
        lab.kubectl("rollout", "status", "deployment/codexrun-operator", "--timeout=120s")
    assert {lab.ended(run)["status"]["phase"] for run in runs} == {"Succeeded"}
