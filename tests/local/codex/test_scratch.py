import json, time
from providers import Provider, serve


class Asking(Provider):
    commands = []

    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def items(self, body):
        outs = [i for i in body["input"] if i["type"] == "function_call_output"]
        if len(outs) < len(self.commands):
            cmd, tty = self.commands[len(outs)]
            args = json.dumps(
                {"cmd": cmd.format(port=self.server.server_port), "tty": tty, "yield_time_ms": 4000}
            )
            return [
                {
                    "type": "function_call",
                    "id": "fc",
                    "call_id": f"c{len(outs)}",
                    "name": "exec_command",
                    "arguments": args,
                }
            ]
        return [
            {
                "type": "message",
                "role": "assistant",
                "id": "m",
                "content": [{"type": "output_text", "text": "done"}],
            }
        ]


G = "git init -q . ; git commit -q --allow-empty -m a; "
CMDS = [
    (c, tty)
    for c in (
        "git ls-remote http://127.0.0.1:{port}/x.git",
        G + "git commit --allow-empty",
        G + "git rebase -i --root",
        G + "git log",
    )
    for tty in (False, True)
]


def test_prompts(pod):
    prov = type("A", (Asking,), {"commands": CMDS})
    with serve(prov) as server:
        pod.start_gate(**server.gate_settings)
        pod.start_runner("x", timeout=120, stall=60)
        t = time.time()
        r = pod.end(200)
        outs = [
            i["output"] for i in server.requests[-1]["input"] if i["type"] == "function_call_output"
        ]
    for (c, tty), o in zip(CMDS, outs):
        print("###", tty, c[-45:], "->", repr(o[:400]))
    print(r.code, time.time() - t)
