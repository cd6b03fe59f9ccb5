"""What the demo model can play. A prompt chooses by a line `scenario: <name>`; without one it is
`hello`.

Each row of SCENARIOS: name, one line for the docs, script. A script answers one request from what
it asks. Pure.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from codexrun_demo_model import jobs, real_models
from codexrun_demo_model.conversation import ModelRequest
from codexrun_demo_model.probe import ENV_PROBE
from codexrun_demo_model.replies import (
    Reply,
    Usage,
    failed,
    http_error,
    message,
    run,
    say,
    wait_for,
)

NAME = re.compile(
    r"(?:hello to|greet|greeting for|name:)[ \t]+(.+?)(?= in one short|[.!]?[ \t]*$)", re.I | re.M
)
SESSION = re.compile(r"session ID (\d+)|\"session_id\":(\d+)")
EACH_LOOP = Usage(input=1000, output=150, cached=400, reasoning=50)
RATE_LIMITED = "Rate limit reached for demo-model. Please try again in 1.5s."


@dataclass(frozen=True)
class Scenario:
    """A name that prompts use, what it plays, and how; `<n>` in the name stands for a number."""

    name: str
    description: str
    script: Callable[[ModelRequest, int], Reply]


def reply(model_request: ModelRequest) -> Reply:
    """The scenario's answer; a compaction gets its summary, an unknown scenario a 400 that lists
    the known ones."""
    if model_request.compaction:
        return say("Summary: the work so far went as planned.")
    plain, _, number = model_request.scenario.rpartition("-")
    for name, argument in (
        (model_request.scenario, 0),
        (f"{plain}-<n>", int(number) if number.isdigit() else 0),
    ):
        if name in BY_NAME:
            return BY_NAME[name].script(model_request, argument)
    known = ", ".join(BY_NAME)
    return http_error(
        400,
        "unknown_scenario",
        f"no scenario {model_request.scenario!r}; the demo model knows {known}",
    )


def command(model_request: ModelRequest, text: str, then: str = "") -> Reply:
    """Runs a shell command, waits until it ends, then says `then` or, without it, what the command
    printed."""
    if model_request.step == 0:
        return run(model_request, text, wait_seconds=30)
    if running := SESSION.search(model_request.output or ""):
        return wait_for(model_request, int(running.group(1) or running.group(2)))
    return say(then or printed(model_request.output or ""))


def printed(output: str) -> str:
    """What a command printed, without the tool's own head lines."""
    try:  # code mode: the last line is JSON
        return str(json.loads(output.rsplit("\n", 1)[-1])["output"]).strip() or "done"
    except (ValueError, KeyError, TypeError):
        return output.partition("Output:\n")[2].strip() or "done"


def hello(model_request: ModelRequest, _: int) -> Reply:
    """Writes the greeting to hello.txt and says it."""
    found = NAME.search(model_request.prompt)
    greeting = f"Hello, {found.group(1).strip() if found else 'there'}!"
    return command(
        model_request,
        f"printf '%s\\n' {shlex.quote(greeting)} > hello.txt && cat hello.txt",
        then=greeting,
    )


def shell(model_request: ModelRequest, _: int) -> Reply:
    """The command of the prompt's line `command: ...`, or one that shows the workspace."""
    given = re.search(r"^command:[ \t]*(.+)$", model_request.prompt, re.M)
    return command(model_request, given.group(1) if given else "pwd && ls -la")


def call(model_request: ModelRequest, times: int) -> Reply:
    """The item of the prompt's line `call: {...}` as it is, so often; then what the last one
    gave."""
    given = re.search(r"^call:[ \t]*(\{.+\})$", model_request.prompt, re.M)
    if given is None or model_request.step >= times:
        return say(model_request.output or "There was nothing to call.")
    try:
        item = json.loads(given.group(1))
    except ValueError as error:
        return http_error(400, "no_call", f"the line `call: ...` is no JSON: {error}")
    return Reply(items=({**item, "call_id": f"call_{model_request.step}_{model_request.attempt}"},))


def several_turns(model_request: ModelRequest, _: int) -> Reply:
    """Three commands, one after another, then a message."""
    steps = ("echo one > steps.txt", "echo two >> steps.txt", "wc -l < steps.txt")
    if model_request.step < len(steps):
        return run(model_request, steps[model_request.step])
    return say(
        f"Did {len(steps)} steps; steps.txt has {printed(model_request.output or '')} lines."
    )


def code_mode(model_request: ModelRequest, _: int) -> Reply:
    """A tool call as models in code mode make it, whatever the request's form."""
    in_code_mode = ModelRequest(**{**vars(model_request), "code_mode": True})
    return command(in_code_mode, "echo written in code mode > code-mode.txt && cat code-mode.txt")


def runaway(model_request: ModelRequest, _: int) -> Reply:
    """Never ends by itself."""
    return run(model_request, f"echo loop {model_request.step}", usage=EACH_LOOP)


