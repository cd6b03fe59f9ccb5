"""CodexRuns into rows: whatever happened while nobody watched, and however long the registry was
away."""

from dataclasses import replace

import pytest
from apistand import Stand, services_over
from fake_cluster import FakeCluster
from manifests import prompt

from codexrun_api.mirror.event_buffer import EventBuffer
from codexrun_api.mirror.runs import Mirror
from codexrun_api.mirror.write_queue import RegistryWriter
from codexrun_api.runs import actions
from codexrun_api.settings import Settings
from codexrun_core.errors import Unavailable
from codexrun_core.resources import CodexRun
from codexrun_core.runs.filters import Filter
from codexrun_core.runs.record import RunRecord


def applied(stand: Stand, name: str, inputs: dict | None = None) -> dict:
    """As by kubectl."""
    spec = {"jobType": "hello", "inputs": inputs or {"name": "x"}}
    return stand.kube.put(stand.kube.runs, {"metadata": {"name": name}, "spec": spec})


async def test_a_run_of_kubectl_has_a_row_with_its_transitions(stand: Stand) -> None:
    uid = applied(stand, "mine")["metadata"]["uid"]
    for phase in ("Queued", "Starting", "Running"):
        stand.kube.status("mine", phase)
    await stand.finish("mine")
    row = await stand.registry.get(uid)
    assert (row.status, row.origin) == ("succeeded", "kubectl")
    assert [e.status for e in await stand.registry.events(uid)] == [
        "pending",
        "queued",
        "starting",
        "running",
        "succeeded",
    ]


async def test_a_live_run_deleted_by_hand_is_cancelled(stand: Stand) -> None:
    uid = applied(stand, "mine")["metadata"]["uid"]
    stand.kube.status("mine", "Running")
    stand.kube.remove(f"{stand.kube.runs}/mine")
    await stand.mirrored()
    row = await stand.registry.get(uid)
    assert (row.status, row.reason) == ("cancelled", "Deleted")
    assert row.deleted_at is not None


async def test_a_finished_run_keeps_its_row(stand: Stand) -> None:
    uid = applied(stand, "mine")["metadata"]["uid"]
    await stand.finish("mine")
    stand.kube.remove(f"{stand.kube.runs}/mine")
    await stand.mirrored()
    row = await stand.registry.get(uid)
    assert (row.status, row.deleted_at is None) == ("succeeded", False)


async def test_a_run_deleted_unseen_is_marked_and_not_invented(stand: Stand) -> None:
    """Another process starts later on the same registry, with a cluster that has lost the runs: the
    one that went on and the one that had ended."""
    going = applied(stand, "going")["metadata"]["uid"]
    ended = applied(stand, "ended")["metadata"]["uid"]
    await stand.finish("ended")
    later = FakeCluster()
    later.version = stand.kube.version
    await caught_up(Mirror(later, stand.registry, EventBuffer()))
    row = await stand.registry.get(going)
    assert (row.status, row.reason) == ("deleted", "DeletedUnseen")
    row = await stand.registry.get(ended)
    assert (row.status, row.deleted_at is None) == ("succeeded", False)


async def caught_up(mirror: Mirror) -> None:
    """As a process that starts: list, then write all that there is to write."""
    await mirror.watcher._list()
    mirror.writer.compare(mirror.comparison)
    await mirror.writer.drain()


async def test_an_idempotency_key_is_its_run_also_where_nobody_saw_the_object_go(
    stand: Stand,
) -> None:
    """Whether an earlier process's row says that the object is gone is no matter."""
    key = {"headers": {"Idempotency-Key": '"once"'}}
    started = (await stand.start(**key)).json()
    await stand.finish(started["name"])
    path = f"{stand.kube.runs}/{started['name']}"
    del stand.kube.objects[path]  # without an event
    stand.services.mirror._take_list((), stand.kube.version)
    stand.services.mirror.writer._changes.clear()
    assert (await stand.registry.get(started["run_id"])).deleted_at is None
    again = await stand.start(**key)
    assert (again.status_code, again.json()["run_id"]) == (202, started["run_id"])
    assert again.headers["Idempotent-Replayed"] == "true"
    assert stand.kube.run_names == []


