"""The demo: one real run, followed to its end, with its message and its cost."""

import json
import os
import subprocess
import threading
import time
import urllib.parse
from typing import Any

from codexrun_cluster import api_access
from codexrun_cluster.chart import NAMESPACE, Client
from codexrun_cluster.command import capture
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.loglines import readable
from codexrun_cluster.paths import Paths

RUN_NAME = "hello"
TIMEOUT_SECONDS = 300.0
# The operator admits within a second; a minute of silence means that it does not run.
MAX_PENDING_SECONDS = 60.0
POLL_SECONDS = 0.4
QUIET_SECONDS = 10.0
TERMINAL_PHASES = ("Succeeded", "Failed", "Cancelled", "Rejected")


def run(paths: Paths, client: Client) -> int:
    """Apply examples/hello.yaml and follow it; 0 only when the run succeeded.

    Raises:
        LauncherError: the cluster refused the run, or it did not end in time.
    """
    env = {**os.environ, **client.env}
    kubectl = [str(client.kubectl), "--namespace", NAMESPACE]
    example = paths.checkout / "examples" / "hello.yaml"
    print(f"\n$ kubectl apply -n {NAMESPACE} -f examples/hello.yaml", flush=True)
    # The demo's run has a fixed name, so that the commands below work; an earlier demo's makes
    # room.
    delete = [*kubectl, "delete", "codexrun", RUN_NAME, "--ignore-not-found", "--timeout=120s"]
    for words in (delete, [*kubectl, "apply", "-f", str(example)]):
        answer = capture(words, env=env, timeout=150)
        if answer.returncode:
            raise LauncherError(
                f"kubectl: {answer.stderr.strip()}", f"kubectl get pods -n {NAMESPACE}"
            )
    status = _follow(kubectl, env)
    _print_end(status)
    _print_over_rest(api_access.find(client))
    return 0 if status.get("phase") == "Succeeded" else 1


def _follow(kubectl: list[str], env: dict[str, str]) -> dict[str, Any]:
    started_at = time.monotonic()
    printed_at = started_at
    headline = ""
    log: threading.Thread | None = None
    while time.monotonic() < started_at + TIMEOUT_SECONDS:
        answer = capture([*kubectl, "get", "codexrun", RUN_NAME, "-o", "json"], env=env)
        run = json.loads(answer.stdout) if answer.returncode == 0 else {}
        status = run.get("status", {})
        current = _headline(status)
        if current != headline or time.monotonic() - printed_at > QUIET_SECONDS:
            print(f"[{time.monotonic() - started_at:5.1f}s] {current}", flush=True)
            headline = current
            printed_at = time.monotonic()
        pod = _pod(kubectl, env, run) if log is None else ""
        if pod:
            log = threading.Thread(target=_print_log, args=(kubectl, env, pod), daemon=True)
            log.start()
        if status.get("phase") in TERMINAL_PHASES:
            if log:
                log.join(5)
            return dict(status)
        if headline == "Pending" and time.monotonic() > started_at + MAX_PENDING_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    raise LauncherError(
        f"the run has not ended after {time.monotonic() - started_at:.0f}s; it is {headline}",
        f"kubectl describe codexrun {RUN_NAME} -n {NAMESPACE}; kubectl logs -n {NAMESPACE}"
        " deploy/codexrun-operator",
    )


def _pod(kubectl: list[str], env: dict[str, str], run: dict[str, Any]) -> str:
    """Return the run's pod, found by its label rather than in the status, which is written when the
    agent already runs."""
    label = f"codexrun.dev/run-uid={run.get('metadata', {}).get('uid', 'none')}"
    return capture([*kubectl, "get", "pods", "-l", label, "-o", "name"], env=env).stdout.split(
        "\n"
    )[0]


def _headline(status: dict[str, Any]) -> str:
    """Return the phase, and the reason of the condition that changed last."""
    phase = status.get("phase", "Pending")
    conditions = sorted(
        status.get("conditions", []), key=lambda c: str(c.get("lastTransitionTime", ""))
    )
    reason = conditions[-1].get("reason") if conditions else None
    return phase if not reason or reason == phase else f"{phase} ({reason})"


def _print_log(kubectl: list[str], env: dict[str, str], pod: str) -> None:
    """Print the agent's log, live; asked again until the container is there."""
    for _ in range(100):
        words = [*kubectl, "logs", "--follow", "--container", "agent", pod]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        ) as follower:
            assert follower.stdout is not None
            has_lines = False
            for line in follower.stdout:
                has_lines = True
                text = readable(line)
                if text:
                    print(f"         | {text}", flush=True)
        if has_lines:
            return
        time.sleep(POLL_SECONDS)


def tunnel(url: str) -> str:
    """Return the command that makes the api of this machine reachable from another one. Pure."""
    host = urllib.parse.urlsplit(url)
    return f"ssh -L 8080:{host.hostname}:{host.port or 80} USER@THIS_MACHINE"


def _print_over_rest(api: api_access.ApiAccess | None) -> None:
    """Print the same run over REST, with what it takes to ask for it."""
    if api is None:
        return
    print(f"api      {api.url}\ntoken    {api.token}\nconsole  {api.url}/console")
    print(f"         from another machine: {tunnel(api.url)}, then http://localhost:8080/console")
    row = api.get(f"/runs/{RUN_NAME}")
    print(
        f"""
  . .cluster/env
  curl -H "Authorization: Bearer $CODEX_CONTROL_TOKEN" $CODEX_CONTROL_URL/runs/{RUN_NAME}""",
        flush=True,
    )
    if row:
        fields = {
            key: row.get(key) for key in ("run_id", "status", "cost_tokens", "cost_cents", "result")
        }
        print(f"  {json.dumps(fields, ensure_ascii=False)}", flush=True)


def _print_end(status: dict[str, Any]) -> None:
    usage = status.get("usage", {})
    failure = status.get("failure", {})
    print()
    print(f"phase    {status.get('phase')}")
    if failure:
        print(f"failure  {failure.get('class')}: {failure.get('message')}")
    if "result" in status:
        print(f"message  {status['result'].get('message')}")
    if "totalTokens" in usage:
        print(
            f"tokens   {usage['totalTokens']} ({usage.get('inputTokens', '?')} in,"
            f" {usage.get('outputTokens', '?')} out)"
        )
    if "costMicroUSD" in usage:
        print(
            f"cost     ${usage['costMicroUSD'] / 1e6:.6f} at list prices (the offline model itself"
            " costs nothing)"
        )
    print(
        f"""
Everything stays up. Next:
  . .cluster/env
  kubectl get codexruns -n {NAMESPACE} -o wide
  kubectl describe codexrun {RUN_NAME} -n {NAMESPACE}
  kubectl logs -n {NAMESPACE} -l codexrun.dev/run={RUN_NAME} -c agent --tail=-1
(make down removes all of it)""",
        flush=True,
    )
