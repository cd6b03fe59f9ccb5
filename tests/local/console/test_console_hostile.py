"""Whatever a run, a prompt, a log or an error carries: nothing of it is executed, loaded or hidden,
and the policy has nothing to report."""

import pytest
from browsers import Visit
from console_stand import Console, item, said
from manifests import job_type, prompt

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = [
    "<script>window.pwned=1</script>",
    '<img src=x onerror="window.pwned=1">',
    '"><svg onload=window.pwned=1>',
    "'\"--></title></style></textarea></script><script>window.pwned=1</script>",
    "javascript:window.pwned=1",
    "[click](javascript:window.pwned=1) [data](data:text/html,<script>window.pwned=1</script>)",
    "![beacon](https://evil.example/beacon.png)",
    "<a href='javascript:window.pwned=1'>x</a>"
    "<iframe srcdoc='<script>parent.pwned=1</script>'></iframe>",
    "<div hx-get='/console/logout' hx-trigger='load' hx-on:load='window.pwned=1'>x</div>",
    "<style>@import 'https://evil.example/x.css';</style>"
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<form action=https://evil.example><button>Log in</button></form>"
    "<base href=https://evil.example>",
    "\x1b]8;;javascript:window.pwned=1\x07link\x1b]8;;\x07 \x1b[31;1mred\x1b[0m "
    "\x1b[2J\x1b]0;title\x07",
    '\x1b]8;;https://evil.example/"onmouseover="window.pwned=1\x1b\\link\x1b]8;;\x1b\\',
    "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
    "cod\u202egnp.exe \u2066x\u2069 \u200bzero\u0000nul \u2028 line",
    "' onmouseover='window.pwned=1' x='",
    "&lt;script&gt;window.pwned=1&lt;/script&gt; &#x202e; &amp;",
    "<math><mtext><table><mglyph><style><!--</style>"
    "<img title='--&gt;&lt;img src=1 onerror=window.pwned=1&gt;'>",
    "x" * 50_000,
]
ALL = "\n\n".join(text for text in HOSTILE if len(text) < 1000)

LOOK = """() => {
  const statics = location.origin + "/console/static/";
  const local = (url) => !url || /^[/?#]/.test(url) || url.startsWith(statics);
  const all = (selector) => document.querySelectorAll(selector);
  const found = [];
  if (window.pwned) found.push("pwned");
  found.push(...(window.trouble || []));
  for (const el of all("script"))
    if (!local(el.getAttribute("src")) || !el.src)
      found.push("script " + el.outerHTML.slice(0, 99));
  for (const el of all("iframe, object, embed, base, style, img, math"))
    found.push(el.outerHTML.slice(0, 99));
  for (const el of all("link, form, use")) {
    const url = el.getAttribute("href") || el.getAttribute("action");
    if (!local(url)) found.push(url);
  }
  for (const el of all("a")) {
    const url = el.getAttribute("href");
    if (!local(url) && !/^https?:/.test(url)) found.push("link " + url);
    if (/^https?:/.test(url) && !el.rel.includes("noopener")) found.push("rel " + url);
  }
  for (const el of all("*"))
    for (const name of el.getAttributeNames()) {
      const style = name === "style" && !el.closest("#chart");
      if (style || /^on/i.test(name) || /^(data-)?hx-on/.test(name))
        found.push(el.tagName + " " + name);
    }
  for (const el of all(".md [hx-get], .l [hx-get], pre [hx-get], .md [class], .md [id]"))
    found.push(el.outerHTML.slice(0, 99));
  const hidden = /[\\u202a-\\u202e\\u2066-\\u2069\\u0000]/;
  if (hidden.test(document.body.innerText)) found.push("hidden characters");
  return found;
}"""


