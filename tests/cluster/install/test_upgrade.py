"""`helm upgrade` from an earlier commit to this checkout, and back, loses and restarts no run.

The release of `make up` itself is taken back to the earlier commit, CRDs included, with a registry
of its own; at the end it is as it was. On the way up it is for a moment the version that the
rollback goes back to: the earliest one does not bear a registry that has been migrated by a newer.
What users or running pods depend on, and a change might
break, belongs in here: in `Fleet` if it lives through an upgrade, in `Before` if it must be found
again.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from earlier import Release, release
from earlier_tree import EARLIER, ROLLED_BACK_TO
from lab import NAMESPACE, ROOT, Json, Lab
from rest_facade import Facade

pytestmark = pytest.mark.disruptive

NODE_LABEL = "codexrun.test/upgrade"
HOLD = "codexrun.test/held"  # a finalizer
LIMITS = {"timeoutSeconds": 1800, "stallSeconds": 600, "startSeconds": 1800}
WAIT = "until [ -e go ]; do sleep 0.5; done; echo went on"
STUBBORN = "trap '' INT TERM; until [ -e go ]; do sleep 0.5; done"
HISTORY = """
import json, sqlite3
registry = sqlite3.connect("file:/var/lib/codexrun/registry.db?mode=ro", uri=True)
registry.row_factory = sqlite3.Row
print(json.dumps({
    table: [dict(row) for row in registry.execute(f"SELECT * FROM {table} ORDER BY seq")]
    for table in ("runs", "run_events")
}))
"""


class Fleet:
    """One run in each state that is not an end, held in it until `let_go`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.place = lab.name("place")
        prompt = lab.prompt("Do it.\nscenario: shell\ncommand: {{command}}\n")
        one_slot = lab.job_type(prompt=prompt, limits=LIMITS, concurrencyLimit=1)
        away = lab.job_type(
            prompt=prompt, limits=LIMITS, podTemplate={"nodeSelector": {NODE_LABEL: self.place}}
        )
        ends = lab.job_type(prompt=prompt, limits=LIMITS)
        self.running = self._in_a_command(one_slot, WAIT)
        self.queued = self._start(one_slot, "echo had its turn")
        self.starting = self._start(away, "echo has a node")
        self.stopping = self._in_a_command(ends, STUBBORN)
        self._hold_pod(self.stopping)
        lab.until(self.starting, lambda run: run["status"].get("reason") == "Unschedulable")
        lab.phase(self.queued, "Queued")
        # The last one: its runner's grace has only begun when the upgrade does.
        lab.cancel(self.stopping, by="ada", reason="upgrade")
        lab.phase(self.stopping, "Stopping")
        self.before = self.identities()

    @property
    def runs(self) -> dict[str, Json]:
        """By the phase that they are held in."""
        return {
            "Running": self.running,
            "Queued": self.queued,
            "Starting": self.starting,
            "Stopping": self.stopping,
        }

    def identities(self) -> dict[str, Json]:
        """What would be other after a restart: phase, attempt, Jobs, pods, and restarts of
        containers."""
        found = {}
        for phase, run in self.runs.items():
            status = self.lab.get(run)["status"]
            found[phase] = {
                "phase": status["phase"],
                "attempt": status.get("attempt"),
                "jobs": [job.metadata.uid for job in self.lab.jobs(run)],
                "pods": [(pod.metadata.uid, restarts(pod)) for pod in self.lab.pods(run)],
            }
        return found

    def let_go(self) -> dict[str, Json]:
        """Let each go on to its end; returns them as they ended."""
        pod = self.lab.pod(self.running).metadata.name
        self.lab.kubectl("exec", pod, "-c", "agent", "--", "touch", "/workspace/go")
        label_nodes(self.lab, self.place)
        release_pods(self.lab)
        return {phase: self.lab.ended(run) for phase, run in self.runs.items()}

    def _start(self, job_type: str, command: str) -> Json:
        return self.lab.run(job_type, inputs={"command": command})

    def _in_a_command(self, job_type: str, command: str) -> Json:
        return self.lab.in_a_command(self._start(job_type, command))

    def _hold_pod(self, run: Json) -> None:
        patch = json.dumps({"metadata": {"finalizers": [HOLD]}})
        self.lab.kubectl(
            "patch", "pod", self.lab.pod(run).metadata.name, "--type=strategic", "-p", patch
        )


