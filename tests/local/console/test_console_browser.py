"""A real Chromium on the console: with JavaScript, without it, by keyboard alone, in two tabs, and
with the network cut."""

import asyncio
import re

import pytest
from apistand import TOKEN
from browsers import Visit, reloaded_until, visiting
from console_seed import PAGES
from console_stand import Console, item, said
from cut_network import Through
from playwright.async_api import Page, Route, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

pytestmark = pytest.mark.asyncio(loop_scope="module")


def run_of(page: Page) -> str:
    return re.search(r"/console/runs/([0-9a-f-]{36})", page.url)[1]


async def walk(console: Console, visit: Visit, *, live: bool) -> None:
    """Start, watch, cancel, retry, compare. Without JavaScript one reloads where the page would
    have changed by itself."""

    async def sees(page: Page, text: str) -> None:
        if live:
            await expect(page.locator("main")).to_contain_text(text)
        else:
            await reloaded_until(page, text)

    before = set(console.kube.run_names)
    page = await visit.page("/console/runs")
    await page.get_by_role("link", name="Start a run").first.click()
    await page.get_by_role("link", name=re.compile("hello")).first.click()
    await page.get_by_label("name").first.fill("Ada & <b>Bob</b>")
    await page.get_by_role("button", name="Show YAML").click()
    await expect(page.locator("#yaml pre")).to_contain_text("name: Ada & <b>Bob</b>")
    assert set(console.kube.run_names) == before
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.locator("h1")).to_have_text(re.compile(r"hello-[0-9a-f]+|run-[0-9a-f]+"))
    name = await page.inner_text("h1")
    first = run_of(page)
    assert console.kube.run(name)["metadata"]["annotations"]["codexrun.dev/origin"] == "console"
    console.kube.status(name, "Running", startedAt="2026-01-31T12:00:00Z")
    await console.mirrored()
    await sees(page, "Running for")
    console.say(
        first,
        said({"type": "turn.started"}),
        item("agent_message", 1, text="I look **around** first."),
    )
    await sees(page, "I look around first.")
    await page.get_by_text("Cancel", exact=True).first.click()
    await page.get_by_label("Reason").fill("wrong name")
    await page.get_by_role("button", name="Cancel this run").click()
    await console.until(lambda: "cancel" in console.kube.run(name)["spec"])
    assert console.kube.run(name)["spec"]["cancel"] == {
        "requestedBy": "shared",
        "reason": "wrong name",
    }
    console.kube.status(
        name,
        "Cancelled",
        message="Cancelled by shared: wrong name",
        finishedAt="2026-01-31T12:01:00Z",
    )
    await console.mirrored()
    await sees(page, "Cancelled by shared: wrong name.")
    await page.get_by_role("button", name="Retry", exact=True).click()
    await expect(page.locator("h1")).not_to_have_text(name)
    again = await page.inner_text("h1")
    assert console.kube.run(again)["spec"]["retryOf"]["uid"] == first
    console.kube.status(
        again, "Succeeded", finishedAt="2026-01-31T12:02:00Z", result={"message": "Hello, Ada!"}
    )
    await console.mirrored()
    await sees(page, "Succeeded")
    await page.get_by_role("link", name="compare").click()
    await expect(page.locator("table.pairs")).to_contain_text("Cancelled")
    await expect(page.locator("table.pairs")).to_contain_text("Succeeded")


async def test_start_watch_cancel_retry_compare(console: Console, visit: Visit) -> None:
    await walk(console, visit, live=True)


async def test_the_same_without_javascript(console: Console, plain: Visit) -> None:
    await walk(console, plain, live=False)


async def test_filters_and_bulk_without_javascript(console: Console, plain: Visit) -> None:
    ids = [console.run(f"plain-{n}", "Running", user="plain") for n in range(3)]
    await console.mirrored()
    page = await plain.page("/console/runs")
    await page.get_by_label("Started by").fill("plain")
    await page.get_by_role("button", name="Apply").click()
    await expect(page.locator("#runs tbody tr")).to_have_count(3)
    await page.get_by_role("link", name=re.compile("^Running")).click()
    assert "status=running" in page.url
    await page.check(f"input[value='{ids[0]}']")
    await page.get_by_role("button", name="Cancel…").click()
    await expect(page.locator("h1")).to_have_text("Cancel 1 run?")
    await page.get_by_role("button", name="Cancel 1 run").click()
    await console.until(lambda: bool(console.kube.run("plain-0")["spec"].get("cancel")))
    await reloaded_until(page, "1 of 1 cancellations requested")
    assert [bool(console.kube.run(f"plain-{n}")["spec"].get("cancel")) for n in range(3)] == [
        True,
        False,
        False,
    ]


