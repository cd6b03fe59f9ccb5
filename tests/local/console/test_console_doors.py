"""Who may see, who may act, and what every answer carries. No browser: what it would be refused is
refused to anybody."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from apistand import TOKEN, csrf_of
from console_stand import Console, running
from fastapi.routing import APIRoute, APIRouter

from codexrun_api.console import routes as site

pytestmark = pytest.mark.asyncio(loop_scope="module")

FREE = {"/console/login", "/console/logout", "/console/theme"}  # they change nothing of a run
ACTIONS = (
    "/console/runs/{id}/cancel",
    "/console/runs/{id}/retry",
    "/console/runs/{id}/rerun",
    "/console/runs/{id}/delete",
    "/console/runs/{id}/priority",
    "/console/start/hello",
    "/console/bulk",
)
PAGES = (
    "/console/runs",
    "/console/start",
    "/console/start/hello",
    "/console/jobtypes",
    "/console/jobtypes/hello",
    "/console/prompts",
    "/console/prompts/hello",
    "/console/cost",
    "/console/compare",
    "/console/health",
    "/console/nowhere",
    "/console/login",
    "/console/runs/no-such-run",
)


async def test_a_list_by_label_and_order_and_its_part(
    console: Console, http: httpx.AsyncClient
) -> None:
    for name, cost in (("dear", 9_000_000), ("cheap", 10)):
        usage = {
            "inputTokens": 5,
            "totalTokens": 5,
            "requests": 1,
            "costMicroUSD": cost,
            "complete": True,
        }
        console.run(
            f"sorted-{name}", "Succeeded", labels={"team": "sorted"}, status={"usage": usage}
        )
    console.run("sorted-other", "Succeeded")
    await console.mirrored()

    def names(answer: httpx.Response) -> list[str]:
        assert answer.status_code == 200, answer.text
        return re.findall(r">(sorted-\w+)</a><div", answer.text)

    query = {"label": "team=sorted", "sort": "-cost"}
    shown = await http.get("/console/runs", params=query)
    assert names(shown) == ["sorted-dear", "sorted-cheap"]
    assert (
        '<th class="n m" aria-sort="descending"><a class="by"'
        ' href="/console/runs?label=team%3Dsorted&amp;sort=cost"' in shown.text
    )
    assert "Remove the filter Label: team=sorted" in shown.text
    assert '<input type="hidden" name="label" value="team=sorted">' in shown.text, (
        "what a bulk action means"
    )
    part = await http.get(
        "/console/runs",
        params={**query, "sort": "cost", "part": "rows", "above": "1767225600.000000_x"},
    )
    assert names(part) == ["sorted-cheap", "sorted-dear"]
    assert "newbar" not in part.text, "new runs stand where they belong"
    own = await http.get(f"/console/runs/{console.kube.run('sorted-dear')['metadata']['uid']}")
    assert 'href="/console/runs?label=team%3Dsorted"' in own.text


@pytest.mark.parametrize("query", [{"label": "team>1"}, {"sort": "price"}])
async def test_a_wrong_label_or_order_is_said_in_the_same_words(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await http.get("/console/runs", params=query)
    assert answer.status_code == 200, "what else was asked for is shown"
    assert ("is not a valid label selector; use key=value" in answer.text) or (
        "is not a valid sort order; use created" in answer.text
    )


async def test_the_root_leads_to_the_list(http: httpx.AsyncClient) -> None:
    assert (await http.get("/")).headers["location"] == "/console/runs"


async def test_a_stranger_is_sent_to_the_login_and_back_from_it(console: Console) -> None:
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as stranger:
        sent = await stranger.get("/console/runs?status=failed")
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            "/console/login?back=%2Fconsole%2Fruns%3Fstatus%3Dfailed",
        )
        form = await stranger.get(sent.headers["location"])
        assert 'name="back" value="/console/runs?status=failed"' in form.text
        wrong = await stranger.post(
            "/console/login", data={"token": "guess", "back": "/console/runs"}
        )
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        assert "This token is unknown" in wrong.text
        right = await stranger.post(
            "/console/login", data={"token": "ada-token", "back": "/console/runs?status=failed"}
        )
        assert right.headers["location"] == "/console/runs?status=failed"
        cookie = right.headers["set-cookie"].lower()
        assert all(part in cookie for part in ("httponly", "samesite=strict", "path=/console"))
        assert ">ada<" in (await stranger.get("/console/runs")).text


@pytest.mark.parametrize(
    "back",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "/runs", "javascript:alert(1)"],
)
async def test_the_way_back_leads_nowhere_else(console: Console, back: str) -> None:
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as client:
        answer = await client.post("/console/login", data={"token": TOKEN, "back": back})
        assert answer.headers["location"] == "/console/runs"


async def test_a_link_from_another_site_keeps_the_session(console: Console) -> None:
    """A browser holds a strict cookie back then; asked again from here it sends it."""
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as client:
        answer = await client.get("/console/runs", headers={"sec-fetch-site": "cross-site"})
        assert (answer.status_code, 'http-equiv="refresh" content="0"' in answer.text) == (
            200,
            True,
        )


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_has_the_headers(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.status_code < 500


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_has_inline_script_or_style(http: httpx.AsyncClient, path: str) -> None:
    text = (await http.get(path)).text
    assert not re.search(r"<script(?![^>]*\bsrc=\"/console/static/)", text)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|hx-on", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


async def test_every_form_that_the_console_takes_is_tried_here(console: Console) -> None:
    def routes(router: APIRouter) -> Iterator[APIRoute]:
        for route in router.routes:
            yield from (
                routes(route.original_router) if hasattr(route, "original_router") else (route,)
            )

    taken = {
        route.path.replace("{job_type}", "hello")
        for route in routes(site.router)
        if not route.methods <= {"GET", "HEAD"}
    }
    assert taken - FREE == set(ACTIONS)


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
@pytest.mark.parametrize("path", ACTIONS)
async def test_an_action_without_login_is_refused(console: Console, path: str, phase: str) -> None:
    run = console.run(f"door-{time.monotonic_ns()}", phase)
    await console.mirrored()
    before = untouched(console)
    async with httpx.AsyncClient(base_url=console.url, timeout=60) as stranger:
        answer = await stranger.post(
            path.format(id=run), data={"csrf": "0" * 64, "verb": "cancel", "run": run}
        )
    assert answer.status_code == 401
    assert untouched(console) == before


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
@pytest.mark.parametrize("path", ACTIONS)
async def test_an_action_without_the_forms_token_is_refused(
    console: Console, http: httpx.AsyncClient, path: str, phase: str
) -> None:
    run = console.run(f"door-{time.monotonic_ns()}", phase)
    await console.mirrored()
    before = untouched(console)
    for token in ("", "0" * 64):
        answer = await http.post(
            path.format(id=run),
            data={"csrf": token, "verb": "cancel", "run": run, "confirmed": "1"},
        )
        assert (answer.status_code, "form-expired" in answer.text) == (403, True)
    assert untouched(console) == before


def untouched(console: Console) -> dict[str, str]:
    """What would be another one if anything had been done."""
    return {
        name: console.kube.run(name)["metadata"]["resourceVersion"]
        for name in console.kube.run_names
    }


@pytest.mark.parametrize("path", [*ACTIONS, "/console/login", "/console/theme"])
async def test_a_form_of_another_site_is_refused(http: httpx.AsyncClient, path: str) -> None:
    token = await csrf_of(http)
    headers = {"sec-fetch-site": "cross-site"}
    answer = await http.post(
        path.format(id="x"), data={"csrf": token, "token": TOKEN}, headers=headers
    )
    assert (answer.status_code, "foreign-form" in answer.text) == (403, True)


async def test_read_only_hides_every_button_and_refuses_what_they_do(tmp_path: Path) -> None:
    async with running(tmp_path, console_read_only=True) as console:
        done = console.run("done", "Succeeded")
        live = console.run("live", "Running")
        await console.mirrored()
        async with httpx.AsyncClient(base_url=console.url, timeout=60) as http:
            await http.post("/console/login", data={"token": TOKEN})
            for path in (
                "/console/runs",
                f"/console/runs/{done}",
                f"/console/runs/{live}",
                "/console/start/hello",
            ):
                text = (await http.get(path)).text
                assert "read-only" in text
                shown = re.findall(r'<form method="post" action="([^"]+)"', text)
                assert {*shown} <= {
                    "/console/theme",
                    "/console/logout",
                    "/console/bulk",
                    "/console/start/hello",
                }
                assert not re.search(r'<button[^>]*name="(verb|what)"', text)
            token = await csrf_of(http)
            for path in ACTIONS:
                for run in (live, done):
                    answer = await http.post(
                        path.format(id=run), data={"csrf": token, "verb": "cancel", "run": run}
                    )
                    assert (answer.status_code, "read-only" in answer.text) == (403, True)
        assert "cancel" not in console.kube.run("live")["spec"]
        assert console.kube.run_names == ["done", "live"]


async def test_the_session_cookie_opens_nothing_of_rest(http: httpx.AsyncClient) -> None:
    for path in ("/runs", "/events", "/stats", "/prompts"):
        assert (await http.get(path)).status_code == 401


async def test_a_token_that_is_taken_away_ends_its_sessions(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as console,
        httpx.AsyncClient(base_url=console.url, timeout=60) as http,
    ):
        await http.post("/console/login", data={"token": "ada-token"})
        assert (await http.get("/console/runs")).status_code == 200
        (tmp_path / "tokens").write_text("bob:another\n")
        assert (await http.get("/console/runs")).status_code == 303


async def test_logging_out_forgets_the_cookie(http: httpx.AsyncClient) -> None:
    answer = await http.post("/console/logout", data={"csrf": await csrf_of(http)})
    assert answer.headers["location"] == "/console/login"
    assert (await http.get("/console/runs")).status_code == 303


async def test_who_did_what_from_where_is_logged(
    console: Console, http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    run = console.run("audited", "Running")
    await console.mirrored()
    with caplog.at_level("INFO", logger="codexrun_api.console.access"):
        await http.post(
            f"/console/runs/{run}/cancel",
            data={"csrf": await csrf_of(http), "reason": "wrong branch"},
        )
    (line,) = [record for record in caplog.records if record.message == "run.cancel_requested"]
    said = line.__dict__["fields"]
    assert (said["user"], said["origin"], said["run_id"], said["client"]) == (
        "shared",
        "console",
        run,
        "127.0.0.1",
    )
    assert console.kube.run("audited")["spec"]["cancel"] == {
        "requestedBy": "shared",
        "reason": "wrong branch",
    }


async def test_files_never_change_under_their_url(http: httpx.AsyncClient) -> None:
    urls = re.findall(r'"(/console/static/[^"]+)"', (await http.get("/console/runs")).text)
    assert urls
    for url in {url.partition("#")[0] for url in urls}:
        answer = await http.get(url)
        assert (answer.status_code, "immutable" in answer.headers["cache-control"]) == (200, True)
    for url in (
        "/console/static/../pages.py",
        "/console/static/%2e%2e/pages.py",
        "/console/static/vendor/SHA256SUMS",
    ):
        assert (await http.get(url)).status_code == 404