@pytest.mark.parametrize("lost", [False, True], ids=["before", "after"])
async def test_the_end_is_followed_although_the_answer_to_its_write_was_lost(
    stand: Stand, lost: bool
) -> None:
    """Once, for whoever follows; in the order in which it was recorded."""
    told: list[tuple[str, str]] = []
    stand.services.mirror.writer.listen(lambda move: told.append((move.run.name, move.status)))
    record = stand.registry.record
    failed: list[str] = []

    async def unreliable(run: RunRecord) -> object:
        answer = await record(run) if lost else None
        if run.terminal and not failed:
            failed.append(run.name)
            raise Unavailable("registry: the server closed the connection")
        return answer if lost else await record(run)

    stand.registry.record = unreliable
    applied(stand, "mine")
    stand.kube.status("mine", "Running")
    await stand.finish("mine")
    assert failed == ["mine"]
    assert told == [("mine", status) for status in ("pending", "running", "succeeded")]
    assert await stand.registry.pending_transitions(10) == []


async def test_what_an_earlier_process_recorded_and_did_not_follow_is_followed(
    settings: Settings, stand: Stand
) -> None:
    """In a registry that no other process follows, as the stand's would."""
    uid = applied(stand, "mine")["metadata"]["uid"]
    await stand.mirrored()
    row = await stand.registry.get(uid)
    alone = replace(settings, registry_url=f"{settings.registry_url}.alone")
    async with services_over(alone, stand.kube) as services:
        registry = services.registry
        await registry.record(row)
        earlier = await registry.pending_transitions(10)
        await registry.settle_transitions([move.event_id for move in earlier])
        await registry.record(replace(row, status="running", rank=3, resource_version=10**6))
        told: list[str] = []
        writer = RegistryWriter(registry, (lambda move: told.append(move.status),))
        await writer.drain()
        await writer.drain()
        assert told == ["running"]


async def test_while_the_registry_is_away_changes_wait_and_lag_shows(stand: Stand) -> None:
    writer = RegistryWriter(stand.registry)
    record = stand.registry.record
    down = True

    async def sometimes(run: object) -> object:
        if down:
            raise Unavailable("registry: away")
        return await record(run)

    stand.registry.record = sometimes
    raw = applied(stand, "mine")
    writer.changed(CodexRun.model_validate(raw))
    try:
        await writer.drain()
    except Unavailable:
        assert writer.lag > 0
    down = False
    await writer.drain()
    assert writer.lag == 0
    await stand.mirrored()
    assert await stand.registry.counts(Filter()) == {"pending": 1}


async def test_lists_page_by_filter(stand: Stand) -> None:
    for number in range(5):
        applied(stand, f"run-{number}")
    await stand.mirrored()
    names = []
    token = ""
    while True:
        query = "?page_size=2&status=pending" + (f"&page_token={token}" if token else "")
        page = (await stand.http.get(f"/runs{query}")).json()
        names += [run["name"] for run in page["runs"]]
        if not (token := page.get("next_page_token", "")):
            break
    assert sorted(names) == [f"run-{n}" for n in range(5)]
    assert (await stand.http.get("/runs?status=failed")).json() == {"runs": []}


async def test_lists_by_label_follow_the_object_also_after_the_runs_end(stand: Stand) -> None:
    async def listed(label: str) -> list[str]:
        return [
            run["name"]
            for run in (await stand.http.get("/runs", params={"label": label})).json()["runs"]
        ]

    run = (await stand.start(labels={"team": "a", "env": "dev"})).json()
    assert run["labels"] == {"team": "a", "env": "dev"}
    await stand.finish(run["name"])
    assert await listed("team=a,env!=prod") == [run["name"]]
    stand.kube.patch(
        f"{stand.kube.runs}/{run['name']}", {"metadata": {"labels": {"team": "b", "env": None}}}
    )
    await stand.mirrored()
    assert await listed("team=a") == await listed("env") == []
    assert await listed("team=b,!env") == [run["name"]]
    assert (await stand.http.get(f"/runs/{run['run_id']}")).json()["labels"] == {"team": "b"}


async def test_lists_page_in_another_order(stand: Stand) -> None:
    for number, tokens in enumerate((30, 10, 20)):
        applied(stand, f"run-{number}")
        usage = {
            "inputTokens": tokens,
            "outputTokens": 0,
            "totalTokens": tokens,
            "requests": 1,
            "costMicroUSD": tokens,
        }
        stand.kube.status(f"run-{number}", "Running", usage=usage)
    applied(stand, "run-3")
    await stand.mirrored()

    async def listed(sort: str) -> list[str]:
        names = []
        token = None
        while True:
            query = {"page_size": 1, "sort": sort} | ({"page_token": token} if token else {})
            page = (await stand.http.get("/runs", params=query)).json()
            names += [run["name"] for run in page["runs"]]
            if not (token := page.get("next_page_token")):
                return names

    assert await listed("-cost") == ["run-0", "run-2", "run-1", "run-3"]
    assert await listed("cost") == ["run-1", "run-2", "run-0", "run-3"]
    token = (await stand.http.get("/runs?page_size=1&sort=-cost")).json()["next_page_token"]
    other = await stand.http.get("/runs", params={"page_token": token})
    assert (other.status_code, "another order" in other.json()["detail"]) == (400, True)