async def test_labels_and_orders_without_javascript(console: Console, plain: Visit) -> None:
    for name, tokens in (("few", 10), ("most", 900), ("some", 300)):
        usage = {"inputTokens": tokens, "totalTokens": tokens, "requests": 1}
        console.run(f"by-{name}", "Succeeded", labels={"team": "by"}, status={"usage": usage})
    await console.mirrored()
    page = await plain.page("/console/runs")
    await page.get_by_label("Labels").fill("team=by,env!=dev")
    await page.get_by_role("button", name="Apply").click()
    names = page.locator("#runs td.name > a")
    await expect(names).to_have_count(3)
    await page.get_by_role("link", name="Remove the filter Label: env!=dev").click()
    await page.get_by_role("link", name="Tokens", exact=True).click()
    await expect(names).to_have_text(["by-most", "by-some", "by-few"])
    await expect(page.get_by_role("columnheader", name="Tokens")).to_have_attribute(
        "aria-sort", "descending"
    )
    await page.get_by_role("link", name="Tokens", exact=True).click()
    await expect(names).to_have_text(["by-few", "by-some", "by-most"])
    assert page.url.endswith("?label=team%3Dby&sort=tokens")


async def test_in_another_order_new_runs_come_in_where_they_belong(
    console: Console, visit: Visit
) -> None:
    def run(name: str, tokens: int) -> None:
        usage = {"inputTokens": tokens, "totalTokens": tokens, "requests": 1}
        console.run(f"into-{name}", "Succeeded", labels={"team": "into"}, status={"usage": usage})

    run("few", 10)
    run("most", 900)
    await console.mirrored()
    page = await visit.page("/console/runs?label=team%3Dinto&sort=-tokens")
    names = page.locator("#runs td.name > a")
    await expect(names).to_have_text(["into-most", "into-few"])
    run("some", 300)
    await expect(names).to_have_text(["into-most", "into-some", "into-few"])
    await expect(page.locator(".newbar")).to_have_count(0)


async def test_the_keyboard_alone(console: Console, visit: Visit) -> None:
    for n in range(3):
        console.run(f"keys-{n}", "Succeeded", age=900 + n, user="keys")
    await console.mirrored()
    page = await visit.page("/console/runs?user=keys")
    keys = page.keyboard
    await keys.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await keys.press("Escape")
    await expect(page.locator("#help")).not_to_be_visible()
    await keys.press("/")
    await keys.type("jkx")  # typed, not done
    await expect(page.locator("[data-key-search]")).to_have_value("jkx")
    await keys.press("Escape")
    for key in ("j", "x", "j", "x"):
        await keys.press(key)
    await expect(page.locator("#selected")).to_have_text("2 selected")
    await keys.press("k")
    await keys.press("Enter")
    await expect(page.locator("h1")).to_have_text("keys-0")
    await keys.press("2")
    await expect(page.locator(".tabs [aria-current]")).to_contain_text("Log")
    await keys.press("e")
    await expect(page.locator("h1")).to_have_text("Run again with changes")
    await page.get_by_label("name").first.focus()
    await keys.press("Control+A")
    await keys.type("grace")
    await keys.press("Enter") if await page.evaluate(
        "document.activeElement.tagName"
    ) == "INPUT" else await page.get_by_role("button", name="Run again", exact=True).press("Enter")
    await expect(page.locator("h1")).to_have_text(re.compile("^run-"))
    await keys.press("c")
    await keys.type("no need")
    await keys.press("Enter")
    await expect(page.locator("main")).to_contain_text("no need")
    await keys.press("g")
    await keys.press("j")
    await expect(page.locator("h1")).to_have_text("Job types")
    await page.goto(page.url)
    await keys.press("Tab")
    assert await page.evaluate("document.activeElement.className") == "skip"


