"""The running cluster as tests use it: start runs, watch them from outside, look at what is left.

Everything goes through the apiserver with the official client; nothing knows how the cluster came
up.
"""

import hashlib
import itertools
import json
import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import manifests
import yaml
from kubernetes import client, config, watch

Json = dict[str, Any]

ROOT = Path(__file__).resolve().parents[3]
NAMESPACE = "codexrun"
API_VERSION = ("codexrun.dev", "v1alpha1")
TERMINAL = {"Succeeded", "Failed", "Cancelled", "Rejected"}
PROMPT = "scenario: {{scenario}}\n"
ROUND = "CODEXRUN_TEST_ROUND"  # a name that several processes of pytest share
PATIENCE = 180  # seconds until a wait gives up; a bound, never an assertion


def environment() -> dict[str, str]:
    """The variables of `.cluster/env`, as `. .cluster/env` would set them."""
    file = ROOT / ".cluster/env"
    if not file.exists():
        raise RuntimeError("there is no cluster; run `make up` first")
    script = f"set -a; . {file}; env -0"
    shown = subprocess.run(
        ["bash", "-c", script], check=True, capture_output=True, text=True
    ).stdout
    return dict(line.split("=", 1) for line in shown.split("\0") if "=" in line)


def _live(job: Any) -> bool:
    ends = [
        c
        for c in job.status.conditions or []
        if c.type in ("Complete", "Failed") and c.status == "True"
    ]
    return not ends and job.metadata.deletion_timestamp is None


