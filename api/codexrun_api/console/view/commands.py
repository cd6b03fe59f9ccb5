"""What would one type for this run? Pure."""

from dataclasses import dataclass

from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import RunRecord


@dataclass(frozen=True)
class Command:
    line: str
    why: str = ""  # where it does not say it itself


def commands(record: RunRecord, run: CodexRun | None) -> list[Command]:
    """Those that work now: once the object is gone, kubectl knows nothing of the run."""
    found = [Command(f"codexrun logs{'' if record.terminal else ' -f'} {record.name}")]
    if run is None:
        return found
    kubectl, pod = f"kubectl -n {record.namespace}", run.status.pod_name
    found.append(Command(f"{kubectl} describe codexrun {record.name}", "with its Events"))
    found.append(Command(f"{kubectl} get codexrun {record.name} -o yaml"))
    if run.status.job_name:
        found.append(
            Command(f"{kubectl} get job,pod -l batch.kubernetes.io/job-name={run.status.job_name}")
        )
    if pod and not record.terminal:
        found.append(Command(f"{kubectl} describe pod {pod}", "with the Events of its pod"))
    if pod and record.status == "stopping":
        why = (
            "for a lost node only: it ends the wait and frees the slot, whatever still runs over"
            " there"
        )
        found.append(Command(f"{kubectl} delete pod {pod} --grace-period=0 --force", why))
    return found