async def test_an_update_keeps_focus_selection_and_scroll(console: Console, visit: Visit) -> None:
    names = [f"stay-{n:02}" for n in range(40)]
    ids = [console.run(name, "Running", age=1000 + n, user="stay") for n, name in enumerate(names)]
    await console.mirrored()
    page = await visit.page("/console/runs?user=stay")
    await page.check(f"input[value='{ids[30]}']")
    await page.focus(f"#r-{ids[30]} td.name a")
    await page.evaluate("scrollTo(0, 700)")
    was = await page.evaluate("scrollY")
    console.kube.status(
        names[3],
        "Failed",
        failure={"class": "oom", "message": "137"},
        finishedAt="2026-01-31T12:00:00Z",
    )
    console.run("newcomer", "Running", age=0, user="stay")
    await console.mirrored()
    await expect(page.locator(f"#r-{ids[3]}")).to_contain_text("Failed")
    await expect(page.locator(".newbar")).to_have_text("1 new run")
    assert await page.locator("#runs tbody tr").count() == 40
    assert await page.evaluate("document.activeElement.closest('tr')?.id") == f"r-{ids[30]}"
    assert await page.is_checked(f"input[value='{ids[30]}']")
    assert abs(await page.evaluate("scrollY") - was) < 60  # the bar of new runs
    await page.click(".newbar")
    await expect(page.locator("#runs tbody tr").first).to_contain_text("newcomer")


@pytest.mark.parametrize("which", ["list", "run"])
async def test_a_page_that_stays_open_does_not_grow(
    console: Console, visit: Visit, which: str
) -> None:
    run = console.run(f"grows-{which}", "Running", user=f"grows-{which}")
    await console.mirrored()
    page = await visit.page(
        f"/console/runs?user=grows-{which}" if which == "list" else f"/console/runs/{run}"
    )
    nodes = """(() => {
        const walk = document.createTreeWalker(document);
        let n = 0;
        while (walk.nextNode()) n += 1;
        return n;
    })()"""

    async def used(tokens: int) -> int:
        console.kube.status(
            f"grows-{which}",
            "Running",
            usage={"totalTokens": tokens, "inputTokens": tokens, "requests": 1},
        )
        await console.mirrored()
        await expect(page.locator("main")).to_contain_text(f"{tokens:,}")
        found: int = await page.evaluate(nodes)
        return found

    first = await used(1001)
    for tokens in range(1002, 1006):
        last = await used(tokens)
    assert last == first


async def test_a_held_list_does_not_change(console: Console, visit: Visit) -> None:
    run = console.run("held", "Running", user="held")
    await console.mirrored()
    page = await visit.page("/console/runs?user=held")
    await page.uncheck("#live-on")
    other = await visit.page("/console/runs?user=held")
    await other.check("#live-on")
    await page.evaluate("document.querySelector('#live-on').checked = false")
    console.kube.status("held", "Succeeded", finishedAt="2026-01-31T12:00:00Z")
    await console.mirrored()
    await expect(other.locator(f"#r-{run}")).to_contain_text("Succeeded")
    assert "Running" in await page.inner_text(f"#r-{run}")


async def test_a_run_that_ends_while_its_page_is_open(console: Console, visit: Visit) -> None:
    run = console.run("ends", "Running")
    await console.mirrored()
    page = await visit.page(f"/console/runs/{run}")
    await expect(page).to_have_title(re.compile("● ends"))
    console.say(run, said({"type": "turn.started"}), item("agent_message", 1, text="Almost there."))
    await expect(page.locator("#codex")).to_contain_text("Almost there.")
    console.put(run, "final-message.md", b"All **done**.")
    console.archive.seal(run, 1, complete=True)
    console.kube.status(
        "ends", "Succeeded", finishedAt="2026-01-31T12:00:00Z", result={"message": "All **done**."}
    )
    await console.mirrored()
    await expect(page.locator("#final")).to_contain_text("All done.")
    await expect(page).to_have_title(re.compile("✓ ends"))
    await expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert "icon-ok" in await page.get_attribute("link[rel=icon]", "href")


