"""What a run's page says beside its log: conditions, what happened, who did it, and where else to
look."""

import json
import re
from pathlib import Path

import httpx
import pytest
from apistand import TOKEN
from browsers import Visit, visiting
from console_stand import Console, running
from playwright.async_api import expect

from codexrun_api.links import links_from
from codexrun_api.settings import SettingsError, settings_from

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_conditions_events_job_pod_and_commands_are_on_the_page(
    console: Console, http: httpx.AsyncClient
) -> None:
    wrong = {
        "type": "Admitted",
        "status": "False",
        "reason": "Suspended",
        "message": "its job type is suspended",
        "lastTransitionTime": "2026-01-31T12:00:00Z",
    }
    run = console.run(
        "with-facts",
        "Running",
        status={
            "conditions": [wrong],
            "jobName": "with-facts-1",
            "podName": "with-facts-1-abcde",
            "reason": "Started",
        },
    )
    await console.mirrored()
    text = (await http.get(f"/console/runs/{run}")).text
    conditions = text.partition("<h2>Conditions</h2>")[2].partition("</section>")[0]
    assert all(
        part in conditions
        for part in (
            "Admitted",
            "no, ",
            "Suspended",
            "its job type is suspended",
            "2026-01-31T12:00:00Z",
        )
    )
    happened = text.partition("<h2>History</h2>")[2].partition("</section>")[0]
    assert "Running" in happened
    for line in (
        "codexrun logs -f with-facts",
        "kubectl -n codexrun describe codexrun with-facts",
        "kubectl -n codexrun get codexrun with-facts -o yaml",
        "kubectl -n codexrun get job,pod -l batch.kubernetes.io/job-name=with-facts-1",
        "kubectl -n codexrun describe pod with-facts-1-abcde",
    ):
        assert f'data-copy="{line}"' in text
    assert "--force" not in text
    assert "name: with-facts" in (await http.get(f"/console/runs/{run}?tab=yaml")).text


async def test_who_started_cancelled_and_retried_it_is_told_also_when_its_object_is_gone(
    console: Console, http: httpx.AsyncClient
) -> None:
    run = console.run(
        "with-history",
        "Cancelled",
        user="grace",
        origin="cli",
        spec={"cancel": {"requestedBy": "ada", "reason": "wrong branch"}},
        status={"message": "Cancelled by ada: wrong branch"},
    )
    console.run(
        "with-history-retry",
        "Running",
        user="linus",
        origin="api",
        spec={"retryOf": {"name": "with-history", "uid": run}},
    )
    await console.mirrored()
    for _ in range(2):
        text = re.sub(r"<[^>]+>", "", (await http.get(f"/console/runs/{run}")).text)
        assert "grace, command line" in text
        assert re.search(r"Cancelled by\s*ada: wrong branch", text)
        assert "running, by linus, REST" in text
        (
            console.kube.remove(f"{console.kube.runs}/with-history")
            if "with-history" in console.kube.run_names
            else None
        )
        await console.until(lambda: run not in console.services.mirror.ids())


LINK = (
    "https://grafana.example.com/explore?from=${start}&to=${end}"
    "&run=${name}&ns=${namespace}&id=${run_id}&kind=${job_type}"
)


async def test_links_lead_to_what_else_knows_of_the_run(tmp_path: Path) -> None:
    links = links_from(json.dumps([{"name": "Logs in <Loki>", "url": LINK}]))
    async with (
        running(tmp_path, console_links=links) as console,
        httpx.AsyncClient(base_url=console.url, timeout=60) as http,
    ):
        run = console.run("linked", "Succeeded", age=100, took=50)
        await console.mirrored()
        await http.post("/console/login", data={"token": TOKEN})
        text = (await http.get(f"/console/runs/{run}")).text
        found = re.search(
            r'href="(https://grafana[^"]+)" target="_blank" rel="noopener noreferrer">Logs in'
            r" &lt;Loki&gt;",
            text,
        )
        assert found
        said = re.fullmatch(
            rf"https://grafana\.example\.com/explore\?from=(\d+)&amp;to=(\d+)&amp;run=linked&amp;ns=codexrun&amp;id={run}&amp;kind=hello",
            found[1],
        )
        assert said
        assert int(said[2]) - int(said[1]) == 56_000


async def test_without_links_there_is_no_box_for_them(
    console: Console, http: httpx.AsyncClient
) -> None:
    run = console.run("unlinked", "Succeeded")
    await console.mirrored()
    assert "External links" not in (await http.get(f"/console/runs/{run}")).text