@dataclass(frozen=True)
class Before:
    """What there was under the earlier commit, to be found again."""

    fleet: Fleet
    ended: dict[str, Json]  # runs by how they ended
    logs: dict[str, bytes]  # by run id; of runs that had a pod
    history: dict[str, list[Json]]  # rows of the registry's tables
    start: tuple[str, Json, str]  # Idempotency-Key, body, and the run id that it got
    crds: dict[str, str]  # uids
    events: Counter[tuple[str, str]]
    token: tuple[str, str]  # the Secret's uid, and its bytes
    release: Release
    previous: Release  # the one before this checkout: what a rollback goes back to


@pytest.fixture(scope="module")
def upgraded(lab: Lab, facade: Facade) -> Iterator[Before]:
    """The release of this checkout, upgraded from the earlier one."""
    if not Path("/run/codexrun-node/node.json").exists():
        pytest.skip("images are built for the embedded node only")
    old = release(EARLIER)
    previous = release(ROLLED_BACK_TO)
    claim = lab.name("registry-of-upgrade")
    values = values_of_release(lab)
    api = values.get("api", {})
    moved = {
        **values,
        "api": {**api, "persistence": {**api.get("persistence", {}), "existingClaim": claim}},
    }
    others = names_of_runs(lab)
    try:
        make_claim(lab, claim)
        on_claim = {"api": {"persistence": {"existingClaim": claim}}}
        helm_upgrade(lab, old.chart, {**old.values, **on_claim})
        before = under_the_earlier_commit(lab, facade, old, previous)
        helm_upgrade(lab, previous.chart, {**previous.values, **on_claim})
        helm_upgrade(lab, ROOT / "charts/codexrun", moved)
        yield before
    finally:
        label_nodes(lab, None)
        release_pods(lab)
        # Gone before the registry changes: these runs are none of that one's.
        for name in names_of_runs(lab) - others:
            lab.kubectl("delete", "cxr", name, "--timeout=120s", check=False)
        helm_upgrade(lab, ROOT / "charts/codexrun", values)
        lab.kubectl("delete", "pvc", claim, "--ignore-not-found", "--timeout=60s")
        facade.get("/readyz")


def under_the_earlier_commit(lab: Lab, facade: Facade, old: Release, previous: Release) -> Before:
    """Runs that have ended in each way, and a fleet of those that have not."""
    facade.get("/readyz")
    job_type = lab.job_type()
    suspended = lab.job_type(suspended=True)
    cancelled = lab.phase(lab.run(suspended, "message"), "Queued")
    lab.cancel(cancelled)
    ended = {
        "Succeeded": lab.ended(lab.run(job_type, "several-turns")),
        "Failed": lab.ended(lab.run(job_type, "no-message")),
        "Rejected": lab.ended(lab.run(job_type, "message", limits={"timeoutSeconds": 86400})),
        "Cancelled": lab.ended(cancelled),
    }
    assert {phase: run["status"]["phase"] for phase, run in ended.items()} == {
        phase: phase for phase in ended
    }
    key = lab.name("key")
    body = {"job_type": job_type, "inputs": {"scenario": "message"}}
    started = start(facade, key, body)
    lab.ended({"metadata": {"name": started["name"]}})
    facade.until(started["run_id"], "succeeded", log_closed=True)
    fleet = Fleet(lab)
    for phase, run in ended.items():
        facade.until(run, phase.lower())
    with_pods = [ended[phase] for phase in ("Succeeded", "Failed")]
    for run in with_pods:
        facade.until(run, run["status"]["phase"].lower(), log_closed=True)
    return Before(
        fleet=fleet,
        ended=ended,
        logs={run["metadata"]["uid"]: facade.log(run) for run in with_pods},
        history=history(lab),
        start=(key, body, started["run_id"]),
        crds=crds(lab),
        events=events(lab, list(ended.values())),
        token=token(lab),
        release=old,
        previous=previous,
    )


def helm_upgrade(lab: Lab, chart: Path, values: Json) -> None:
    """As people do it, CRDs included; waits until all of it is ready."""
    options = ("--reset-values", "-f", "-", "--wait", "--timeout", "180s")
    lab.sh(
        "helm",
        "upgrade",
        "codexrun",
        str(chart),
        "-n",
        NAMESPACE,
        *options,
        stdin=json.dumps(values),
    )


def values_of_release(lab: Lab) -> Json:
    shown = lab.sh("helm", "get", "values", "codexrun", "-n", NAMESPACE, "-o", "json").stdout
    values: Json = json.loads(shown)
    return values


def make_claim(lab: Lab, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"metadata": {"name": name, "labels": lab.mark}, "spec": spec}
    lab.core.create_namespaced_persistent_volume_claim(NAMESPACE, body)


