"""The artifacts of a run, kept besides its log: the final message, the patch of the workspace,
Codex's rollout."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import Callable, Iterator  # noqa: UP035 - the runner's floor is Python 3.9

from codexrun_core.pod_contract import FINAL_MESSAGE, MAX_ARTIFACT_BYTES, PATCH, ROLLOUT
from codexrun_pod.masking import Mask
from codexrun_pod.runner.codex.progress import Progress
from codexrun_pod.runner.files import read_regular
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.logs.upload_to_gate import put
from codexrun_pod.runner.resume import THREAD
from codexrun_pod.runner.settings import Settings
from codexrun_pod.runner.workspace import Checkout, Patch, PatchError, patch


def upload(
    settings: Settings,
    log: Log,
    progress: Progress,
    checkout: Checkout | None,
    warn: Callable[[str], None],
) -> None:
    """Upload each artifact that there is to the gate; the patch if there is a checkout. One that is
    too large or fails is noted in the log, and one that is withheld is also warned of; nothing
    raises."""
    for name, content in _artifacts(settings, log, progress, checkout, warn):
        if len(content) > MAX_ARTIFACT_BYTES[name]:
            log_left_out(
                log, name, f"{name} is larger than the limit of {MAX_ARTIFACT_BYTES[name]} bytes"
            )
        elif content:
            try:
                put(settings.gate_port, f"/artifacts/{name}", content)
            except (OSError, http.client.HTTPException) as error:
                log_left_out(
                    log, name, f"the gate did not accept {name}: {error or type(error).__name__}"
                )


def rollout_path(settings: Settings, thread_id: str | None) -> Path | None:
    """Return the path of Codex's record of the thread; None if there is none, or the id, which
    comes from events, is none."""
    if not THREAD.fullmatch(thread_id or ""):
        return None
    names = f"*/*/*/rollout-*-{thread_id}.jsonl"
    return max((settings.codex_home / "sessions").glob(names), default=None)


def _artifacts(
    settings: Settings,
    log: Log,
    progress: Progress,
    checkout: Checkout | None,
    warn: Callable[[str], None],
) -> Iterator[tuple[str, bytes]]:
    final = log.mask.document(progress.final_message).encode("utf-8", "replace")
    yield FINAL_MESSAGE, final[: MAX_ARTIFACT_BYTES[FINAL_MESSAGE]]
    with contextlib.suppress(OSError):
        if path := rollout_path(settings, progress.thread_id):
            yield ROLLOUT, log.mask.json_lines(read_regular(path, MAX_ARTIFACT_BYTES[ROLLOUT]))
    # The last: it takes the longest, and what the agent left may keep Git busy.
    if checkout:
        try:
            limit = MAX_ARTIFACT_BYTES[PATCH]
            made = patch(checkout, settings.workspace, settings.tmp, limit, text=log.mask.active)
            if made.lacks:
                log_left_out(log, PATCH, f"{PATCH} lacks {made.lacks}")
            if (reason := _reason_to_withhold(made, log.mask, limit)) is None:
                yield PATCH, made.content
            else:
                withheld = f"{PATCH} is withheld: {reason}"
                log_left_out(log, PATCH, withheld)
                warn(withheld)
        except (OSError, PatchError) as error:
            log_left_out(log, PATCH, f"{PATCH} could not be created: {error}")


def _reason_to_withhold(made: Patch, mask: Mask, limit: int) -> str | None:
    """Return why a patch may not leave the pod: with a masked line it would not apply, or do
    something else than the agent did."""
    if names := mask.names_in_patch(made.content + made.binary_text):
        return (
            f"it contains values that the job type's env takes from Secrets ({', '.join(names)});"
            " have the agent keep them out of its files"
        )
    if len(made.binary_text) > limit:
        return "its binary files are too large to be searched for Secret values"
    return None


def log_left_out(log: Log, name: str, reason: str) -> None:
    log.write_own(
        "artifact.left_out", status="running", phase="report", artifact=name, reason=reason
    )
