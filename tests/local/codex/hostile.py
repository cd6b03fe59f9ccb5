"""What a hostile command may try against the gate: `hostile.py PORT THREAD ATTACK`. It prints what
it was answered."""

import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

PORT = int(sys.argv[1])
THREAD = sys.argv[2]
ATTACK = sys.argv[3]
BASE = f"http://127.0.0.1:{PORT}"
PLAIN = {"model": "gpt-5.5", "stream": True, "store": False}


def body(scenario, **more):
    return {
        **PLAIN,
        "input": [{"type": "message", "role": "user", "content": f"scenario: {scenario}"}],
        **more,
    }


def send(path, method="POST", data=None, **headers):
    given = {
        "Content-Type": "application/json",
        "thread-id": THREAD,
        "Authorization": "Bearer guessed",
        **headers,
    }
    request = urllib.request.Request(
        BASE + path, data and json.dumps(data).encode(), given, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()[:300]
    except OSError as error:
        return 0, str(error)


def ask(scenario="message", **more):
    return send("/v1/responses", data=body(scenario, **more))[0]


def leave():
    """Read the first bytes of a long answer, and go."""
    raw = json.dumps(body("slow-3")).encode()
    with socket.create_connection(("127.0.0.1", PORT)) as line:
        head = (
            f"POST /v1/responses HTTP/1.1\r\nHost: gate\r\nthread-id: {THREAD}\r\nContent-Length:"
            f" {len(raw)}\r\n\r\n"
        )
        line.sendall(head.encode() + raw)
        line.recv(200)
    return "left"


def unfinished():
    """Fifty bodies of 15 MiB that do not end, and a plain request behind them."""
    lines = []
    for _ in range(50):
        line = socket.create_connection(("127.0.0.1", PORT))
        line.setblocking(False)
        lines.append(line)
        try:
            line.sendall(b"POST /v1/responses HTTP/1.1\r\nHost: gate\r\n")
            line.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(15):
                line.sendall(b"100000\r\n" + b"x" * 2**20 + b"\r\n")
        except OSError:
            pass
    while (answer := ask()) == 503:
        pass
    return answer


def content(part):
    return ask(input=[{"type": "message", "role": "user", "content": [part]}])


def folded():
    """Keys that a server which does not mind the case reads as others."""
    keys = {"MODEL": "gpt-5.5-pro", "Store": True, "Background": True, "\u017ftore": True}
    return send("/v1/responses", data={**body("message"), **keys})[0]


def at_once():
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask("slow-3"))) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(answers)


def elsewhere():
    paths = [
        "/v1/models",
        "/v1/chat/completions",
        "/v1/responses/x/cancel",
        "/v1/embeddings",
        "/",
        "/v1/responses/../files",
        "http://127.0.0.1:1/v1/responses",
        "//x/v1/responses",
    ]
    return [
        send(path, method, {} if method == "POST" else None)[0]
        for path in paths
        for method in ("GET", "POST", "DELETE", "PUT")
    ]


def loop():
    answers = []
    while (answer := ask()) == 200:
        answers.append(answer)
    return len(answers), answer


ATTACKS = {
    "background": lambda: ask(background=True),
    "stored": lambda: ask(store=True),
    "earlier": lambda: ask(previous_response_id="resp_1"),
    "tier": lambda: ask(service_tier="priority"),
    "model": lambda: ask(model="gpt-6-sol-pro"),
    "search": lambda: ask(tools=[{"type": "web_search"}]),
    "unstreamed": lambda: ask(stream=False),
    "image-url": lambda: content({"type": "input_image", "image_url": "https://x/?d=SECRET"}),
    "file-url": lambda: content({"type": "input_file", "file_url": "https://x/"}),
    "file-id": lambda: content({"type": "input_image", "file_id": "file-1"}),
    "reference": lambda: ask(input=[{"type": "item_reference", "id": "msg_1"}]),
    "bare-reference": lambda: ask(input=[{"id": "msg_1"}]),
    "other-search": lambda: ask(tools=[{"type": "x_search"}]),
    "other-case": lambda: ask(tools=[{"type": "Web_Search"}]),
    "effort": lambda: ask(reasoning={"effort": "xhigh"}),
    "folded": folded,
    "router": lambda: ask(models=["o1-pro"], plugins=[{"id": "web"}], api_base="http://x/"),
    "unfinished": unfinished,
    "leave": leave,
    "leave-often": lambda: [leave() for _ in range(5)],
    "at-once": at_once,
    "elsewhere": elsewhere,
    "loop": loop,
}
print("answered", ATTACKS[ATTACK]())
time.sleep(0.2)