async def test_prompt_resolution_shows_versions_checksums_and_users(stand: Stand) -> None:
    stand.kube.put(stand.kube.config_maps, prompt(version="v10"))
    stand.kube.put(stand.kube.config_maps, prompt(version="v2", sha256="0" * 64))

    async def seen() -> bool:
        return len(stand.services.catalog.prompts) == 3

    await stand.settle(seen)
    (found,) = (await stand.http.get("/prompts")).json()["prompts"]
    assert [(v["version"], v["checksum_ok"]) for v in found["versions"]] == [
        ("v1", True),
        ("v2", False),
        ("v10", True),
    ]
    assert (found["name"], found["used_by"]) == ("hello", ["hello"])


async def test_job_types_say_how_full_they_are(stand: Stand) -> None:
    for _ in range(2):
        await stand.start()
    await stand.start(when_full="Queue")
    (found,) = (await stand.http.get("/jobtypes")).json()["job_types"]
    assert (found["name"], found["running"], found["queued"], found["concurrency_limit"]) == (
        "hello",
        2,
        1,
        2,
    )


async def test_a_job_type_made_a_moment_ago_is_found(stand: Stand) -> None:
    from manifests import job_type

    stand.kube.put(stand.kube.job_types, job_type("fresh"))
    assert (await stand.start(job_type="fresh")).status_code == 202


async def test_stats_count_by_status(stand: Stand) -> None:
    await stand.finish((await stand.start()).json()["name"])
    stats = (await stand.http.get("/stats?job_type=hello")).json()
    assert (stats["runs"], stats["statuses"], stats["success_rate"]) == (1, {"succeeded": 1}, 1.0)


async def test_cleanup_removes_what_ended_long_ago_and_nothing_live(stand: Stand) -> None:
    old, live = [(await stand.start()).json() for _ in range(2)]
    await stand.finish(old["name"])
    for run in (old, live):
        stand.services.archive.append_attempt(run["run_id"], 1, 0, b"a line\n")
    for dry_run in (True, False):
        wish = {"older_than": "2100-01-01T00:00:00Z", "dry_run": dry_run, "force": True}
        answer = await stand.http.post("/cleanup", json=wish)
        assert (answer.status_code, answer.json()["removed"]) == (200, 1)
    holds = stand.services.archive.holds
    assert (holds(old["run_id"]), holds(live["run_id"])) == (False, True)
    assert (await stand.registry.get(old["run_id"])) is None
    assert (await stand.registry.get(live["run_id"])) is not None


async def test_cleanup_is_for_good_while_the_object_is_still_there(stand: Stand) -> None:
    """Neither a late event, nor a gate's last piece, nor another process's list bring it back."""
    run = (await stand.start()).json()
    await stand.finish(run["name"])
    archive = stand.services.archive
    body = {"older_than": "2100-01-01T00:00:00Z", "force": True}
    assert (await stand.http.post("/cleanup", json=body)).json()["removed"] == 1
    label = {"metadata": {"labels": {"team": "late"}}}
    stand.kube.patch(f"{stand.kube.runs}/{run['name']}", label)
    archive.append_attempt(run["run_id"], 1, 0, b"a late line\n")
    await stand.mirrored()
    await caught_up(Mirror(stand.kube, stand.registry, EventBuffer()))
    assert await stand.registry.get(run["run_id"]) is None
    assert (await stand.http.get("/runs")).json() == {"runs": []}
    assert (await stand.http.post("/cleanup", json=body)).json()["folders"] == 1
    assert not archive.holds(run["run_id"])
    stand.kube.remove(f"{stand.kube.runs}/{run['name']}")
    await stand.mirrored()
    assert await stand.registry.removed("codexrun") == [], "nothing is kept of it"


async def test_rows_that_the_database_has_lost_come_back_with_the_registry(stand: Stand) -> None:
    """As after a failover to a copy that was behind, or from a backup."""
    live = applied(stand, "live")["metadata"]["uid"]
    ended = applied(stand, "ended")["metadata"]["uid"]
    await stand.finish("ended")
    await stand.registry.remove([live, ended])
    await stand.registry.mark_deleted([live, ended])  # that they were removed is lost too
    record = stand.registry.record
    away = [Unavailable("registry: the server closed the connection")]

    async def once_away(run: RunRecord) -> object:
        if away:
            raise away.pop()
        return await record(run)

    stand.registry.record = once_away
    applied(stand, "next")
    await stand.mirrored()
    assert [(await stand.registry.get(uid)).status for uid in (live, ended)] == [
        "pending",
        "succeeded",
    ]


