"""What would one type for this run? Pure."""

from dataclasses import dataclass

from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import RunRecord


@dataclass(frozen=True)
class Command:
    line: str
    why: str = ""  # where it does not say it itself


def commands(record: RunRecord, run: CodexRun | None) -> list[Command]:
    """Return the commands that work now: once the object is gone, kubectl knows nothing of the
    run."""
    lines = [Command(f"codexrun logs{'' if record.terminal else ' -f'} {record.name}")]
    if run is None:
        return lines
    kubectl = f"kubectl -n {record.namespace}"
    pod = run.status.pod_name
    lines.append(
        Command(f"{kubectl} describe codexrun {record.name}", "shows the run and its Events")
    )
    lines.append(Command(f"{kubectl} get codexrun {record.name} -o yaml"))
    if run.status.job_name:
        lines.append(
            Command(f"{kubectl} get job,pod -l batch.kubernetes.io/job-name={run.status.job_name}")
        )
    if pod and not record.terminal:
        lines.append(Command(f"{kubectl} describe pod {pod}", "shows the pod and its Events"))
    if pod and record.status == "stopping":
        why = (
            "only for a lost node: ends the wait for the pod and frees the slot, even if the pod is"
            " still running on that node"
        )
        lines.append(Command(f"{kubectl} delete pod {pod} --grace-period=0 --force", why))
    return lines
