"""Writes the table of what Codex can send to a model, from its binaries:

    PYTHONPATH=dev .venv/bin/python dev/codex_requests.py ~/.cache/codexrun/codex/*/bin/codex

Each binary plays scenarios of the demo model (recorded), tells the schema of its items (schema),
and is searched for the names that its source has for what no scenario made it send (source).
Versions that are not given stay in the table as they are.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from codexrun_demo_model.server import application

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "pod/codexrun_pod/gate/policy/codex_requests.json"
SECTIONS = ("request", "include", "objects", "items", "parts", "tools")
Json = dict[str, Any]
# section -> names -> {version: origin}; names are those of the table, outermost first.
Found = defaultdict[tuple[str, ...], dict[str, str]]

# From codex-rs/codex-api/src/common.rs, codex-rs/tools/src/{tool_spec,responses_api}.rs and
# codex-rs/core/src/client.rs of openai/codex.
SOURCE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("request",): (
        "model", "instructions", "input", "tools", "tool_choice", "parallel_tool_calls",
        "reasoning", "store", "stream", "stream_options", "include", "service_tier",
        "prompt_cache_key", "prompt_cache_options", "text", "client_metadata",
    ),
    ("include",): ("reasoning.encrypted_content", "output.encrypted_content"),
    ("objects", "request.reasoning"): ("effort", "summary", "context"),
    ("objects", "request.stream_options"): ("reasoning_summary_delivery",),
    ("objects", "request.prompt_cache_options"): ("ttl",),
    ("objects", "request.text"): ("verbosity", "format"),
    ("objects", "request.text.format"): ("type", "strict", "schema", "name"),
    ("objects", "tool.format"): ("type", "syntax", "definition"),
    ("objects", "tool.filters"): ("allowed_domains",),
    ("objects", "tool.user_location"): ("type", "country", "region", "city", "timezone"),
    ("tools", "function"): ("type", "name", "description", "strict", "defer_loading", "parameters"),
    ("tools", "custom"): ("type", "name", "description", "format"),
    ("tools", "namespace"): ("type", "name", "description", "tools"),
    ("tools", "tool_search"): ("type", "execution", "description", "parameters"),
    ("tools", "web_search"): (
        "type", "external_web_access", "filters", "user_location", "search_context_size",
        "search_content_types",
    ),
}  # fmt: skip
# Where the schema has the parts of items, and the objects below their keys.
PART_DEFINITIONS = (
    "ContentItem",
    "FunctionCallOutputContentItem",
    "AgentMessageInputContent",
    "ReasoningItemContent",
    "ReasoningItemReasoningSummary",
)
OBJECT_DEFINITIONS = {
    "LocalShellAction": "item.action",
    "ResponsesApiWebSearchAction": "item.action",
    "ConfigurationReasoning": "item.reasoning",
    "InternalChatMessageMetadataPassthrough": "item.internal_chat_message_metadata_passthrough",
}
UNKNOWN_TO_CODEX = "other"  # what it makes of a type that it does not know, and never sends
PART_LISTS = ("content", "output", "summary")

CONFIG = """
model_provider = "demo"
approval_policy = "never"
sandbox_mode = "danger-full-access"
web_search = "live"
check_for_update_on_startup = false
[features]
unbounded_connection_retries = false
plugins = false
apps = false
[tools.web_search]
context_size = "low"
allowed_domains = ["example.com"]
location = {{ country = "DE", region = "BE", city = "Berlin", timezone = "Europe/Berlin" }}
[analytics]
enabled = false
[otel]
exporter = "none"
trace_exporter = "none"
metrics_exporter = "none"
[mcp_servers.t]
command = {python}
args = [{server}, {mark}]
default_tools_approval_mode = "approve"
[model_providers.demo]
name = "demo"
base_url = "http://127.0.0.1:{port}/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
SCENARIOS = (
    "message",
    "hello",
    "reasoning",
    "web-search",
    "tool-search",
    "view-image",
    "image-output",
    "compaction",
)
MODELS = ("gpt-5.5", "gpt-6-sol")  # with tools of their own, and in code mode
SETTINGS = (
    "model_reasoning_effort=high",
    "model_reasoning_summary=detailed",
    "model_verbosity=low",
    "service_tier=priority",
)


def main(binaries: list[Path]) -> None:
    """Write the table."""
    found = _earlier()
    versions = {version for origins in found.values() for version in origins}
    for codex in binaries:
        version = _output(codex, "--version").split()[-1]
        versions.add(version)
        for origins in found.values():
            origins.pop(version, None)
        for body in _recorded(codex):
            for names in _names_of(body):
                found[names].setdefault(version, "recorded")
        for names in _names_of_schema(codex):
            found[names].setdefault(version, "schema")
        binary = codex.read_bytes()
        for place, keys in SOURCE.items():
            for key in keys:
                if key.encode() in binary:
                    found[*place, key].setdefault(version, "source")
    table: Json = {"codex": sorted(versions), **{section: {} for section in SECTIONS}}
    for names, origins in sorted(found.items()):
        if origins:
            holder = table
            for name in names[:-1]:
                holder = holder.setdefault(name, {})
            known = (f"{version} {origins[version]}" for version in sorted(origins))
            holder[names[-1]] = ", ".join(known)
    TABLE.write_text(json.dumps(table, indent=2) + "\n")


