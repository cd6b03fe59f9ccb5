"""Move the pin of Codex: `make codex-update VERSION=0.171.0`.

Fetches that version for each processor and holds it against npm's integrity. Writes the pin, and
what each pinned version offers (OFFERS): models, flags, features, and what it prints when the demo
model plays SCENES to it. Prints what differs from the version that was pinned before. A second time
nothing changes.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from codex_stand import REPOSITORY, Pod, demo_model

from codexrun_cluster.__main__ import report
from codexrun_cluster.command import Log
from codexrun_cluster.errors import LauncherError
from codexrun_cluster.images import codex
from codexrun_cluster.images.codex import Pin
from codexrun_cluster.paths import find_paths

Json = dict[str, Any]
OFFERS = REPOSITORY / "tests/support/codex_offers.json"
README = REPOSITORY / "README.md"
REQUESTS = REPOSITORY / "dev/codex_requests.py"
MCP_SERVER = REPOSITORY / "tests/local/codex/mcp_server.py"

TOOLS = ["apply_patch", "mcp:t", "shell", "web_search"]
PATCH = "*** Begin Patch\n*** Add File: new\n+hi\n*** End Patch\n"
# Scenarios of the demo model, and items of a response that it is told to send.
SCENES: list[str | Json] = [
    "message",
    "hello",
    "incomplete",
    {"type": "custom_tool_call", "name": "apply_patch", "input": PATCH},
    {"type": "function_call", "name": "alpha", "namespace": "mcp__t", "arguments": '{"a": "1"}'},
    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "x"}},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "thinking"}]},
]


def main() -> int:
    """Move the pin to VERSION; return 0 when that version is pinned and described."""
    version = os.environ.get("VERSION", "")
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.stderr.write(
            f"VERSION={version!r} is not a version; name one of those that"
            " `npm view @openai/codex versions` lists, such as VERSION=0.171.0\n"
        )
        return 2
    paths = find_paths()
    log = Log(paths.logs / "codex-update.log")
    previous = codex.pins()[-1].version
    try:
        pins = moved(codex.pins(), verified(version, log))
        for pin in pins:
            codex.fetch_codex(paths, log, pin)
    except LauncherError as error:
        report(error)
        return 1
    programs = {pin.version: codex.codex_folder(paths, pin.version) / "bin/codex" for pin in pins}
    offers = {number: offer(program) for number, program in programs.items()}
    known = json.loads(OFFERS.read_text()) | offers if OFFERS.exists() else offers
    write(codex.PINS, {pin.version: dict(pin.integrity) for pin in pins})
    write(OFFERS, offers)
    README.write_text(mentioning(README.read_text(), version))
    if REQUESTS.exists():
        subprocess.run([sys.executable, REQUESTS, *programs.values()], check=True)
    changes = differences(known[previous], offers[version])
    sys.stdout.writelines(f"{line}\n" for line in changes)
    sys.stdout.write(
        f"Codex {version} is pinned, before: {previous}; git diff has what was written\n"
    )
    return 0


def verified(version: str, log: Log) -> Pin:
    """Return a version's pin, after the bytes of each of its packages were held against it.

    Raises:
        LauncherError: npm does not have it, or serves something else.
    """
    hashes = {
        processor: log.read(
            ["npm", "view", f"@openai/codex@{version}-linux-{cpu}", "dist.integrity"]
        ).strip()
        for processor, cpu in codex.NPM_CPUS.items()
    }
    pin = Pin(version, hashes)
    if pin in codex.pins():
        return pin
    for processor, declared in hashes.items():
        with tempfile.TemporaryDirectory() as folder:
            actual = codex.integrity(codex.download(version, processor, Path(folder), log))
        if actual != declared:
            raise LauncherError(f"{version} for {processor} has {actual}, npm says {declared}", "")
    return pin


def moved(pins: list[Pin], pin: Pin) -> list[Pin]:
    """Return the pins with the newest replaced. The oldest stays: agents' images may carry it, and
    to drop it is a decision."""
    return [*(oldest for oldest in pins[:1] if oldest.version != pin.version), pin]


def offer(program: Path) -> Json:
    """Return what a Codex can do, as it says and shows."""

    def says(*arguments: str) -> str:
        with tempfile.TemporaryDirectory() as home:
            environment = {"HOME": home, "CODEX_HOME": home, "PATH": "/usr/bin:/bin"}
            return subprocess.run(
                [program, *arguments], env=environment, capture_output=True, text=True, check=True
            ).stdout

    return {
        "models": models(json.loads(says("debug", "models"))),
        "flags": {
            command: flags(says(*command.split(), "--help")) for command in ("exec", "exec resume")
        },
        "features": features(says("features", "list")),
        **shapes(recorded(program)),
    }


def models(catalogue: Json) -> Json:
    """Return context window, efforts and their default of the models that Codex lists for
    people."""
    return {
        model["slug"]: {
            "contextWindow": model["context_window"],
            "efforts": [level["effort"] for level in model["supported_reasoning_levels"]],
            "defaultEffort": model["default_reasoning_level"],
        }
        for model in catalogue["models"]
        if model["visibility"] == "list"
    }


def flags(text: str) -> list[str]:
    """Return the options in a command's --help."""
    return sorted(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text, re.MULTILINE))


