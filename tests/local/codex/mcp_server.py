"""An MCP server with two tools, alpha and beta; a call leaves its name in the file that the first
argument names."""

import json
import sys
from pathlib import Path

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def answer(request):
    method = request["method"]
    about = request.get("params", {})
    if method == "initialize":
        named = {"name": "t", "version": "1"}
        return {
            "protocolVersion": about["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": named,
        }
    if method == "tools/list":
        return {
            "tools": [
                {"name": name, "description": name, "inputSchema": SCHEMA}
                for name in ("alpha", "beta")
            ]
        }
    if method == "tools/call":
        with Path(sys.argv[1]).open("a") as marks:
            marks.write(about["name"] + "\n")
        return {"content": [{"type": "text", "text": f"result of {about['name']}"}]}
    return {}


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        print(
            json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": answer(request)}),
            flush=True,
        )
