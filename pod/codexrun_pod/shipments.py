"""What leaves a run's pod besides model traffic, and how much of it at most. Stdlib only, Python
3.9 compatible."""

from __future__ import annotations

MIB = 1024 * 1024

LOG_LIMIT = 64 * MIB  # bytes of one attempt's log
CHUNK = 64 * 1024  # bytes of log in one request

FINAL_MESSAGE = "final-message.md"
PATCH = "workspace.patch"
ROLLOUT = "rollout.jsonl"
# the final message, where it keeps the job type's outputSchema: the gate's word, not the agent's
OUTPUT = "output.json"

# Bytes; a larger one is not kept, since half of a patch or of a rollout is of no use.
ARTIFACTS = {FINAL_MESSAGE: MIB, PATCH: 16 * MIB, ROLLOUT: 32 * MIB, OUTPUT: MIB}
FROM_AGENT = frozenset(ARTIFACTS) - {OUTPUT}