def _earlier() -> Found:
    found: Found = defaultdict(dict)
    if not TABLE.exists():
        return found

    def walk(value: Any, names: tuple[str, ...]) -> None:
        if isinstance(value, str):
            found[names] = dict(origin.split() for origin in value.split(", "))
        else:
            for name, inner in value.items():
                walk(inner, (*names, name))

    table = json.loads(TABLE.read_bytes())
    for section in SECTIONS:
        walk(table[section], (section,))
    return found


def _recorded(codex: Path) -> list[Json]:
    """Return the bodies of all requests that the binary makes in the scenarios."""
    with _recorder() as (port, bodies), tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        workspace = Path(folder, "workspace")
        workspace.mkdir()
        names = {
            "python": sys.executable,
            "server": str(ROOT / "tests/local/codex/mcp_server.py"),
            "mark": str(Path(folder, "mark")),
        }
        quoted = {name: json.dumps(value) for name, value in names.items()}
        Path(folder, "config.toml").write_text(CONFIG.format(port=port, **quoted))
        Path(folder, "schema.json").write_text(json.dumps({"type": "object"}))
        schema = ("--output-schema", Path(folder, "schema.json"))
        settings = [word for setting in SETTINGS for word in ("-c", setting)]
        for model in MODELS:
            options = ("--json", "--skip-git-repo-check", "-m", model)
            _run(codex, Path(folder), "exec", *options, "scenario: message")
            for scenario in SCENARIOS:
                words = (*options, *settings, *schema, f"scenario: {scenario}")
                _run(codex, Path(folder), "exec", *words)
                _run(codex, Path(folder), "exec", "resume", "--last", *words)
    return bodies


def _run(codex: Path, home: Path, *words: str | Path) -> None:
    """Run Codex; what comes of it does not matter, since its requests do."""
    environment = {"HOME": str(home), "CODEX_HOME": str(home), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [codex, *words],
        check=False,
        cwd=home / "workspace",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if os.environ.get("VERBOSE"):
        sys.stderr.write(f"{words[-1]} {done.returncode}\n{done.stdout.decode()[-2000:]}\n")


@contextmanager
def _recorder() -> Iterator[tuple[int, list[Json]]]:
    """Serve the demo model from a thread; yield its port, and the bodies of its requests."""
    bodies: list[Json] = []

    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST":
            bodies.append(await request.json())
        answer: web.StreamResponse = await handler(request)
        return answer

    app = application()
    app.middlewares.append(record)
    runner = web.AppRunner(app)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield runner.addresses[0][1], bodies
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())


def _names_of(body: Json) -> Iterator[tuple[str, ...]]:
    """Yield the names that a recorded request has."""
    yield from (("request", key) for key in body)
    yield from (("include", value) for value in body.get("include") or ())
    for key in ("reasoning", "text", "stream_options", "prompt_cache_options"):
        yield from _names_of_object(f"request.{key}", body.get(key))
    tools = list(body.get("tools") or ())
    for item in body["input"]:
        kind = item.get("type", "message")
        yield from (("items", kind, key) for key in item)
        for key in ("action", "reasoning", "internal_chat_message_metadata_passthrough"):
            yield from _names_of_object(f"item.{key}", item.get(key))
        for key in PART_LISTS:
            parts = item.get(key)
            for part in parts if isinstance(parts, list) else ():
                yield from (("parts", part["type"], name) for name in part)
        tools.extend(item.get("tools") or ())
    while tools:
        tool = tools.pop()
        yield from (("tools", tool["type"], key) for key in tool)
        for key in ("format", "filters", "user_location"):
            yield from _names_of_object(f"tool.{key}", tool.get(key))
        tools.extend(tool.get("tools") or ())


def _names_of_object(place: str, value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        yield from (("objects", place, key) for key in value)
        if place == "request.text":
            yield from _names_of_object(f"{place}.format", value.get("format"))


def _names_of_schema(codex: Path) -> Iterator[tuple[str, ...]]:
    """Yield the names that Codex's own JSON Schema has for the items of a conversation."""
    with tempfile.TemporaryDirectory() as folder:
        _output(codex, "app-server", "generate-json-schema", "--experimental", "--out", folder)
        path = Path(folder, "v2/RawResponseItemCompletedNotification.json")
        definitions = json.loads(path.read_bytes())["definitions"]
    for kind, keys in _alternatives(definitions["ResponseItem"]):
        if kind != UNKNOWN_TO_CODEX:
            yield from (("items", kind, key) for key in keys)
    for name in PART_DEFINITIONS:
        for kind, keys in _alternatives(definitions[name]):
            yield from (("parts", kind, key) for key in keys)
    for name, place in OBJECT_DEFINITIONS.items():
        for _, keys in _alternatives(definitions[name]):
            yield from (("objects", place, key) for key in keys)


def _alternatives(definition: Json) -> Iterator[tuple[str, list[str]]]:
    """Yield the type of each alternative, and its keys."""
    for alternative in definition.get("oneOf", [definition]):
        properties = alternative["properties"]
        inner = [key for each in alternative.get("anyOf", ()) for key in each["properties"]]
        kind = properties.get("type", {}).get("enum", [""])[0]
        yield kind, [*properties, *inner]


def _output(*command: str | Path) -> str:
    with tempfile.TemporaryDirectory(dir=Path.home()) as home:
        environment = {"HOME": home, "CODEX_HOME": home, "PATH": os.environ["PATH"]}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


if __name__ == "__main__":
    main([Path(path) for path in sys.argv[1:]])