@pytest.mark.parametrize(
    ("links", "said"),
    [
        ("[", "not JSON"),
        ("{}", "must be a list"),
        ('[{"name": "x"}]', "[0] is"),
        ('[{"name": "x", "url": "javascript:alert(1)"}]', "must begin with http:// or https://"),
        (
            '[{"name": "x", "url": "https://${name}.example.com/"}]',
            "must begin with http:// or https:// and a host",
        ),
        (
            '[{"name": "x", "url": "https://x.example.com/${pod}"}]',
            "${pod}; the placeholders are ${name}, ",
        ),
        ('[{"name": "x", "url": "https://x.example.com/?a=$"}]', "write $$"),
    ],
)
async def test_a_link_that_is_none_stops_the_start(links: str, said: str) -> None:
    env = {"CODEXRUN_NAMESPACE": "x", "CODEX_CONTROL_TOKEN": "t", "CODEXRUN_CONSOLE_LINKS": links}
    with pytest.raises(SettingsError, match=re.escape(said)) as error:
        settings_from(env)
    assert str(error.value).startswith("CODEXRUN_CONSOLE_LINKS: ")


async def test_what_a_run_is_called_stays_within_its_part_of_a_link() -> None:
    from datetime import UTC, datetime

    (link,) = links_from('[{"name": "x", "url": "https://x.example.com/?q=${name}&z=1"}]')
    now = datetime(2026, 1, 31, tzinfo=UTC)
    url = link.to(start=now, end=now, name="a&z=2#/ b", namespace="n", run_id="r", job_type="t")
    assert url == "https://x.example.com/?q=a%26z%3D2%23%2F%20b&z=1"


async def test_the_zone_of_times_is_chosen_kept_and_told(console: Console, browser) -> None:
    run = console.run("zoned", "Succeeded")
    await console.mirrored()
    async with visiting(browser, console.url, TOKEN, timezone_id="Asia/Tokyo") as visit:
        page = await visit.page(f"/console/runs/{run}")
        moment = page.locator("dt:text-is('Started') + dd time")
        await expect(moment).to_have_text(
            re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (GMT\+9|JST)$")
        )
        await page.keyboard.press("?")
        await page.check("#times-utc")
        await expect(moment).to_have_text(re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$"))
        again = await visit.page(f"/console/runs/{run}")
        await expect(again.locator("dt:text-is('Started') + dd time")).to_have_text(
            re.compile("UTC$")
        )


async def test_a_link_to_what_is_shown_can_be_copied(console: Console, visit: Visit) -> None:
    await visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = await visit.page("/console/runs?status=failed&page_size=25")
    await page.click("#copy-link")
    await expect(page.locator("#toast")).to_have_text("Link copied")
    assert (
        await page.evaluate("navigator.clipboard.readText()")
        == f"{console.url}/console/runs?status=failed&page_size=25"
    )


async def test_changed_bytes_of_a_prompt_are_shown_in_red(team, browser) -> None:
    console, _ = team
    async with visiting(browser, console.url, TOKEN) as visit:
        page = await visit.page("/console/prompts/fix-test?version=v2")
        await expect(page.locator(".badge.bad", has_text="checksum mismatch").first).to_be_visible()


async def test_the_sums_of_cost_are_those_of_rest(team) -> None:
    console, _ = team
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        await http.post("/console/login", data={"token": TOKEN})
        page = (await http.get("/console/cost?days=30")).text
        since = re.search(r"job_type=code-review&amp;since=([0-9-]+)", page)[1]
        answer = await http.get(
            "/stats", params={"since": since}, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 200, answer.text
        assert f"<b>{answer.json()['cost_tokens']:,}</b>" in page
        assert f"<b>{answer.json()['runs']:,}</b>" in page
        without_price = re.search(r"gpt-5\.5-mini</a>.*?</tr>", page, re.DOTALL)[0]
        assert '<td class="n">–</td><td class="n m">–</td>' in without_price


async def test_an_estimate_is_called_one_and_says_how_wrong_it_can_be(team) -> None:
    console, ids = team
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        await http.post("/console/login", data={"token": TOKEN})
        estimated = (await http.get(f"/console/runs/{ids['cancelled']}")).text
        exact = (await http.get(f"/console/runs/{ids['done']}")).text
    assert "partly an estimate (at most 19,300 tokens)" in estimated
    assert "an estimate" not in exact


async def test_only_what_differs_is_shown_when_that_is_asked_for(team) -> None:
    console, ids = team
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
        await http.post("/console/login", data={"token": TOKEN})
        url = f"/console/compare?a={ids['done']}&b={ids['earlier']}"
        whole = (await http.get(url)).text
        part = (await http.get(f"{url}&only=1")).text
        assert ">Job type</th>" in whole
        assert ">Job type</th>" not in part
        assert ">Prompt</th>" in part
        for title in ("Prompt", "Spec", "Final message"):
            assert f"<h2>{title}</h2>" in part


async def test_an_empty_list_shows_three_ways_to_start_a_run(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as console,
        httpx.AsyncClient(base_url=console.url, timeout=60) as http,
    ):
        await http.post("/console/login", data={"token": TOKEN})
        text = (await http.get("/console/runs")).text
        assert all(
            way in text
            for way in (
                "codexrun start hello",
                "kubectl -n codexrun create -f",
                '"$CODEX_CONTROL_URL/runs"',
                "No runs yet",
            )
        )
        assert "No runs match" in (await http.get("/console/runs?search=nothing")).text
        several = await http.get("/console/runs?failure_class=budget,timeout")
        assert "Failure class: 2 selected" in several.text