async def test_a_hidden_tab_stops_listening_and_catches_up_when_it_is_shown(
    console: Console, visit: Visit
) -> None:
    run = console.run("unseen", "Running")
    await console.mirrored()
    page = await visit.context.new_page()
    await page.goto(f"{console.url}/console/runs/{run}")
    await console.until(lambda: len(console.services.notifier._waiting.get(run, ())) == 1)
    hide = """(hidden) => {
        Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    await page.evaluate(hide, True)
    await console.until(lambda: len(console.services.notifier._waiting.get(run, ())) == 0)
    console.say(run, item("agent_message", 1, text="Said to nobody."))
    await page.evaluate(hide, False)
    await expect(page.locator("#codex")).to_contain_text("Said to nobody.")


async def test_a_page_is_live_however_late_its_scripts_come(console: Console, visit: Visit) -> None:
    run = console.run("late", "Running")
    await console.mirrored()
    page = await visit.context.new_page()
    drawn = asyncio.Event()

    async def late(route: Route) -> None:
        await drawn.wait()
        await route.continue_()

    await page.route(re.compile("hx-sse|app.js"), late)
    async with page.expect_request(re.compile("/live$")):
        await page.goto(f"{console.url}/console/runs/{run}", wait_until="commit")
        await expect(page.locator("main")).to_be_attached()  # all there but what comes late
        drawn.set()


@pytest.mark.parametrize("trouble", ["refused", "not there yet"])
async def test_a_page_whose_first_stream_fails_tries_again(
    console: Console, visit: Visit, trouble: str
) -> None:
    run = console.run("again", "Running")
    await console.mirrored()
    page = await visit.context.new_page()

    async def fails(route: Route) -> None:
        await (route.abort() if trouble == "refused" else route.fulfill(status=503, body="later"))

    await page.route(re.compile("/live$"), fails, times=2)
    await page.goto(f"{console.url}/console/runs/{run}")
    console.say(run, item("agent_message", 1, text="Nobody heard this."))
    await expect(page.locator("#codex")).to_contain_text("Nobody heard this.", timeout=20_000)


async def test_two_tabs_see_the_same_and_one_cancel_is_one(console: Console, visit: Visit) -> None:
    run = console.run("twins", "Running")
    await console.mirrored()
    left = await visit.page(f"/console/runs/{run}")
    right = await visit.page(f"/console/runs/{run}")
    for page in (left, right):
        await page.get_by_text("Cancel", exact=True).first.click()
    await left.get_by_label("Reason").fill("left")
    await right.get_by_label("Reason").fill("right")
    await left.get_by_role("button", name="Cancel this run").click()
    await left.wait_for_load_state()
    await right.get_by_role("button", name="Cancel this run").click()
    await expect(right.locator("main")).to_contain_text("twins")
    assert console.kube.run("twins")["spec"]["cancel"]["reason"] == "left"
    console.kube.status(
        "twins", "Cancelled", message="Cancelled by shared: left", finishedAt="2026-01-31T12:00:00Z"
    )
    await console.mirrored()
    for page in (left, right):
        await expect(page.locator(".sentence")).to_contain_text("Cancelled by shared: left.")


async def test_a_form_sent_twice_is_one_run(console: Console, visit: Visit) -> None:
    before = set(console.kube.run_names)
    page = await visit.page("/console/start/hello")
    await page.get_by_label("name").first.fill("once")
    await page.evaluate("document.querySelector('#start').target = '_blank'")
    for _ in range(2):
        async with page.context.expect_page() as opened:
            await page.get_by_role("button", name="Start", exact=True).click()
        await (await opened.value).wait_for_load_state()
    assert len(set(console.kube.run_names) - before) == 1


async def test_a_cut_stream_loses_and_doubles_no_line(
    console: Console, browser, through: Through
) -> None:
    run = console.run("cut", "Running")
    await console.mirrored()
    async with visiting(browser, through.url, TOKEN) as visit:
        page = await visit.page(f"/console/runs/{run}?tab=log")
        total = cuts = 0
        for _ in range(8):
            first = total + 1
            for _ in range(60):
                total += 1
                console.say(
                    run,
                    {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": f"line {total:05}"},
                )
                await asyncio.sleep(0)
            # The others may be on their way.
            await page.wait_for_selector(f"#L{first}", state="attached")
            await console.until(lambda: through.cut() > 0)
            cuts += 1
        await expect(page.locator(f"#L{total}")).to_be_attached()

        def heard() -> bool:
            """Somebody listens, and has looked at what there is."""
            subscribed = console.services.notifier._waiting.get(run)
            return bool(subscribed) and not any(event.is_set() for event in subscribed)

        await console.until(heard)
        console.say(run, b'{"ts":"2026-01-31T12:00:00.000Z","src":"codex","text":"in two')
        await console.until(heard)
        console.say(run, b' halves"}\n')
        await expect(page.locator(f"#L{total + 1} .t")).to_contain_text("in two halves")
        assert cuts > 2
        shown = await page.evaluate(
            """[...document.querySelectorAll('#log .l')].map(
                (l) => [Number(l.dataset.n), l.querySelector('.t').textContent.trim()])"""
        )
        assert shown == [[n, f"line {n:05}"] for n in range(1, total + 1)] + [
            [total + 1, "in two halves"]
        ]


async def test_the_log_follows_until_one_scrolls_up(console: Console, visit: Visit) -> None:
    run = console.run("follows", "Running")
    await console.mirrored()
    page = await visit.page(f"/console/runs/{run}?tab=log")
    await page.set_viewport_size({"width": 1280, "height": 1400})
    console.say(
        run,
        *(
            {"ts": "2026-01-31T12:00:00.000Z", "src": "stderr", "text": f"one {n}"}
            for n in range(300)
        ),
    )
    await expect(page.locator("#L300")).to_be_in_viewport()
    await page.hover("#log")
    await page.mouse.wheel(0, -900)
    await expect(page.locator("#log-follow")).not_to_be_checked()
    console.say(
        run,
        *(
            {"ts": "2026-01-31T12:00:00.000Z", "src": "stderr", "text": f"two {n}"}
            for n in range(50)
        ),
    )
    await expect(page.locator("#log-where")).to_contain_text("of 350")
    await expect(page.locator("#L300")).not_to_be_in_viewport()
    await page.click("#log-end")
    await expect(page.locator("#L350")).to_be_in_viewport()


async def test_who_scrolls_up_while_lines_are_on_their_way_stays_there(
    console: Console, visit: Visit
) -> None:
    run = console.run("reads", "Running")
    console.say(
        run,
        *(
            {"ts": "2026-01-31T12:00:00.000Z", "src": "stderr", "text": f"line {n}"}
            for n in range(1000)
        ),
    )
    await console.mirrored()
    page = await visit.context.new_page()
    asked = asyncio.Event()
    answered = asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await answered.wait()
        await route.continue_()

    await page.route(re.compile("/log/lines.*from=1000&"), late)
    await page.goto(f"{console.url}/console/runs/{run}?tab=log")
    await asyncio.wait_for(asked.wait(), 20)
    await page.evaluate("document.querySelector('#log').scrollTop = 0")
    await expect(page.locator("#log-follow")).not_to_be_checked()
    answered.set()
    # lines before those that came with the page
    await expect(page.locator("#L252")).to_be_attached()
    await expect(page.locator("#L1000")).not_to_be_in_viewport()


async def test_a_line_has_a_link_and_a_search_its_matches(console: Console, visit: Visit) -> None:
    run = console.run("linked", "Succeeded")
    console.say(
        run,
        *(
            {
                "ts": "2026-01-31T12:00:00.000Z",
                "src": "codex",
                "text": f"say {n} {'needle' if n % 700 == 99 else ''}",
            }
            for n in range(1, 3001)
        ),
    )
    await console.mirrored()
    page = await visit.page(f"/console/runs/{run}?tab=log&line=1500#L1500")
    await expect(page.locator("#L1500")).to_be_in_viewport()
    assert await page.locator("#L1500.at").count() == 1
    await page.fill("#log-q", "NEEDLE")
    await page.press("#log-q", "Enter")
    await expect(page.locator("#log-hits")).to_have_text("5 matching lines")
    await page.locator("#log").focus()
    await page.keyboard.press("n")
    await expect(page).to_have_url(re.compile("q=NEEDLE.*#L"))
    url = page.url
    number = int(re.search(r"#L(\d+)", url)[1])
    assert (number % 700) == 99
    copy = await visit.page(url.removeprefix(console.url))
    await expect(copy.locator(f"#L{number}.at")).to_be_in_viewport()
    assert await copy.input_value("#log-q") == "NEEDLE"


async def test_a_theme_is_kept_and_times_are_the_readers(console: Console, browser) -> None:
    run = console.run("timed", "Succeeded")
    await console.mirrored()
    async with visiting(
        browser, console.url, TOKEN, timezone_id="Asia/Tokyo", color_scheme="light"
    ) as visit:
        page = await visit.page(f"/console/runs/{run}")
        moment = page.locator("dt:text-is('Started') + dd time")
        utc = await moment.get_attribute("title")
        assert utc is not None
        assert (await moment.inner_text())[:16] != utc[:16]
        await page.click("#theme")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await page.goto(f"{console.url}/console/jobtypes")
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")


async def test_no_page_is_wider_than_the_window(team, browser) -> None:
    """Loaded in a wide one, and on a phone that is turned."""
    console, ids = team
    async with visiting(browser, console.url, TOKEN) as visit:
        for path in PAGES.values():
            page = await visit.page(path.format(**ids))
            for width in (2560, 1280, 360, 768):
                await page.set_viewport_size({"width": width, "height": 800})
                try:  # a chart follows the window, but not at once
                    await page.wait_for_function(
                        "([width]) => document.documentElement.scrollWidth <= innerWidth"
                        " && innerWidth === width",
                        arg=[width],
                    )
                except PlaywrightTimeout:
                    pytest.fail(f"{path} at {width}")
            await page.close()