def label_nodes(lab: Lab, value: str | None) -> None:
    """Pods that ask for it have a node from now on; None takes the label away."""
    lab.kubectl(
        "label",
        "node",
        "--all",
        "--overwrite",
        f"{NODE_LABEL}={value}" if value else f"{NODE_LABEL}-",
    )


def release_pods(lab: Lab) -> None:
    """Let those that are held go."""
    patch = json.dumps({"metadata": {"$deleteFromPrimitiveList/finalizers": [HOLD]}})
    for pod in lab.core.list_namespaced_pod(NAMESPACE, label_selector="codexrun.dev/run").items:
        if HOLD in (pod.metadata.finalizers or ()):
            lab.kubectl("patch", "pod", pod.metadata.name, "--type=strategic", "-p", patch)


def names_of_runs(lab: Lab) -> set[str]:
    listed = lab.custom.list_namespaced_custom_object(*lab.run_kind)["items"]
    return {run["metadata"]["name"] for run in listed}


def restarts(pod: Any) -> int:
    of_containers = (
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    )
    return sum(status.restart_count for status in of_containers)


def start(facade: Facade, key: str, body: Json) -> Json:
    answer = facade.http.post("/runs/start", json=body, headers={"Idempotency-Key": f'"{key}"'})
    assert answer.status_code == 202, answer.text
    started: Json = answer.json()
    return started


def history(lab: Lab) -> dict[str, list[Json]]:
    rows: dict[str, list[Json]] = json.loads(
        lab.kubectl(
            "exec", "deploy/codexrun-api", "-c", "api", "--", "python3", "-c", HISTORY
        ).stdout
    )
    return rows


def crds(lab: Lab) -> dict[str, str]:
    listed = json.loads(lab.kubectl("get", "crd", "-o", "json").stdout)["items"]
    return {
        crd["metadata"]["name"]: crd["metadata"]["uid"]
        for crd in listed
        if crd["spec"]["group"] == "codexrun.dev"
    }


def token(lab: Lab) -> tuple[str, str]:
    secret = lab.core.read_namespaced_secret("codexrun-api-token", NAMESPACE)
    return secret.metadata.uid, secret.data["token"]


def events(lab: Lab, runs: list[Json]) -> Counter[tuple[str, str]]:
    """How often each Event of these runs was told: by run id and reason."""
    ours = {run["metadata"]["uid"] for run in runs}
    told: Counter[tuple[str, str]] = Counter()
    for event in lab.core.list_namespaced_event(NAMESPACE).items:
        if event.involved_object.uid in ours:
            told[event.involved_object.uid, event.reason] += event.count or 1
    return told


def through_the_operator(lab: Lab, **job_type: Any) -> Json:
    """A run from start to end: the operator that is there now has had its chance to do wrong with
    the others."""
    run = lab.ended(lab.run(lab.job_type(**job_type), "several-turns"))
    assert run["status"]["phase"] == "Succeeded", run["status"]
    return run


def assert_held(lab: Lab, fleet: Fleet) -> None:
    """Each in its state, none restarted."""
    through_the_operator(lab)
    assert fleet.identities() == fleet.before


def assert_log_whole(lab: Lab, facade: Facade, run: Json) -> None:
    """The archive has what the agent's container printed."""
    pod = lab.pod(run).metadata.name
    printed = lab.core.read_namespaced_pod_log(
        pod, NAMESPACE, container="agent", _preload_content=False
    ).data
    row = facade.until(run, "succeeded", log_closed=True)
    assert (facade.log(run), row["log_complete"]) == (printed, True)


def assert_went_on(lab: Lab, facade: Facade, fleet: Fleet) -> None:
    """To the end that each would have had without an upgrade, with log, usage, row and Events."""
    ended = fleet.let_go()
    assert {held: run["status"]["phase"] for held, run in ended.items()} == {
        "Running": "Succeeded",
        "Queued": "Succeeded",
        "Starting": "Succeeded",
        "Stopping": "Cancelled",
    }
    says = {"Running": "went on", "Queued": "had its turn", "Starting": "has a node"}
    for held, words in says.items():
        assert words in ended[held]["status"]["result"]["message"]
        assert_log_whole(lab, facade, ended[held])
    assert ended["Stopping"]["status"]["message"] == "Cancelled by ada: upgrade"
    for run in ended.values():
        row = facade.until(run, run["status"]["phase"].lower(), log_closed=True)
        assert (run["status"]["attempt"], row["cost_tokens"]) == (
            1,
            run["status"]["usage"]["totalTokens"],
        )
        assert row["cost_tokens"] > 0
    told = events(lab, list(ended.values()))
    assert set(told.values()) <= {1}, told
    moves = Counter(
        (move["run_id"], move["attempt"], move["status"], move["reason"])
        for move in history(lab)["run_events"]
        if move["run_id"] in {run["metadata"]["uid"] for run in ended.values()}
    )
    assert set(moves.values()) == {1}, moves


