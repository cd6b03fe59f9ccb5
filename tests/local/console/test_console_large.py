"""Much of everything: many runs, a long log, and pages that are left open. Times are measured in
bench/console.py."""

import re

import httpx
import pytest
from apistand import csrf_of
from browsers import Visit
from console_stand import Console
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROW = re.compile(r'<tr id="r-([0-9a-f-]+)"')
OLDER = re.compile(r'href="([^"]+)" rel="next"')


async def test_pages_neither_repeat_nor_miss_a_run_while_runs_are_added(
    console: Console, http: httpx.AsyncClient
) -> None:
    old = {console.run(f"page-{n:03}", "Succeeded", age=5000 + n, user="pages") for n in range(180)}
    await console.mirrored()
    seen: list[str] = []
    url = "/console/runs?user=pages&page_size=25"
    for n in range(20):
        text = (await http.get(url)).text
        seen += ROW.findall(text)
        console.run(f"added-{n}", "Running", age=0, user="pages")
        await console.mirrored()
        if not (found := OLDER.search(text)):
            break
        url = found[1].replace("&amp;", "&")
    assert len(seen) == len(set(seen))
    assert set(seen) == old


async def test_a_page_of_long_messages_is_under_100_kilobytes(
    console: Console, http: httpx.AsyncClient
) -> None:
    for n in range(60):
        status = {
            "result": {"message": "word " * 400},
            "usage": {"totalTokens": 9, "costMicroUSD": 5, "requests": 1},
        }
        console.run(
            f"{'long-' * 10}{n:03}",
            "Succeeded",
            user="a-user-with-a-long-name",
            age=9000 + n,
            status=status,
        )
    await console.mirrored()
    answer = await http.get("/console/runs?user=a-user-with-a-long-name")
    assert len(ROW.findall(answer.text)) == 50
    assert len(answer.content) < 100_000


async def test_filters_happen_on_the_server(console: Console, http: httpx.AsyncClient) -> None:
    wanted = console.run(
        "needle-run",
        "Failed",
        user="filters",
        status={"failure": {"class": "oom", "message": "exit 137"}},
    )
    console.run("other-run", "Succeeded", user="filters")
    await console.mirrored()
    for query in (
        "user=filters&status=failed",
        "search=needle",
        "user=filters&search=137",
        "user=filters&since=1h&status=failed,rejected",
    ):
        assert ROW.findall((await http.get(f"/console/runs?{query}")).text) == [wanted], query
    text = (await http.get("/console/runs?user=filters&status=failed")).text
    assert 'aria-label="Remove the filter Started by: filters"' in text
    wrong = await http.get("/console/runs?user=filters&search=137&status=nonsense")
    assert wrong.status_code == 200
    assert "is not a valid status" in wrong.text
    assert ROW.findall(wrong.text) == [wanted], "the others hold"
    assert (await http.get("/console/runs?page=nonsense")).status_code == 400


async def test_bulk_says_first_asks_for_the_number_and_tells_each_result(
    console: Console, http: httpx.AsyncClient
) -> None:
    names = [f"bulk-{n:02}" for n in range(25)]
    for name in names:
        console.run(name, "Running", user="bulk")
    console.run("bulk-done", "Succeeded", user="bulk")
    await console.mirrored()
    form = {"csrf": await csrf_of(http), "verb": "cancel", "scope": "matching", "user": "bulk"}
    asked = await http.post("/console/bulk", data=form)
    assert "Cancel 25 runs?" in asked.text
    refused = await http.post("/console/bulk", data={**form, "confirmed": "1", "typed": "24"})
    assert (refused.status_code, "nothing was changed" in refused.text) == (422, True)
    assert not any("cancel" in console.kube.run(name)["spec"] for name in names)
    done = await http.post(
        "/console/bulk", data={**form, "confirmed": "1", "typed": "25", "reason": "enough"}
    )
    assert done.status_code == 303
    await console.until(lambda: all("cancel" in console.kube.run(name)["spec"] for name in names))
    result = (await http.get(done.headers["location"])).text
    assert "25 of 25 cancellations requested" in result
    assert console.kube.run(names[0])["spec"]["cancel"] == {
        "requestedBy": "shared",
        "reason": "enough",
    }
    assert "cancel" not in console.kube.run("bulk-done")["spec"]


async def test_a_long_log_is_a_window_of_lines(console: Console, visit: Visit) -> None:
    run = console.run("long-log", "Succeeded")
    lines = 50_000
    console.archive.append(
        run,
        0,
        b"".join(
            b'{"ts":"2026-01-31T12:00:00.000Z","src":"codex","text":"n %d"}\n' % n
            for n in range(1, lines + 1)
        ),
    )
    await console.mirrored()
    page = await visit.page(f"/console/runs/{run}?tab=log")
    await expect(page.locator(f"#L{lines}")).to_be_attached()
    top = int(await page.locator("#log .l").first.get_attribute("data-n"))
    for _ in range(30):
        # Again and again: the page may not listen yet.
        await page.wait_for_function(
            """(top) => {
                const log = document.querySelector('#log')
                log.scrollTop = 1
                log.scrollTop = 0
                return log.querySelector('.l').dataset.n !== top
            }""",
            arg=str(top),
            polling=200,
        )
        top = int(await page.locator("#log .l").first.get_attribute("data-n"))
        if top < lines - 6000:
            break
    shown = await page.evaluate(
        "[...document.querySelectorAll('#log .l')].map((l) => Number(l.dataset.n))"
    )
    assert len(shown) <= 2000
    assert shown == list(range(shown[0], shown[0] + len(shown)))
    await page.evaluate("location.hash = '#L25000'")
    await expect(page.locator("#L25000.at")).to_be_attached()
    assert await page.locator("#log .l").count() <= 2000


async def test_a_page_that_is_left_open_does_not_grow(console: Console, visit: Visit) -> None:
    run = console.run("soak", "Running", user="soak")
    for n in range(10):
        console.run(f"soak-{n}", "Running", user="soak")
    await console.mirrored()
    page = await visit.page(f"/console/runs/{run}?tab=log")
    total = 0
    for _ in range(8):
        console.say(
            run,
            *(
                {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"{n}"}
                for n in range(500)
            ),
        )
        total += 500
        await expect(page.locator(f"#L{total}")).to_be_attached()
    assert await page.locator("#log .l").count() <= 2000
    listed = await visit.page("/console/runs?user=soak")
    session = await visit.context.new_cdp_session(listed)
    await session.send("Performance.enable")
    nodes = []
    for tokens in range(1, 9):
        console.kube.status(
            "soak-0", "Running", usage={"totalTokens": tokens * 1000, "requests": tokens}
        )
        await console.mirrored()
        await expect(listed.locator("tr", has_text="soak-0").first).to_contain_text(f"{tokens},000")
        await session.send("HeapProfiler.collectGarbage")
        found = (await session.send("Performance.getMetrics"))["metrics"]
        nodes.append(next(m["value"] for m in found if m["name"] == "Nodes"))
    assert max(nodes[4:]) <= max(nodes[:4]) * 1.1, nodes
