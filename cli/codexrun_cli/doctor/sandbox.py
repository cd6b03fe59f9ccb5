"""What keeps an agent's commands in: the pod, and Codex's own sandbox where a job type wants that
too.

Whether Codex can make its sandbox is only known in a pod: its runner tries before each run, and the
newest run tells.
"""

from collections.abc import Callable, Iterator
from functools import partial

from codexrun_cli.doctor.findings import Get, Json, attempt, failed, note, ok
from codexrun_cli.errors import CommandError

DOES_NOT_WORK = "sandbox: codex does not work in this pod"  # as the runner says it
FIX = "give the job type a runtimeClassName that allows user namespaces, or set sandbox: pod"


def examine(
    get: Get, namespace: str, job_types: list[Json], runs_of: Callable[[str], list[Json]]
) -> Iterator[Json]:
    """Look at the sandbox. runs_of: the CodexRuns of a job type."""
    own = [kind["metadata"]["name"] for kind in job_types if kind["spec"].get("sandbox") == "codex"]
    yield _pod(get, namespace, own=bool(own))
    for name in own:
        runs = attempt(partial(runs_of, name))
        if isinstance(runs, CommandError):
            yield note("sandbox", f"the runs of job type {name} cannot be listed: {runs.detail}")
        else:
            yield tried(name, runs)


def _pod(get: Get, namespace: str, *, own: bool) -> Json:
    """Look at the namespace: what it enforces is what can be known from outside."""
    body = attempt(lambda: get(f"/api/v1/namespaces/{namespace}"))
    if isinstance(body, CommandError):
        return note(
            "sandbox",
            f"cannot tell which Pod Security Standard the namespace enforces: {body.detail}",
        )
    enforced = (body["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
    if enforced != "restricted":
        enforces = f'enforces "{enforced}"' if enforced else "enforces none"
        return note(
            "sandbox",
            'the pod is the sandbox; the pods of runs meet the Pod Security Standard "restricted",'
            f" but the namespace {enforces}, so other pods may have more rights",
            f"kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=restricted",
        )
    note_on_own = "" if own else "; no job type uses Codex's own sandbox"
    return ok(
        "sandbox",
        'the pod is the sandbox; the namespace enforces the Pod Security Standard "restricted"'
        f"{note_on_own}",
    )


def tried(job_type: str, runs: list[Json]) -> Json:
    """Return what the newest run that came so far says of Codex's own sandbox. Pure."""
    for run in sorted(
        runs, key=lambda run: str(run["metadata"].get("creationTimestamp")), reverse=True
    ):
        status = run.get("status") or {}
        name = run["metadata"]["name"]
        if status.get("sandbox") != "codex":
            continue
        if DOES_NOT_WORK in (status.get("failure") or {}).get("message", ""):
            return failed(
                "sandbox",
                f"job type {job_type}: Codex could not set up its own sandbox in run {name}",
                FIX,
            )
        if status.get("turns"):
            return ok("sandbox", f"job type {job_type}: Codex set up its own sandbox in run {name}")
    return note(
        "sandbox",
        f"job type {job_type}: no run has used Codex's own sandbox yet",
        f"codexrun start {job_type} --wait",
    )