def test_runs_in_flight_are_neither_lost_nor_restarted(lab: Lab, upgraded: Before) -> None:
    assert_held(lab, upgraded.fleet)
    assert {phase: held["phase"] for phase, held in upgraded.fleet.before.items()} == {
        phase: phase for phase in upgraded.fleet.runs
    }


def test_objects_stay(lab: Lab, upgraded: Before) -> None:
    """An upgraded CRD is the same object: one that is deleted and made again takes every run
    along."""
    assert crds(lab) == upgraded.crds
    for run in upgraded.ended.values():
        now = lab.get(run)
        assert (now["metadata"]["uid"], now["spec"], now["status"]) == (
            run["metadata"]["uid"],
            run["spec"],
            run["status"],
        )
    assert events(lab, list(upgraded.ended.values())) == upgraded.events


def test_the_clients_token_stays_and_no_later_version_can_delete_it(
    lab: Lab, upgraded: Before
) -> None:
    assert token(lab) == upgraded.token
    secret = lab.core.read_namespaced_secret("codexrun-api-token", NAMESPACE)
    assert secret.metadata.annotations["helm.sh/resource-policy"] == "keep"


def test_the_api_can_ask_whose_a_token_is_and_nothing_else_of_the_cluster(
    lab: Lab, upgraded: Before
) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:codexrun-api"
    bindings = json.loads(lab.kubectl("get", "clusterrolebindings", "-o", "json").stdout)["items"]
    bound = [
        binding["roleRef"]["name"]
        for binding in bindings
        for subject in binding.get("subjects", [])
        if f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}" == account
    ]
    assert bound == [f"codexrun:{NAMESPACE}:codexrun:token-reviews"]


def test_rows_and_logs_stay(lab: Lab, facade: Facade, upgraded: Before) -> None:
    """Of runs that have ended, column by column; a migration may add some."""
    ended = {run["metadata"]["uid"] for run in upgraded.ended.values()}
    now = history(lab)
    for table, rows in upgraded.history.items():
        by_number = {row["seq"]: row for row in now[table]}
        kept = [row for row in rows if row["run_id"] in ended]
        assert {row["run_id"] for row in kept} == ended
        for row in kept:
            assert {column: by_number[row["seq"]].get(column) for column in row} == row
    moves = Counter(
        move["run_id"] for move in upgraded.history["run_events"] if move["run_id"] in ended
    )
    assert Counter(move["run_id"] for move in now["run_events"] if move["run_id"] in ended) == moves
    for run_id, log in upgraded.logs.items():
        assert log
        assert facade.log(run_id) == log


def test_an_idempotency_key_still_finds_its_run(lab: Lab, facade: Facade, upgraded: Before) -> None:
    key, body, run_id = upgraded.start
    assert start(facade, key, body)["run_id"] == run_id


def test_a_team_s_own_agent_image_of_before_works_on(
    lab: Lab, facade: Facade, upgraded: Before
) -> None:
    """Teams build theirs when they like: the old runner under the new operator, beside the new
    gate."""
    run = through_the_operator(lab, image=upgraded.release.agent_image)
    pod = lab.pod(run)
    (agent,) = pod.spec.containers
    assert agent.image == upgraded.release.agent_image
    assert run["status"]["usage"]["complete"] is True
    assert_log_whole(lab, facade, run)


def test_runs_in_flight_go_on_to_their_ends(lab: Lab, facade: Facade, upgraded: Before) -> None:
    """Their pods are the earlier commit's: its runner and its gate report to this operator, and
    ship to this api."""
    assert_went_on(lab, facade, upgraded.fleet)


def test_a_rollback_and_an_upgrade_again(
    lab: Lab, facade: Facade, upgraded: Before, tmp_path: Path
) -> None:
    """The version before takes over what this one has begun, on its registry, and gives it back."""
    assert upgraded.previous.refuses_registry(tmp_path) == ""
    fleet = Fleet(lab)
    ended = through_the_operator(lab)
    values = values_of_release(lab)
    lab.sh("helm", "rollback", "codexrun", "-n", NAMESPACE, "--wait", "--timeout", "180s")
    facade.get("/readyz")
    assert_held(lab, fleet)
    assert token(lab) == upgraded.token
    assert lab.get(ended)["status"] == ended["status"]
    assert_log_whole(lab, facade, ended)
    helm_upgrade(lab, ROOT / "charts/codexrun", values)
    assert_held(lab, fleet)
    assert_went_on(lab, facade, fleet)