async def test_a_row_that_is_younger_than_the_list_is_asked_for_before_it_is_marked(
    stand: Stand,
) -> None:
    """Another process of the api may see more; or etcd was put back, and it is gone indeed."""
    there, gone = (applied(stand, name)["metadata"]["uid"] for name in ("there", "gone"))
    await stand.mirrored()
    other = FakeCluster()
    other.objects = {f"{other.runs}/there": stand.kube.run("there")}
    mirror = Mirror(other, stand.registry, EventBuffer())
    mirror.writer.compare(mirror.comparison)
    await mirror.writer.drain()
    rows = [await stand.registry.get(uid) for uid in (there, gone)]
    assert [row.status for row in rows] == ["pending", "deleted"]


async def test_metrics_know_routes_and_rows(stand: Stand) -> None:
    await stand.http.get("/runs/nobody")
    await stand.start()
    text = (await stand.http.get("/metrics")).text
    assert 'codexrun_http_requests_total{code="404",method="GET",route="/runs/{id}"}' in text
    assert 'codexrun_registry_runs{phase="Starting"} 1.0' in text
    assert "codexrun_registry_lag_seconds" in text


async def test_while_the_registry_is_away_a_run_is_shown_from_the_cluster(stand: Stand) -> None:
    run = (await stand.start()).json()

    async def away(*_: object) -> object:
        raise Unavailable("registry: away")

    stand.registry.get = away
    assert (await stand.http.get(f"/runs/{run['run_id']}")).json()["status"] == "starting"
    assert (await stand.http.get("/runs/00000000-0000-0000-0000-000000000000")).status_code == 503


async def test_an_object_that_cannot_be_read_stops_nobody(stand: Stand) -> None:
    stand.kube.put(stand.kube.runs, {"metadata": {"name": "odd"}, "spec": {"jobType": 7}})
    uid = applied(stand, "fine")["metadata"]["uid"]
    await stand.mirrored()
    assert (await stand.registry.get(uid)).status == "pending"
    assert (await stand.http.get("/healthz")).json()["ok"] is True


async def test_a_failure_names_its_class_as_the_document_says(stand: Stand) -> None:
    name = (await stand.start(name="wrong")).json()["name"]
    failure = {"class": "agent_error", "message": "output/a: missing", "retryable": False}
    await stand.finish(name, "Failed", failure=failure)
    assert (await stand.http.get(f"/runs/{name}")).json()["failure"] == failure


async def test_the_mirror_keeps_next_to_nothing_of_ended_runs_and_every_answer_has_them(
    stand: Stand,
) -> None:
    """By size: it does not grow with what the run had."""
    inputs = {"name": "x" * 60_000}
    for name in ("large", "away"):
        assert (await stand.start(name=name, inputs=inputs)).status_code == 202
    live = stand.services.mirror.find("large")
    assert live.spec.inputs == inputs
    await stand.finish("large")
    await stand.finish("away")
    kept = list(stand.services.mirror.ended.values())
    assert ([run.name for run in kept], stand.services.mirror.runs) == (["large", "away"], {})
    events = stand.services.event_buffer.since(0)
    assert all(len(repr(run)) < 500 for run in kept)
    assert stand.services.mirror.watcher._objects == {}
    assert events
    assert all(len(event.data) < 5_000 for event in events)
    assert (await stand.http.get("/runs/large")).json()["params"] == inputs
    retried = await stand.http.post("/runs/large/retry", json={})
    assert stand.kube.run(retried.json()["name"])["spec"]["inputs"] == inputs

    async def away(*_: object) -> None:
        raise Unavailable("registry: away")

    stand.registry.get = stand.registry.find_by_name = away
    assert (await stand.http.get("/runs/away")).json()["params"] == inputs, "from the object"
    assert (await actions.delete(stand.services, "away")).params == inputs


async def test_inputs_that_start_no_run_are_not_kept_of_a_live_one_either(stand: Stand) -> None:
    """As an apiserver without the chart's policy stores them: 400 KB of empty objects are 9 MB
    here."""
    inputs = {"a": [{}] * 100_000}
    name = applied(stand, "huge", inputs=inputs)["metadata"]["name"]
    await stand.mirrored()
    assert stand.services.mirror.find(name).spec.inputs is None
    assert (await stand.http.get(f"/runs/{name}")).json()["params"] == inputs