def echo(model_request: ModelRequest, _: int) -> Reply:
    """Says how the prompt arrived, so that a test can compare it byte for byte."""
    text = model_request.prompt.encode()
    return say(json.dumps({"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)}))


def recovers(model_request: ModelRequest, _: int) -> Reply:
    """Two refusals with Retry-After, then an answer."""
    if model_request.attempt < 2:
        return http_error(429, "rate_limit_exceeded", RATE_LIMITED, ("Retry-After", "1"))
    return say("Answered at the third try.")


def waits(model_request: ModelRequest, seconds: int) -> Reply:
    """One refusal that names the time to wait, then an answer."""
    if model_request.attempt < 1:
        return http_error(
            429, "rate_limit_exceeded", "Rate limit reached.", ("Retry-After", str(seconds))
        )
    return say("Answered at the second try.")


def always(answer: Reply) -> Callable[[ModelRequest, int], Reply]:
    """The same answer to every request."""
    return lambda _asked, _number: answer


SCENARIOS = (
    Scenario(
        "hello", "writes hello.txt with a shell command, then greets whom the prompt names", hello
    ),
    Scenario("message", "one message, no tool call", always(say("This is the demo model."))),
    Scenario("shell", "runs the prompt's line `command: ...` and says what it printed", shell),
    Scenario(
        "call-<n>",
        "the output item of the prompt's line `call: {...}`, n times, whatever it calls",
        call,
    ),
    Scenario(
        "several-turns", "three shell commands one after another, then a message", several_turns
    ),
    Scenario(
        "code-mode", "a shell command from a code-mode script (needs a code-mode model)", code_mode
    ),
    Scenario(
        "reasoning",
        "encrypted reasoning before a command, and whether it came back",
        real_models.reasoning,
    ),
    Scenario(
        "web-search",
        "a search that the provider has run (needs allowedTools: web_search)",
        real_models.web_search,
    ),
    Scenario(
        "tool-search",
        "looks for a tool of an MCP server that Codex has not shown",
        real_models.tool_search,
    ),
    Scenario(
        "view-image",
        "makes an image and looks at it (needs allowedTools: view_image)",
        real_models.view_image,
    ),
    Scenario(
        "image-output",
        "an image that the provider has made, which no job type allows",
        real_models.image_output,
    ),
    Scenario(
        "compaction",
        "commands, a full context that Codex compacts, and one command more",
        real_models.compaction,
    ),
    Scenario(
        "resume",
        "half of the work; a run that resumes this one has it do the other half",
        real_models.resume,
    ),
    Scenario("echo", "says the prompt's sha256 and size as JSON", echo),
    Scenario(
        "code-review",
        "reviews the diff against the prompt's base; findings as JSON",
        jobs.code_review,
    ),
    Scenario("code-review-misfit", "a review that its outputSchema does not allow", jobs.misfit),
    Scenario(
        "fix-failing-test",
        "runs the prompt's command, patches what its hint says, runs it",
        jobs.fix_failing_test,
    ),
    Scenario(
        "release-notes",
        "release notes from the commits since the prompt's version",
        jobs.release_notes,
    ),
    Scenario(
        "sleep-<n>",
        "a shell command that sleeps n seconds",
        lambda a, n: command(a, f"sleep {n}; echo awake"),
    ),
    Scenario(
        "slow-<n>",
        "streams a chunk a second for n seconds, then a message",
        lambda _, n: say("ok", seconds=n),
    ),
    Scenario(
        "big-output-<n>",
        "a command that prints n MB in lines",
        lambda a, n: command(
            a, f"yes 0123456789abcdef | head -c {n}000000", then=f"Printed {n} MB."
        ),
    ),
    Scenario(
        "write-disk",
        "fills the workspace, 20 MB a second, up to 4 GB",
        lambda a, _: command(
            a, "for i in $(seq 1000); do head -c 4000000 /dev/zero > fill.$i; sleep 0.2; done"
        ),
    ),
    Scenario(
        "env-probe",
        "looks for keys in environment, /proc, files and mounts, and tries to signal processes",
        lambda a, _: command(a, ENV_PROBE),
    ),
    Scenario("runaway", "tool calls without end: 1,000 input and 150 output tokens each", runaway),
    Scenario("stall", "headers and the first event, then silence", always(Reply(ending="silence"))),
    Scenario("no-headers", "takes the request and never answers", always(Reply(answers=False))),
    Scenario(
        "cut",
        "the stream breaks off in the middle, each time",
        always(Reply(items=(message("half a"),), ending="cut")),
    ),
    Scenario(
        "incomplete",
        "response.incomplete: the content filter",
        always(Reply(ending="incomplete", error={"reason": "content_filter"})),
    ),
    Scenario(
        "no-usage",
        "a message whose response carries no usage",
        always(say("Not counted.", usage="none")),
    ),
    Scenario(
        "no-message",
        "completes without any message: Codex exits 0 with nothing to show",
        always(Reply()),
    ),
    Scenario(
        "401",
        "HTTP 401: the key is refused",
        always(http_error(401, "invalid_api_key", "Incorrect API key.")),
    ),
    Scenario(
        "429",
        "HTTP 429 without Retry-After",
        always(http_error(429, "rate_limit_exceeded", RATE_LIMITED)),
    ),
    Scenario(
        "429-retry-after",
        "HTTP 429 with Retry-After: 1, each time",
        always(http_error(429, "rate_limit_exceeded", RATE_LIMITED, ("Retry-After", "1"))),
    ),
    Scenario("429-wait-<n>", "HTTP 429 with Retry-After: n once, then a message", waits),
    Scenario("429-recovers", "HTTP 429 with Retry-After: 1 twice, then a message", recovers),
    Scenario(
        "quota",
        "HTTP 429 with code insufficient_quota",
        always(http_error(429, "insufficient_quota", "You exceeded your current quota.")),
    ),
    Scenario(
        "500", "HTTP 500, each time", always(http_error(500, None, "The server had an error."))
    ),
    Scenario(
        "503", "HTTP 503, each time", always(http_error(503, None, "The engine is overloaded."))
    ),
    Scenario(
        "failed",
        "response.failed with server_error, each time",
        always(failed("server_error", "The server had an error.")),
    ),
    Scenario(
        "failed-rate-limit",
        "response.failed with rate_limit_exceeded, each time",
        always(failed("rate_limit_exceeded", RATE_LIMITED)),
    ),
    Scenario(
        "failed-quota",
        "response.failed with insufficient_quota",
        always(failed("insufficient_quota", "You exceeded your current quota.")),
    ),
)

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