def features(text: str) -> dict[str, str]:
    """Return each feature's stage from `codex features list`: name, stage, default."""
    return {line.split()[0]: " ".join(line.split()[1:-1]) for line in text.splitlines()}


def recorded(program: Path) -> list[Json]:
    """Return the events that a Codex prints in all scenes."""
    events: list[Json] = []
    with tempfile.TemporaryDirectory() as folder, demo_model(Path(folder)) as demo:
        for number, scene in enumerate(SCENES):
            root = Path(folder) / str(number)
            root.mkdir()
            pod = Pod(root, program, demo)
            try:
                events += play(pod, scene)
            finally:
                pod.clear()
    return events


def play(pod: Pod, scene: str | Json) -> list[Json]:
    """Return the events of one scene."""
    server = {"name": "t", "command": [sys.executable, str(MCP_SERVER), str(pod.root / "mcp")]}
    prompt = scene if isinstance(scene, str) else f"call-1\ncall: {json.dumps(scene)}"
    pod.start_gate(allowedTools=TOOLS)
    pod.start_runner(f"scenario: {prompt}", allowedTools=TOOLS, mcpServers=[server])
    return pod.end().events


def shapes(events: Iterable[Json]) -> Json:
    """Return the keys that each type of event and of item has had."""
    kinds: dict[str, dict[str, set[str]]] = {"events": {}, "items": {}}
    for event in events:
        kinds["events"].setdefault(event["type"], set()).update(event)
        if item := event.get("item"):
            kinds["items"].setdefault(item["type"], set()).update(item)
    return {
        kind: {name: sorted(keys) for name, keys in sorted(names.items())}
        for kind, names in kinds.items()
    }


def differences(before: Any, after: Any, where: str = "") -> list[str]:
    """Return what came, went and changed between two offers, one a line."""
    if isinstance(before, list) and isinstance(after, list):
        before, after = dict.fromkeys(before, ""), dict.fromkeys(after, "")
    if isinstance(before, dict) and isinstance(after, dict):
        lines = [f"- {where}{name}" for name in before if name not in after]
        lines += [f"+ {where}{name}" for name in after if name not in before]
        for name in before:
            if name in after:
                lines += differences(before[name], after[name], f"{where}{name}: ")
        return lines
    return [] if before == after else [f"! {where}{before} -> {after}"]


def mentioning(text: str, version: str) -> str:
    """Return a page with the version where it names the one of our images."""
    return re.sub(r"\bCodex \d+\.\d+\.\d+", f"Codex {version}", text)


def write(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
