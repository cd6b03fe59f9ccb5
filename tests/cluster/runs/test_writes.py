"""What a run costs the apiserver, counted in its audit log."""

import json
from collections import Counter

from lab import ROOT, Lab

OURS = "system:serviceaccount:codexrun:codexrun-operator"


def test_a_successful_run_costs_five_writes_beyond_a_bare_job(lab: Lab) -> None:
    """The CodexRun itself, three status writes, and the Event of its end; the creation of the Job
    would be there anyway."""
    run = lab.ended(lab.run(lab.job_type(), "hello"))
    assert run["status"]["phase"] == "Succeeded"
    name = run["metadata"]["name"]
    # The apiserver tells watches of a write before its line of the log is there: after another run
    # all lines of this one are.
    lab.ended(lab.run(lab.job_type(), "hello"))
    writes: Counter[str] = Counter()
    for line in (ROOT / ".cluster/logs/audit.log").read_text().splitlines():
        if name not in line:
            continue
        entry = json.loads(line)
        about = entry.get("objectRef", {})
        ours = entry["user"]["username"] == OURS
        if about.get("resource") == "codexruns" and about.get("name") == name:
            writes[f"{entry['verb']} codexruns/{about.get('subresource', '')}"] += 1
        elif (
            ours
            and about.get("resource") not in ("leases", "codexjobtypes")
            and name in str(about.get("name"))
        ):
            writes[f"{entry['verb']} {about['resource']}/{about.get('subresource', '')}"] += 1
    # The name may be missing in a create's reference.
    created_by_us = writes.pop("create codexruns/", 1)
    assert writes.pop("create jobs/", 1) == 1  # a bare Job costs that too
    assert writes.pop("create events/", 1) == 1
    assert writes == {"update codexruns/status": 3}
    assert created_by_us + 3 <= 4
