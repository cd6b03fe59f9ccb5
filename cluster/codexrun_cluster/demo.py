"""The demo: one real run, followed to its end, and what it said and cost."""

import json
import os
import subprocess
import threading
import time
from typing import Any

from codexrun_cluster import api_access
from codexrun_cluster.chart import NAMESPACE, Client
from codexrun_cluster.command import ask
from codexrun_cluster.errors import Failure
from codexrun_cluster.loglines import readable
from codexrun_cluster.paths import Places

RUN = "hello"
PATIENCE_SECONDS = 300.0
UNJUDGED_SECONDS = (
    60.0  # the operator judges within a second; a minute of silence means that it does not run
)
POLL_SECONDS = 0.4
QUIET_SECONDS = 10.0
ENDS = ("Succeeded", "Failed", "Cancelled", "Rejected")


def run(places: Places, client: Client) -> int:
    """Apply examples/hello.yaml and follow it; 0 only when the run succeeded.

    Raises:
        Failure: the cluster refused the run, or it did not end in time.
    """
    env = {**os.environ, **client.env}
    kubectl = [str(client.kubectl), "--namespace", NAMESPACE]
    example = places.checkout / "examples" / "hello.yaml"
    print(f"\n$ kubectl apply -n {NAMESPACE} -f examples/hello.yaml", flush=True)
    # The demo's run has a fixed name, so that the commands below work; an earlier demo's makes
    # room.
    delete = [*kubectl, "delete", "codexrun", RUN, "--ignore-not-found", "--timeout=120s"]
    for words in (delete, [*kubectl, "apply", "-f", str(example)]):
        done = ask(words, env=env, timeout=150)
        if done.returncode:
            raise Failure(f"kubectl: {done.stderr.strip()}", f"kubectl get pods -n {NAMESPACE}")
    status = _follow(kubectl, env)
    _print_end(status)
    _print_rest(api_access.control(client))
    return 0 if status.get("phase") == "Succeeded" else 1


def _follow(kubectl: list[str], env: dict[str, str]) -> dict[str, Any]:
    began = spoke = time.monotonic()
    said = ""
    log: threading.Thread | None = None
    while time.monotonic() < began + PATIENCE_SECONDS:
        asked = ask([*kubectl, "get", "codexrun", RUN, "-o", "json"], env=env)
        seen = json.loads(asked.stdout) if asked.returncode == 0 else {}
        status = seen.get("status", {})
        now = _headline(status)
        if now != said or time.monotonic() - spoke > QUIET_SECONDS:
            print(f"[{time.monotonic() - began:5.1f}s] {now}", flush=True)
            said, spoke = now, time.monotonic()
        pod = _pod(kubectl, env, seen) if log is None else ""
        if pod:
            log = threading.Thread(target=_print_log, args=(kubectl, env, pod), daemon=True)
            log.start()
        if status.get("phase") in ENDS:
            if log:
                log.join(5)
            return dict(status)
        if said == "Pending" and time.monotonic() > began + UNJUDGED_SECONDS:
            break
        time.sleep(POLL_SECONDS)
    raise Failure(
        f"the run has not ended after {time.monotonic() - began:.0f}s; it is {said}",
        f"kubectl describe codexrun {RUN} -n {NAMESPACE}; kubectl logs -n {NAMESPACE}"
        " deploy/codexrun-operator",
    )


def _pod(kubectl: list[str], env: dict[str, str], seen: dict[str, Any]) -> str:
    """The run's pod, found by its label rather than in the status, which is written when the agent
    already runs."""
    label = f"codexrun.dev/run-uid={seen.get('metadata', {}).get('uid', 'none')}"
    return ask([*kubectl, "get", "pods", "-l", label, "-o", "name"], env=env).stdout.split("\n")[0]


def _headline(status: dict[str, Any]) -> str:
    """Phase, and the reason of the condition that changed last."""
    phase = status.get("phase", "Pending")
    conditions = sorted(
        status.get("conditions", []), key=lambda c: str(c.get("lastTransitionTime", ""))
    )
    reason = conditions[-1].get("reason") if conditions else None
    return phase if not reason or reason == phase else f"{phase} ({reason})"


def _print_log(kubectl: list[str], env: dict[str, str], pod: str) -> None:
    """The agent's log, live; asked again until the container is there."""
    for _ in range(100):
        words = [*kubectl, "logs", "--follow", "--container", "agent", pod]
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        ) as follower:
            assert follower.stdout is not None
            seen = False
            for line in follower.stdout:
                seen = True
                text = readable(line)
                if text:
                    print(f"         | {text}", flush=True)
        if seen:
            return
        time.sleep(POLL_SECONDS)


def _print_rest(control: api_access.Control | None) -> None:
    """The same run over REST, with what it takes to ask for it."""
    if control is None:
        return
    print(f"api      {control.url}\ntoken    {control.token}")
    row = control.get(f"/runs/{RUN}")
    print(
        f"""
  . .cluster/env
  curl -H "Authorization: Bearer $CODEX_CONTROL_TOKEN" $CODEX_CONTROL_URL/runs/{RUN}""",
        flush=True,
    )
    if row:
        shown = {
            key: row.get(key) for key in ("run_id", "status", "cost_tokens", "cost_cents", "result")
        }
        print(f"  {json.dumps(shown, ensure_ascii=False)}", flush=True)


def _print_end(status: dict[str, Any]) -> None:
    usage, failure = status.get("usage", {}), status.get("failure", {})
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
  kubectl describe codexrun {RUN} -n {NAMESPACE}
  kubectl logs -n {NAMESPACE} -l codexrun.dev/run={RUN} -c agent --tail=-1
(make down removes all of it)""",
        flush=True,
    )
