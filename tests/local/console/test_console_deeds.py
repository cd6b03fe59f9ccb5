"""What the buttons do, to one run and to hundreds. No browser: each is a form."""

import asyncio

import httpx
import pytest
from apistand import csrf_of
from console_stand import Console

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_deleting_takes_the_object_away_and_leaves_what_is_recorded(
    console: Console, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = console.run("to-delete", "Succeeded", status={"result": {"message": "All is well."}})
    console.say(
        run, {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": "a line that stays"}
    )
    await console.mirrored()
    page = await http.get(f"/console/runs/{run}")
    assert f'action="/console/runs/{run}/delete"' in page.text
    with caplog.at_level("INFO", logger="codexrun_api.console.access"):
        answer = await http.post(f"/console/runs/{run}/delete", data={"csrf": await csrf_of(http)})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/runs/{run}")
    assert "to-delete" not in console.kube.run_names
    (said,) = [
        record.__dict__["fields"] for record in caplog.records if record.message == "run.deleted"
    ]
    assert (said["user"], said["origin"], said["name"]) == ("shared", "console", "to-delete")
    await console.until(lambda: run not in console.services.mirror.ids())
    after = (await http.get(f"/console/runs/{run}")).text
    assert "Succeeded" in after
    assert "no longer in the cluster" in after
    assert f'action="/console/runs/{run}/delete"' not in after
    assert "a line that stays" in (await http.get(f"/console/runs/{run}?tab=log")).text


async def test_deleting_twice_is_deleting_once(console: Console, http: httpx.AsyncClient) -> None:
    run = console.run("to-delete-twice", "Failed")
    await console.mirrored()
    for _ in range(2):
        answer = await http.post(f"/console/runs/{run}/delete", data={"csrf": await csrf_of(http)})
        assert answer.status_code == 303


async def test_a_run_that_goes_on_is_not_deleted_and_the_page_says_why(
    console: Console, http: httpx.AsyncClient
) -> None:
    run = console.run("still-going", "Running")
    await console.mirrored()
    page = (await http.get(f"/console/runs/{run}")).text
    assert "the run has not ended; cancel it first" in page
    assert f"/console/runs/{run}/delete" not in page
    answer = await http.post(f"/console/runs/{run}/delete", data={"csrf": await csrf_of(http)})
    assert answer.status_code == 409
    assert "has not ended (running); cancel it first" in answer.text
    assert "still-going" in console.kube.run_names


async def test_who_waits_for_a_lost_node_is_told_what_ends_it(
    console: Console, http: httpx.AsyncClient
) -> None:
    run = console.run(
        "stuck", "Stopping", status={"podName": "stuck-1-abcde", "reason": "NodeLost"}
    )
    await console.mirrored()
    page = (await http.get(f"/console/runs/{run}")).text
    assert "kubectl -n codexrun delete pod stuck-1-abcde --grace-period=0 --force" in page
    assert "only for a lost node" in page
    assert "the run is already being stopped" in page


async def page_with(text: str, http: httpx.AsyncClient, path: str) -> str:
    """Return the page once it has the text: a bulk action goes on after its answer."""
    async with asyncio.timeout(30):
        while text not in (page := (await http.get(path)).text):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return page


async def test_500_cancels_do_not_block_the_request(
    console: Console, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"many-{n:03}" for n in range(500)]
    for name in names:
        console.run(name, "Running", user="many")
    await console.mirrored()
    answers = asyncio.Event()
    real = console.kube.merge

    async def slow(path: str, patch: dict) -> dict:
        await answers.wait()
        return await real(path, patch)

    monkeypatch.setattr(console.kube, "merge", slow)
    form = {
        "csrf": await csrf_of(http),
        "verb": "cancel",
        "scope": "matching",
        "user": "many",
        "confirmed": "1",
        "typed": "500",
    }
    done = await http.post("/console/bulk", data=form)
    assert done.status_code == 303
    assert not any("cancel" in console.kube.run(name)["spec"] for name in names)
    assert "0 of 500 cancellations requested" in (await http.get(done.headers["location"])).text
    assert (await http.get("/console/runs")).status_code == 200
    answers.set()
    await console.until(lambda: all("cancel" in console.kube.run(name)["spec"] for name in names))
    await page_with("500 of 500 cancellations requested", http, done.headers["location"])


async def test_each_run_of_a_bulk_has_its_own_result(
    console: Console, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codexrun_core.errors import Refused

    ids = [console.run(f"each-{n}", "Running", user="each") for n in range(3)]
    await console.mirrored()
    real = console.kube.merge

    async def refusing(path: str, patch: dict) -> dict:
        if path.endswith("each-1"):
            raise Refused(403, "Forbidden", "not this one")
        return await real(path, patch)

    monkeypatch.setattr(console.kube, "merge", refusing)
    form = {
        "csrf": await csrf_of(http),
        "verb": "cancel",
        "scope": "selected",
        "run": ids,
        "confirmed": "1",
    }
    done = await http.post("/console/bulk", data=form)
    result = await page_with(
        "2 of 3 cancellations requested, 1 failed", http, done.headers["location"]
    )
    assert "not this one" in result


async def test_the_manifest_is_what_a_start_and_a_retry_would_make(
    console: Console, http: httpx.AsyncClient
) -> None:
    run = console.run("first-try", "Failed", spec={"inputs": {"name": "Oslo"}})
    await console.mirrored()
    form = {"csrf": await csrf_of(http), "what": "preview", "input.name": "Rome"}
    before = list(console.kube.run_names)
    start = (await http.post("/console/start/hello", data={**form, "name": "mine"})).text
    for line in ("kind: CodexRun", "name: mine", "jobType: hello", "name: Rome"):
        assert line in start, start
    retry = (await http.post(f"/console/runs/{run}/rerun", data=form)).text
    for line in ("whenFull: Queue", "retryOf:", "name: first-try", f"uid: {run}", "name: Rome"):
        assert line in retry, retry
    assert console.kube.run_names == before


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ("name=" + "x" * 64, "labels.name: is 64 characters long; at most 63 are allowed"),
        ("k" * 400 + "=x", "labels." + "k" * 400),
    ],
    ids=["value", "key"],
)
async def test_a_wrong_label_is_told_beside_labels_and_named(
    http: httpx.AsyncClient, labels: str, wanted: str
) -> None:
    """A key may have the name of another field."""
    form = {"csrf": await csrf_of(http), "input.name": "Rome", "labels": labels}
    answer = await http.post("/console/start/hello", data=form)
    assert answer.status_code == 422
    assert wanted in answer.text
    assert answer.text.count("characters long") == 1
    assert "[key]" not in answer.text