def plant(console: Console) -> list[str]:
    """Runs that carry the corpus wherever a run can carry text."""
    ids = []
    for n, text in enumerate(HOSTILE):
        short = text[:1000]
        run = console.run(
            f"hostile-{n:02}",
            "Failed" if n % 2 else "Succeeded",
            age=1000 + n,
            user=short[:253],
            inputs={"name": text, short[:80]: {short[:60]: [short]}},
            spec={
                "workspace": {"git": {"url": f"https://git.example/{short[:300]}"}},
                "cancel": {"requestedBy": short[:200], "reason": short},
            },
            status={
                "reason": short[:100],
                "message": short,
                "threadId": short[:128],
                "jobName": short[:200],
                "podName": short[:200],
                "model": short[:120],
                "result": {"message": text[:2000]},
                "failure": {"class": "agent_error", "message": short, "retryable": False},
                "prompt": {"name": "hello", "version": "v1", "sha256": "0" * 64},
                "conditions": [
                    {
                        "type": "Started",
                        "status": "True",
                        "reason": short[:100],
                        "message": short,
                        "lastTransitionTime": "2026-01-31T12:00:00Z",
                    }
                ],
            },
        )
        console.say(
            run,
            {"ts": text[:50], "src": text[:50], "text": text, "phase": short, "reason": short},
            {"ts": "2026-01-31T12:00:00.000Z", "src": "stderr", "text": text},
            said({"type": "thread.started", "thread_id": text}),
            said({"type": "turn.started"}),
            *(
                item(
                    kind,
                    m,
                    text=text,
                    message=text,
                    command=f"/bin/bash -lc {short!r}",
                    aggregated_output=text,
                    exit_code=text,
                    status=text,
                    server=text,
                    tool=text,
                    query=text,
                    arguments={text[:99]: text},
                    changes=[{"path": text, "kind": text, "diff": text}],
                    items=[{"text": text, "completed": True}],
                )
                for m, kind in enumerate(
                    (
                        "agent_message",
                        "reasoning",
                        "command_execution",
                        "file_change",
                        "mcp_tool_call",
                        "todo_list",
                        "web_search",
                        "error",
                        short[:60],
                    )
                )
            ),
            item("file_change", 20, changes=text, status="completed"),
            item("todo_list", 21, items=text),
            said({"type": text, "text": text}),
            said({"type": "error", "message": text}),
            said({"type": "turn.failed", "error": {"message": text}}),
            b"\xff\xfe not utf-8 \xc3\x28 <script>window.pwned=1</script>\n",
            text.encode("utf-8", "replace").replace(b"\n", b" ") + b"\n",
        )
        console.put(
            run,
            "final-message.md",
            text.encode() + b"\n\n" + ALL.encode() if n == 0 else text.encode(),
        )
        console.put(
            run,
            "workspace.patch",
            f"diff --git a/{text} b/x\n+{text}\n-{text}\n@@ {text}\n".encode(),
        )
        ids.append(run)
    return ids


async def test_nothing_is_executed_and_the_policy_reports_nothing(
    console: Console, visit: Visit
) -> None:
    ids = plant(console)
    await console.until(
        lambda: all(run in console.services.mirror.ids() for run in ids),
        "every one of them is seen",
    )
    console.kube.put(console.kube.config_maps, prompt("evil", "v1", ALL))
    console.kube.put(console.kube.config_maps, prompt("evil", "v2", ALL[::-1], sha256="<script>"))
    schema = {
        "required": ["a"],
        "properties": {
            "a": {"type": "string", "title": ALL[:500], "description": ALL, "default": ALL},
            '"><script>window.pwned=1</script>': {
                "enum": [ALL[:200], "</option><script>window.pwned=1</script>"]
            },
        },
    }
    console.kube.put(
        console.kube.job_types,
        job_type(
            "evil",
            description=ALL[:1000],
            prompt={"name": "evil", "version": "v1"},
            inputsSchema=schema,
        ),
    )
    await console.mirrored()
    await console.until(
        lambda: (
            "evil" in console.services.catalog.job_types
            and ("evil", "v2") in console.services.catalog.prompts
        )
    )
    paths = [
        "/console/runs",
        "/console/start/evil",
        "/console/jobtypes",
        "/console/jobtypes/evil",
        "/console/prompts/evil?version=v1&against=v2",
        "/console/prompts",
        "/console/cost",
    ]
    for n, run in enumerate(ids):
        paths += [
            f"/console/runs/{run}?tab={tab}"
            for tab in (
                ("codex", "log", "prompt", "artifacts", "yaml") if n < 13 else ("codex", "log")
            )
        ]
        paths.append(f"/console/compare?a={run}&b={ids[n - 1]}")
    paths.append(f"/console/runs/{ids[0]}/rerun")
    await look(visit, paths)


async def test_what_a_url_says_is_text_too(console: Console, visit: Visit) -> None:
    from urllib.parse import quote

    run = console.run("plain-run", "Succeeded")
    console.say(run, {"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": "x"})
    await console.mirrored()
    paths = []
    for text in HOSTILE[:-1]:
        value = quote(text[:180], safe="")
        paths += [
            f"/console/runs?search={value}&user={value}&job_type={value}&model={value}",
            f"/console/runs/{run}?tab=log&q={value}",
            f"/console/login?back={value}",
            f"/console/{value}",
            f"/console/runs?since={value}",
        ]
    await look(visit, paths)


async def look(visit: Visit, paths: list[str]) -> None:
    page = await visit.page("/console/runs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found = {}
    for path in paths:
        answer = await page.goto(visit.url + path, wait_until="load")
        assert answer is not None
        assert answer.status < 500, path
        if wrong := await page.evaluate(LOOK):
            found[path] = wrong[:4]
    assert found == {}
    assert [url for url in asked if not url.startswith(visit.url)] == []
