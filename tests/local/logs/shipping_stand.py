"""What the tests of shipping share: a log, and how a client reads a stream of it."""

import json

from codexrun_pod import loglines

RUN = "11111111-2222-3333-4444-555555555555"

LOG = b"".join(
    loglines.encode({"ts": f"2026-01-31T12:00:{n:02d}.000Z", "src": "codex", "text": text})
    for n, text in enumerate(
        ["one", "", "ünï ☃", "a\u2028b", "tab\t", "five", "six", "x" * 500, "eight"]
    )
)


def events_of(stream: bytes):
    """Lines as (id, text), and the last named event with its data, of whole server-sent events."""
    lines = []
    last = None
    for block in stream.split(b"\n\n"):
        fields = {}
        for line in block.split(b"\n"):
            name, _, value = line.partition(b": ")
            if name:
                fields.setdefault(name.decode(), []).append(value.decode())
        data = "\n".join(fields.get("data", []))
        if "event" in fields:
            last = (fields["event"][0], json.loads(data))
        elif "data" in fields:
            lines.append((int(fields["id"][0]), data))
    return lines, last