class Lab:
    """`run`, `job_type` and `prompt` make objects of unique names; `until` and `ended` wait on a
    watch. `run_kind` and `job_type_kind` say for the client of custom objects where they are."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self.run_kind = (*API_VERSION, namespace, "codexruns")
        self.job_type_kind = (*API_VERSION, namespace, "codexjobtypes")
        self.env = environment()
        config.load_kube_config(self.env["KUBECONFIG"])
        self.custom = client.CustomObjectsApi()
        self.core = client.CoreV1Api()
        self.batch = client.BatchV1Api()
        self.apps = client.AppsV1Api()
        self._count = itertools.count()
        self.own = uuid.uuid4().hex[:5]  # other processes of pytest use the same cluster
        self._round = os.environ.get(ROUND, self.own)
        self.mark = {"codexrun.test/round": self._round}

    def name(self, stem: str) -> str:
        return f"{stem}-{self.own}{next(self._count)}"

    def clean_up(self) -> None:
        """Delete what these tests made; the runs take their Jobs and pods along.

        Not in a round of several processes: the last of them looks at what all have left, and who
        began the round ends it.
        """
        if ROUND in os.environ:
            return
        for kind in ("cxr", "cjt", "configmaps"):
            self.kubectl("delete", kind, "-l", f"codexrun.test/round={self._round}", "--wait=false")

    # -- making ----------------------------------------------------------------------------------

    def prompt(
        self, text: str = PROMPT, *, stem: str = "scenario", sha256: str | None = None
    ) -> str:
        """A prompt of one version, v1; returns its name."""
        name = self.name(stem)
        self.prompt_version(name, "v1", text, sha256=sha256)
        return name

    def prompt_version(
        self, name: str, version: str, text: str, *, sha256: str | None = None
    ) -> None:
        digest = sha256 or hashlib.sha256(text.encode()).hexdigest()
        body = {
            "metadata": {
                "name": f"prompt-{name}-{version}",
                "labels": {
                    **self.mark,
                    "codexrun.dev/prompt": name,
                    "codexrun.dev/prompt-version": version,
                    "app.kubernetes.io/managed-by": "codexrun",
                },
                "annotations": {"codexrun.dev/sha256": digest},
            },
            "immutable": True,
            "data": {"prompt.md": text},
        }
        self.core.create_namespaced_config_map(self.namespace, body)

    def job_type(self, *, prompt: str | None = None, stem: str = "jt", **spec: Any) -> str:
        """A job type whose prompt picks the demo model's scenario, unless told otherwise; returns
        its name."""
        name = self.name(stem)
        prompt = prompt or self.prompt()
        defaults = {
            "prompt": {"name": prompt, "version": "v1"},
            "concurrencyLimit": 4,
            "limits": {"timeoutSeconds": 120, "stallSeconds": 60, "startSeconds": 120},
            # The runs of several workers are to fit a node of two cores.
            "resources": {"requests": {"cpu": "20m"}},
        }
        body = manifests.job_type(name, **{**defaults, **spec})
        body["metadata"]["labels"] = self.mark
        self.custom.create_namespaced_custom_object(*self.job_type_kind, body)
        return name

    def run(
        self, job_type: str, scenario: str | None = None, *, stem: str = "run", **spec: Any
    ) -> Json:
        """Create a CodexRun; returns the created object."""
        if scenario is not None:
            spec.setdefault("inputs", {"scenario": scenario})
        body = manifests.run(self.name(stem), jobType=job_type, **spec)
        body["metadata"]["labels"] = self.mark
        created: Json = self.custom.create_namespaced_custom_object(*self.run_kind, body)
        return created

    def cancel(self, run: Json, *, by: str = "tests", reason: str = "no longer needed") -> Json:
        patch = {"spec": {"cancel": {"requestedBy": by, "reason": reason}}}
        patched: Json = self.custom.patch_namespaced_custom_object(
            *self.run_kind, run["metadata"]["name"], patch
        )
        return patched

    # -- watching --------------------------------------------------------------------------------

    def get(self, run: Json) -> Json:
        found: Json = self.custom.get_namespaced_custom_object(
            *self.run_kind, run["metadata"]["name"]
        )
        return found

    def versions(self, run: Json, *, patience: float = PATIENCE) -> Iterator[Json]:
        """Every version of the run that the apiserver tells of, the present one first."""
        selector = f"metadata.name={run['metadata']['name']}"
        stream = watch.Watch().stream(
            self.custom.list_namespaced_custom_object,
            *self.run_kind,
            field_selector=selector,
            timeout_seconds=int(patience),
        )
        for event in stream:
            yield event["object"]

    def until(
        self, run: Json, wanted: Callable[[Json], bool], *, patience: float = PATIENCE
    ) -> Json:
        """The first version of the run for which `wanted` holds."""
        last: Json = run
        for version in self.versions(run, patience=patience):
            last = version
            if wanted(version):
                return version
            if version["status"].get("phase") in TERMINAL:
                break
        raise AssertionError(
            f"never came to it; last seen: {json.dumps(last.get('status'), indent=1)}"
        )

    def phase(self, run: Json, *phases: str, patience: float = PATIENCE) -> Json:
        return self.until(run, lambda r: r["status"].get("phase") in phases, patience=patience)

    def ended(self, run: Json, *, patience: float = PATIENCE) -> Json:
        return self.phase(run, *TERMINAL, patience=patience)

    def in_a_command(self, run: Json) -> Json:
        """Wait until the agent of a run is in the middle of a command, so that a first response is
        paid for; a Running one may not have asked its model yet."""
        run = self.phase(run, "Running")
        stream = watch.Watch().stream(
            self.core.read_namespaced_pod_log,
            self.pod(run).metadata.name,
            self.namespace,
            container="agent",
            _request_timeout=PATIENCE,
        )
        assert any('"command_execution"' in line for line in stream)
        return run

    def pods(self, run: Json) -> list[Any]:
        selector = f"codexrun.dev/run-uid={run['metadata']['uid']}"
        return list(self.core.list_namespaced_pod(self.namespace, label_selector=selector).items)

    def jobs(self, run: Json) -> list[Any]:
        selector = f"codexrun.dev/run-uid={run['metadata']['uid']}"
        return list(self.batch.list_namespaced_job(self.namespace, label_selector=selector).items)

    def pod(self, run: Json) -> Any:
        (pod,) = self.pods(run)
        return pod

    def log(self, run: Json) -> list[Json]:
        """The agent's lines of log."""
        text = self.core.read_namespaced_pod_log(
            self.pod(run).metadata.name, self.namespace, container="agent"
        )
        return [json.loads(line) for line in text.splitlines()]

    def until_no_live_job(self, run: Json, *, patience: float = PATIENCE) -> None:
        """Wait until each Job of the run is finished or deleted."""
        selector = f"codexrun.dev/run-uid={run['metadata']['uid']}"
        listed = self.batch.list_namespaced_job(self.namespace, label_selector=selector)
        live = {job.metadata.uid for job in listed.items if _live(job)}
        if not live:
            return
        stream = watch.Watch().stream(
            self.batch.list_namespaced_job,
            self.namespace,
            label_selector=selector,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=int(patience),
        )
        for event in stream:
            if event["type"] == "DELETED" or not _live(event["object"]):
                live.discard(event["object"].metadata.uid)
            if not live:
                return
        raise AssertionError(f"still alive: {live}")

    def until_logged(self, of: str, words: str, *, patience: float = PATIENCE) -> None:
        """Wait until a line of log has these words."""
        script = (
            f"timeout {patience} kubectl -n {self.namespace} logs -f {of} | grep -m 1 -q"
            f" {shlex.quote(words)}"
        )
        self.sh("bash", "-c", script)

    def until_event(self, run: Json, reason: str, *, patience: float = PATIENCE) -> None:
        """Wait until there is an Event of the run with this reason: it comes after the status."""
        stream = watch.Watch().stream(
            self.core.list_namespaced_event,
            self.namespace,
            field_selector=f"involvedObject.uid={run['metadata']['uid']}",
            timeout_seconds=int(patience),
        )
        assert any(event["object"].reason == reason for event in stream), reason

    def until_denied(self, job_type: str) -> None:
        """Wait until the apiserver refuses a Job of this job type; the Jobs that ask are only
        tried, never made."""
        metadata = {"generateName": "try-", "labels": {"codexrun.dev/job-type": job_type}}
        container = {"name": "c", "image": "none"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {"template": template},
        }
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.batch.create_namespaced_job(self.namespace, body, dry_run="All")
            except client.ApiException as error:
                if error.status in (403, 422):
                    return
                raise
        raise AssertionError("the policy never came into force")

    def until_gone(self, run: Json, *, patience: float = PATIENCE) -> None:
        """Wait until no pod of the run exists."""
        selector = f"codexrun.dev/run-uid={run['metadata']['uid']}"
        listed = self.core.list_namespaced_pod(self.namespace, label_selector=selector)
        left = {pod.metadata.uid for pod in listed.items}
        stream = watch.Watch().stream(
            self.core.list_namespaced_pod,
            self.namespace,
            label_selector=selector,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=int(patience),
        )
        if not left:
            return
        for event in stream:
            if event["type"] == "DELETED":
                left.discard(event["object"].metadata.uid)
            if not left:
                return
        raise AssertionError(f"pods of {run['metadata']['name']} are still there")

    def gates(self, run: Json) -> list[int]:
        """Pids of the run's gate, where the pod is on this machine."""
        return with_environment("codexrun_pod.gate", run["metadata"]["uid"])

    def api_processes(self) -> list[int]:
        """Pids of the release's api, where the pod is on this machine."""
        return with_environment("-m codexrun_api", f"CODEXRUN_NAMESPACE={self.namespace}\0")

    def until_no_job(self, run: Json) -> None:
        for job in self.jobs(run):
            self.kubectl("wait", "--for=delete", f"job/{job.metadata.name}", "--timeout=60s")

    # -- commands --------------------------------------------------------------------------------

    def sh(
        self, *command: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A command with the variables of `.cluster/env`."""
        done = subprocess.run(
            command,
            input=stdin,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.sh("kubectl", "-n", self.namespace, *arguments, stdin=stdin, check=check)

    def set_rules(self, role: str, rules: list[Json]) -> None:
        """Give a Role of the release other rules, applied as Helm does: its next upgrade would
        refuse to change what somebody else owns."""
        rendered = self.sh("helm", "get", "manifest", "codexrun", "-n", self.namespace).stdout
        (manifest,) = [
            each
            for each in yaml.safe_load_all(rendered)
            if each and (each["kind"], each["metadata"]["name"]) == ("Role", role)
        ]
        apply = ("apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f", "-")
        self.kubectl(*apply, stdin=json.dumps({**manifest, "rules": rules}))

    @contextmanager
    def chart_with(self, *settings: str) -> Iterator[None]:
        """The release with `--set` of these values, and as it was afterwards."""
        chart = str(ROOT / "charts/codexrun")
        upgrade = (
            "helm",
            "upgrade",
            "codexrun",
            chart,
            "-n",
            self.namespace,
            "--reuse-values",
            "--wait",
            "--timeout",
            "120s",
        )
        before = json.loads(
            self.sh("helm", "get", "values", "codexrun", "-n", self.namespace, "-o", "json").stdout
        )
        try:
            self.sh(
                *upgrade, *itertools.chain.from_iterable(("--set", setting) for setting in settings)
            )
            yield
        finally:
            restore = (
                "helm",
                "upgrade",
                "codexrun",
                chart,
                "-n",
                self.namespace,
                "--reset-values",
                "-f",
                "-",
                "--wait",
            )
            self.sh(*restore, stdin=json.dumps(before))


def condition(run: Json, kind: str) -> Json:
    return next((c for c in run["status"].get("conditions", []) if c["type"] == kind), {})


def processes(*words: str) -> Iterator[int]:
    """Pids of this machine whose command line holds all words."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (
                (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
        except OSError:
            continue
        if all(word in line for word in words) and int(directory.name) != os.getpid():
            yield int(directory.name)


def with_environment(words: str, value: str) -> list[int]:
    """Pids of this machine whose command line holds the words, and whose environment the value."""
    found = []
    for pid in processes(words):
        with suppress(OSError):  # it has ended
            if value.encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found
