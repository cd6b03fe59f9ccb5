"""Which headers pass the gate, and how large they may be. Pure.

Up: only what Codex's requests need, so that no header of the agent's chooses an account, a project
or a feature. Down: only what Codex reads, so that no cookie and no hop-by-hop header reaches the
agent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Of a line and a header, and of all together; on both sides of the gate. Some proxies add many
# kilobytes of cookies and policies, and Codex sends a header about its workspace.
MAX_LINE_BYTES = 64 * 1024
MAX_HEAD_BYTES = 256 * 1024
UP = frozenset(
    {"accept", "originator", "user-agent", "version", "session-id", "thread-id", "session_id"}
)
UP_PREFIXES = ("x-codex-", "x-client-request-id", "x-openai-internal-codex-", "x-openai-subagent")
DOWN_PREFIXES = (
    "content-type",
    "retry-after",
    "x-request-id",
    "x-ratelimit-",
    "openai-",
    "x-codex-",
)


def up(headers: Mapping[str, str], credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the headers for the model's endpoint, with the credentials. Identity encoding, so that
    events can be read as they pass."""
    passed = {
        name: value
        for name, value in headers.items()
        if name.lower() in UP or name.lower().startswith(UP_PREFIXES)
    }
    passed |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    return passed | dict(credentials)


def down(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers for the agent."""
    return {
        name: value for name, value in headers.items() if name.lower().startswith(DOWN_PREFIXES)
    }


def head_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the bytes of all headers."""
    return sum(len(name) + len(value) for name, value in headers)
