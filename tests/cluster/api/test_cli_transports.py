"""The command line against the real cluster, both ways: the same commands, and the same stdout
where that is promised."""

import json
import os
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from lab import NAMESPACE, PATIENCE, ROOT, Json, Lab
from rest_facade import Facade

WAYS = ("rest", "cluster")
ONLY_THE_API = (
    "links",
    "log_path",
    "log_bytes",
    "log_complete",
    "log_note",
    "turns",
    "deleted_at",
    "updated_at",
    "transitions",
)
ONLY_THE_CLUSTER = ("events",)


class Cli:
    """The command, with the variables of `.cluster/env`; straight on the cluster it knows no
    api."""

    def __init__(self, lab: Lab, way: str) -> None:
        self.lab = lab
        self.way = way
        env = {**os.environ, **lab.env, "COLUMNS": "80", "XDG_CONFIG_HOME": "/nowhere"}
        if way == "cluster":
            env = {key: value for key, value in env.items() if not key.startswith("CODEX_CONTROL_")}
        self.env = env

    def words(self, *arguments: str) -> list[str]:
        where = ["-n", NAMESPACE] if self.way == "cluster" else []
        return [sys.executable, "-m", "codexrun_cli", *arguments, *where]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Its stdout."""
        done = subprocess.run(
            self.words(*arguments),
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == code, (
            f"{self.way}: {arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *arguments: str, code: int = 0) -> Json:
        found: Json = json.loads(self(*arguments, "-o", "json", code=code))
        return found


@pytest.fixture(params=WAYS)
def cli(lab: Lab, request: pytest.FixtureRequest) -> Cli:
    return Cli(lab, request.param)


@pytest.fixture
def ways(lab: Lab) -> list[Cli]:
    return [Cli(lab, way) for way in WAYS]


@pytest.fixture(scope="module")
def job_type(lab: Lab) -> str:
    return lab.job_type(concurrencyLimit=5)


@pytest.fixture(scope="module")
def done(lab: Lab, facade: Facade, job_type: str) -> str:
    """The name of a run that has ended well, all of it known to the api."""
    run = lab.ended(lab.run(job_type, "several-turns"))
    facade.until(run, "succeeded", log_closed=True)
    return str(run["metadata"]["name"])


def start(cli: Cli, job_type: str, scenario: str, *more: str, code: int = 0) -> str:
    return cli("start", job_type, "-p", f"scenario={scenario}", *more, code=code).strip()


def test_start_wait_prints_what_the_agent_said(cli: Cli, job_type: str) -> None:
    assert start(cli, job_type, "message", "--wait")
    run = cli.json("start", job_type, "-p", "scenario=message", "--wait")
    assert (run["status"], run["origin"]) == ("succeeded", "cli")
    assert run["usage"]["total_tokens"] > 0


def test_both_ways_print_the_same(ways: list[Cli], done: str, job_type: str) -> None:
    commands = [
        ["wait", done],
        ["list", "--job-type", job_type, "--status", "succeeded", "-o", "name"],
        ["status", done, "-o", "name"],
        ["status", done, "-o", 'jsonpath={.status}{"\\n"}{.usage.total_tokens}{"\\n"}{.result}'],
        [
            "list",
            "-j",
            job_type,
            "-s",
            "succeeded",
            "-o",
            "custom-columns=NAME:.name,TOKENS:.cost_tokens",
        ],
        ["logs", done, "--raw"],
        ["logs", done, "-f", "--raw"],
        ["logs", done],
        ["logs", done, "--tail", "3"],
        ["jobtypes", "show", job_type],
    ]
    for command in commands:
        rest, cluster = (way(*command) for way in ways)
        assert rest == cluster, command
        assert rest, command


def test_prompts_are_the_same_both_ways(ways: list[Cli], lab: Lab, done: str) -> None:
    """Other tests make and use some meanwhile; ours stay."""
    rest, cluster = (
        [line for line in way("prompts", "list").splitlines() if lab.own in line] for way in ways
    )
    assert rest == cluster
    assert rest


def test_labels_and_orders_are_the_same_both_ways(
    ways: list[Cli], lab: Lab, facade: Facade, job_type: str
) -> None:
    mark = f"mark={lab.name('l')}"
    names = {
        scenario: start(
            ways[n % 2],
            job_type,
            scenario,
            "--label",
            mark,
            "--label",
            f"env={env}",
            "--wait",
            "-o",
            "name",
        )
        for n, (scenario, env) in enumerate((("message", "prod"), ("several-turns", "dev")))
    }
    for name in names.values():
        facade.until(name.removeprefix("codexrun/"), "succeeded")
    few = names["message"]
    many = names["several-turns"]
    for wanted, found in (
        (["-l", mark, "--sort", "-tokens"], [many, few]),
        (["-l", mark, "--sort", "tokens"], [few, many]),
        (["-l", mark], [many, few]),
        (["-l", f"{mark},env!=dev"], [few]),
        (["-l", f"{mark},env in (dev, prod),!other", "--sort", "created"], [few, many]),
        (["-l", f"{mark},other"], []),
    ):
        for way in ways:
            assert way("list", *wanted, "-o", "name").split() == found, (way.way, wanted)
    for order in ("created", "started", "finished", "duration", "tokens", "cost"):
        for sort in (order, f"-{order}"):
            rest, cluster = (
                way("list", "-j", job_type, "-s", "succeeded", "--sort", sort, "-o", "name")
                for way in ways
            )
            assert rest == cluster, sort
    assert [way("list", "-l", "env>1", code=2) for way in ways] == ["", ""]


def test_tables_and_documents_are_the_same_but_for_what_only_the_api_keeps(
    ways: list[Cli], done: str, job_type: str
) -> None:
    documents = [way.json("status", done) for way in ways]
    for document in documents:
        for key in (*ONLY_THE_API, *ONLY_THE_CLUSTER):
            document.pop(key, None)
    assert documents[0] == documents[1]
    assert documents[0]["conditions"]
    assert documents[0]["limits"]
    tables = [
        re.sub(r" \d+[smhd] ", " AGE ", way("list", "-j", job_type, "-s", "succeeded"))
        for way in ways
    ]
    assert tables[0].splitlines()[0] == tables[1].splitlines()[0]
    assert [line.split()[0] for line in tables[0].splitlines()] == [
        line.split()[0] for line in tables[1].splitlines()
    ]
    own = r"\(.* ago\)|Console:.*\n|\n(Transitions|Events):\n(  .*\n)+"
    described = [re.sub(own, "", way("status", done)) for way in ways]
    described = [re.sub(r" +\d+[smhd]( |$)", " AGE ", text, flags=re.M) for text in described]
    assert described[0] == described[1]
    assert "\nConditions:\n" in described[0]


def test_the_api_tells_transitions_and_the_cluster_its_events(
    ways: list[Cli], lab: Lab, facade: Facade, job_type: str
) -> None:
    run = lab.ended(lab.run(job_type, "401"))
    facade.until(run, "failed", log_closed=True)
    rest, cluster = (way.json("status", run["metadata"]["name"]) for way in ways)
    assert rest["transitions"][-1]["status"] == "failed"
    assert "starting" in [move["status"] for move in rest["transitions"]]
    assert cluster["events"][-1]["message"]
    assert rest["conditions"] == cluster["conditions"]


def test_the_log_is_what_the_pod_printed(ways: list[Cli], lab: Lab, done: str) -> None:
    pod = lab.kubectl("get", "pods", "-l", f"codexrun.dev/run={done}", "-o", "name").stdout.strip()
    printed = lab.kubectl("logs", pod, "-c", "agent").stdout
    for way in ways:
        assert way("logs", done, "--raw") == printed


def test_queue_place(ways: list[Cli], lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1)
    running = start(ways[0], job_type, "sleep-100")
    # The others are created once it has the slot: of those of one second the uid decides.
    ways[0]("wait", running, "--for", "phase=Running", "--timeout", "2m")
    names = [running, *(start(way, job_type, "sleep-100") for way in ways)]
    for name in names[1:]:
        ways[0]("wait", name, "--for", "phase=Queued", "--timeout", "2m")
    places = [[way.json("status", name).get("queue", {}) for name in names] for way in ways]
    assert [place.get("position") for place in places[0]] == [
        place.get("position") for place in places[1]
    ]
    # Which of the two is next is the uid's business where both were made within one second.
    assert sorted(place["position"] for place in places[0][1:]) == [1, 2]
    # Nothing to learn from yet, which both say.
    assert all(place.get("eta_seconds") is None for way in places for place in way)
    ways[1]("cancel", *names, "--yes")


def test_a_full_job_type_refuses_and_leaves_nothing(cli: Cli, lab: Lab) -> None:
    job_type = lab.job_type(concurrencyLimit=1)
    live = start(cli, job_type, "sleep-100")
    start(cli, job_type, "message", "--reject", code=1)
    assert cli("list", "-j", job_type, "-o", "name") == f"codexrun/{live}\n"
    cli("cancel", live)


def test_cancel_wait_and_its_code(cli: Cli, job_type: str) -> None:
    name = start(cli, job_type, "sleep-100")
    cli("wait", name, "--for", "phase=Running", "--timeout", "2m")
    assert cli("cancel", name, "--wait", "--reason", "enough") == f"{name} cancelled\n"
    assert cli("wait", name, code=3) == f"{name} cancelled\n"
    assert cli.json("status", name)["error"].endswith(": enough")
    cli("cancel", name)  # asking twice is asking once


def test_retry_changes_what_was_said_and_follows(
    cli: Cli, lab: Lab, done: str, job_type: str
) -> None:
    said = cli("retry", done, "--set", "scenario=message", "--follow")
    assert said.strip()
    name = json.loads(cli("list", "-j", job_type, "-L", "1", "-o", "json"))["runs"][0]["name"]
    spec = json.loads(lab.kubectl("get", "cxr", name, "-o", "json").stdout)["spec"]
    assert (spec["inputs"], spec["retryOf"]["name"]) == ({"scenario": "message"}, done)
    lab.kubectl("delete", "cxr", name)


def test_following_a_live_run_loses_and_doubles_no_line(
    ways: list[Cli], job_type: str, lab: Lab
) -> None:
    name = start(ways[0], job_type, "several-turns")
    texts: dict[str, str] = {}

    def follow(way: Cli) -> None:
        texts[way.way] = way("logs", "-f", "--raw", name)

    threads = [threading.Thread(target=follow, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    ways[0]("wait", name)
    pod = lab.kubectl("get", "pods", "-l", f"codexrun.dev/run={name}", "-o", "name").stdout.strip()
    printed = lab.kubectl("logs", pod, "-c", "agent").stdout
    assert texts == {"rest": printed, "cluster": printed}


CODES: list[tuple[list[str], int]] = [
    (["status", "no-such-run"], 5),
    (["start", "no-such-job-type"], 5),
    (["list", "--status", "done"], 2),
    (["wait", "{done}", "--for", "phase=Failed"], 1),
    (["cancel", "{done}"], 6),
]


@pytest.mark.parametrize(
    ("command", "code"),
    CODES,
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_codes_are_the_same_both_ways(cli: Cli, done: str, command: list[str], code: int) -> None:
    cli(*(word.format(done=done) for word in command), code=code)


def test_what_needs_the_api_says_so(lab: Lab) -> None:
    cli = Cli(lab, "cluster")
    for command in (["stats"], ["cleanup", "--dry-run"]):
        cli(*command, code=7)


def test_a_dry_run_is_something_to_apply(cli: Cli, lab: Lab, job_type: str) -> None:
    for where in ("client", "server"):
        name = lab.name("dry")
        words = [
            "start",
            job_type,
            "-p",
            "scenario=message",
            "--name",
            name,
            "--dry-run",
            where,
            "-o",
            "yaml",
        ]
        if (
            cli.way == "rest"
        ):  # the dry run is the cluster's; there is one namespace that the job type is in
            words = [*words, "-n", NAMESPACE]
        manifest = cli(*words)
        lab.kubectl("apply", "--dry-run=server", "-f", "-", stdin=manifest)


@pytest.fixture
def sound_job_types(lab: Lab) -> None:
    """Without those of other tests whose Secret has gone or never was: those it finds, rightly."""
    for job_type in lab.custom.list_namespaced_custom_object(*lab.job_type_kind)["items"]:
        secret = job_type["spec"].get("git", {}).get("credentialsSecretRef", {}).get("name")
        if secret and lab.kubectl("get", "secret", secret, check=False).returncode:
            lab.kubectl("delete", "cjt", job_type["metadata"]["name"])


@pytest.mark.alone
@pytest.mark.usefixtures("sound_job_types")
def test_doctor_finds_this_cluster_well(lab: Lab) -> None:
    shown = Cli(lab, "cluster")("doctor")
    for check in ("cluster", "crd", "rights", "operator", "image", "pulls", "sandbox"):
        assert f"ok      {check}: " in shown, shown
    with_api = subprocess.run(
        Cli(lab, "rest").words("doctor"),
        env=Cli(lab, "rest").env,
        capture_output=True,
        text=True,
        check=False,
    )
    for check in ("api", "token", "registry"):
        assert f"ok      {check}: " in with_api.stdout, with_api


@pytest.mark.alone
@pytest.mark.usefixtures("sound_job_types")
def test_doctor_probes_a_gate_and_leaves_nothing(lab: Lab) -> None:
    shown = Cli(lab, "cluster")("doctor", "--probe")
    assert "ok      probe: " in shown, shown
    for kind in ("cjt", "configmaps"):
        assert "codexrun-probe-" not in lab.kubectl("get", kind).stdout


def test_versions(ways: list[Cli]) -> None:
    rest, cluster = (way("--version") for way in ways)
    assert re.fullmatch(r"codexrun \S+\nserver   \S+\ncrd      codexrun.dev/v1alpha1\n", rest)
    assert re.fullmatch(r"codexrun \S+\ncrd      v1alpha1\n", cluster)


def test_kubectl_finds_the_plug_in(lab: Lab, done: str) -> None:
    env: dict[str, Any] = {**os.environ, **lab.env, "PATH": f"{ROOT}/.venv/bin:{lab.env['PATH']}"}
    listed = subprocess.run(
        ["kubectl", "plugin", "list"], env=env, capture_output=True, text=True, check=False
    ).stdout
    assert "/kubectl-codexrun" in listed
    words = ["kubectl", "codexrun", "status", done, "-o", "name", "-n", NAMESPACE]
    assert (
        subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
        == f"codexrun/{done}\n"
    )
    offered = subprocess.run(
        ["kubectl", "__complete", "codexrun", "sta"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    assert "start" in offered
