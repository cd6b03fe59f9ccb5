"""Calls of each tool as models make them, in classic and in code mode, and how to see that one was
executed."""

import base64
import json
import sys
from pathlib import Path

CLASSIC = "gpt-5.5"
CODE = "gpt-6-sol"
ALL = ["apply_patch", "mcp:t", "shell", "view_image", "web_search"]
PATCH = "*** Begin Patch\n*** Add File: ran\n+hi\n*** End Patch\n"
IMAGE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def function(name, arguments, **more):
    return {
        "type": "function_call",
        "id": "fc_1",
        "name": name,
        "arguments": json.dumps(arguments),
        **more,
    }


def script(source):
    return {"type": "custom_tool_call", "name": "exec", "input": f"{source} text('end');"}


def nested(name, argument):
    return script(
        f"const r = await tools.{name}({json.dumps(argument)}); text(JSON.stringify(r).slice(0,"
        " 400));"
    )


COMMAND = {"cmd": "touch ran"}
LOOK = {"path": "image.png"}
CALLS = {
    ("shell", CLASSIC): function("exec_command", COMMAND),
    ("shell", CODE): nested("exec_command", COMMAND),
    ("apply_patch", CLASSIC): {"type": "custom_tool_call", "name": "apply_patch", "input": PATCH},
    ("apply_patch", CODE): nested("apply_patch", PATCH),
    ("view_image", CLASSIC): function("view_image", LOOK),
    ("view_image", CODE): nested("view_image", LOOK),
    ("mcp:t", CLASSIC): function("alpha", {"a": "1"}, namespace="mcp__t"),
    ("mcp:t", CODE): nested("mcp__t__alpha", {"a": "1"}),
}
KINDS = list(CALLS)
SEARCH = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}


def others(tool):
    """Everything but this one."""
    return [entry for entry in ALL if entry != tool]


def server(pod):
    """spec.mcpServers."""
    return [
        {
            "name": "t",
            "command": [
                sys.executable,
                str(Path(__file__).with_name("mcp_server.py")),
                str(pod.root / "mcp"),
            ],
        }
    ]


def play(
    pod, item, *, model=CLASSIC, times=1, config=ALL, audited=ALL, gate=ALL, policy=None, **more
):
    """A run whose model makes this call. config, audited, gate: allowedTools as each layer is told;
    policy: the file's text."""
    (pod.workspace / "image.png").write_bytes(IMAGE)
    if pod.gate is None:
        pod.start_gate(allowedTools=list(gate))
    pod.start_runner(
        f"scenario: call-{times}\ncall: {json.dumps(item)}",
        model=model,
        policy=policy,
        allowedTools=list(config),
        auditedTools=list(audited),
        mcpServers=server(pod),
        **more,
    )
    return pod.end()


def executed(pod):
    """Whether the call had an effect: a file, a mark of the MCP server, or an image in the
    conversation."""
    rollouts = (pod.root / "home/.codex/sessions").rglob("*.jsonl")
    seen = any("base64,iVBORw0KGgo" in path.read_text() for path in rollouts)
    return (pod.workspace / "ran").exists() or (pod.root / "mcp").exists() or seen
