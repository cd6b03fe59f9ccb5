"""How did the pod end? Judges it by its states and its containers' termination messages. Pure.

The agent's container is untrusted: what it reports can make a run fail, but not succeed alone.
Success needs the gate's word that the model completed at least one response (docs/architecture.md,
"Success is proven").
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from codexrun_core.pod_contract import RUNNER, UNUSABLE_SCHEMA, ReportKey
from codexrun_core.prices.money import money
from codexrun_core.resources import Failure, Result, Usage
from codexrun_core.resources.phases import FailureClass
from codexrun_core.schemas.nesting import TOO_DEEP, nesting_problem
from codexrun_operator.decide.observed import Container, Json, Pod

MAX_MESSAGE_CHARS = 1024
MAX_WARNING_CHARS = 512
MAX_WARNINGS = 16
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAX_INT32 = 2**31 - 1  # of the registry's column
# above, JSON numbers are not exact; the apiserver would refuse the whole status
MAX_COUNT = 2**53


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt; `failure` is None for a proven success."""

    failure: Failure | None
    usage: Usage | None
    result: Result | None
    thread_id: str | None
    turns: int | None
    commands: int | None
    warnings: list[str] | None
    ended_by_itself: bool  # no signal, whoever sent it, cut the run short


def outcome(pod: Pod) -> Outcome:
    """Return the verdict on a pod that has ended (or is gone)."""
    report = pod.agent.report
    failure = first_failure(pod)
    thread = report.get(ReportKey.THREAD_ID)
    return Outcome(
        failure=failure,
        usage=usage_of(pod),
        result=_result(pod),
        thread_id=thread[:128] if isinstance(thread, str) and thread else None,
        turns=_count(report.get(ReportKey.TURNS)),
        commands=_count(report.get(ReportKey.COMMANDS)),
        warnings=_warnings(pod.clone.report, report) or None,
        # Proven, it had ended before any signal could matter.
        ended_by_itself=failure is None or _by_itself(pod),
    )


def commit_of(pod: Pod) -> str | None:
    """Return the commit that the clone step has checked out; None before that step has ended."""
    commit = pod.clone.report.get(ReportKey.COMMIT)
    return commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None


def _warnings(*reports: Json) -> list[str]:
    """Return what clone step and runner warn of; the runner's are the agent's word."""
    warnings = []
    for report in reports:
        texts = report.get(ReportKey.WARNINGS)
        if isinstance(texts, list):
            warnings += [
                text[:MAX_WARNING_CHARS] for text in texts if isinstance(text, str) and text
            ]
    return warnings[:MAX_WARNINGS]


def usage_of(pod: Pod) -> Usage | None:
    """Return what the gate metered; None where its report is lost or it never ran."""
    gate = pod.gate.report
    if not gate or gate_problem(pod.gate):
        return None
    counts = {key: value for key, value in _part(gate, ReportKey.USAGE).items() if _is_count(value)}
    micro = counts.get(ReportKey.COST_MICRO_USD)
    price_table = gate.get(ReportKey.PRICE_TABLE)
    dropped_keys = gate.get(ReportKey.DROPPED_KEYS)
    return Usage.model_validate(
        {
            **counts,
            "requests": gate[ReportKey.REQUESTS] if _is_count(gate.get(ReportKey.REQUESTS)) else 0,
            "droppedKeys": dropped_keys if _is_count(dropped_keys) else None,
            # A gate that was still running has counted on since.
            "complete": gate.get(ReportKey.COMPLETE) is True and pod.gate.ended,
            "priceTable": (
                price_table[:64] if isinstance(price_table, str) and micro is not None else None
            ),
            "costCents": None if micro is None else -(-micro // 10_000),
            "cost": None if micro is None else money(micro),
        }
    )


def without_price(pod: Pod) -> str | None:
    """Return what the run used that has no price, where that is not its model."""
    unpriced = pod.gate.report.get(ReportKey.UNPRICED)
    return _text(unpriced) if isinstance(unpriced, str) and unpriced else None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _count(value: Any) -> int | None:
    """Return a number that the agent reports: nothing rests on it, but the schema has to take
    it."""
    return value if _is_count(value) and value <= MAX_INT32 else None


def _part(report: Json, key: str) -> Json:
    """Return a nested object of a report; empty where it is anything else."""
    part = report.get(key)
    return part if isinstance(part, dict) else {}


def gate_problem(gate: Container) -> str:
    """Return why the gate could not start, in its own words; "" if it could."""
    failure = _part(gate.report, ReportKey.FAILURE)
    message = failure.get(ReportKey.MESSAGE) or "no further details"
    return f"The gate cannot start: {_text(message)}" if failure else ""


def _class(part: Json) -> str:
    class_ = part.get(ReportKey.CLASS)
    return class_ if isinstance(class_, str) else ""


def _text(value: Any) -> str:
    """Return one piece of a report, cut for a status message."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _result(pod: Pod) -> Result | None:
    report = pod.agent.report
    message = report.get(ReportKey.FINAL_MESSAGE)
    if not isinstance(message, str) or not message.strip():
        return None
    full = report.get(ReportKey.FINAL_MESSAGE_BYTES)
    size = len(message.encode())
    cut = len(message) > 4096 or (isinstance(full, int) and full > size)
    return Result(message=message[:4096], truncated=cut, output=_output(pod, message))


def _output(pod: Pod, message: str) -> dict[str, Any] | None:
    """Return the message as JSON, if it is the very one that the gate has held against the
    outputSchema; as the apiserver stores it, so that what is stored is what was decided."""
    verdict = _part(pod.gate.report, ReportKey.OUTPUT)
    if (
        verdict.get(ReportKey.OUTPUT_OK) is not True
        or verdict.get(ReportKey.OUTPUT_SHA256) != hashlib.sha256(message.encode()).hexdigest()
    ):
        return None
    try:
        # 1e999 is a number to Python, and nothing to the apiserver; half a surrogate pair is no
        # text.
        text = json.dumps(
            json.loads(message, parse_int=_stored_integer), ensure_ascii=False, allow_nan=False
        )
        output = json.loads(text.encode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return output if isinstance(output, dict) and not nesting_problem(output) else None


def _stored_integer(text: str) -> int | float:
    """Return an integer as the apiserver keeps it: in 64 bits, or as the nearest double."""
    number = int(text)
    return number if -(2**63) <= number < 2**63 else float(text)


def _output_problem(pod: Pod) -> str | None:
    """Return what the gate's verdict does not cover: the nesting of the message, whichever version
    the gate is of."""
    message = pod.agent.report.get(ReportKey.FINAL_MESSAGE)
    if not isinstance(message, str):
        return None
    try:
        return nesting_problem(json.loads(message))
    except RecursionError:
        return TOO_DEEP
    except ValueError:  # its end is cut off: the gate has judged all of it
        return None


def _by_itself(pod: Pod) -> bool:
    """Return whether neither a signal ended it nor the gate, which turns requests down as soon as a
    stop begins, maybe before the signal."""
    report = pod.agent.report
    return (
        report.get(ReportKey.STATE) == "done"
        and report.get(ReportKey.STOPPED) != "signal"
        and pod.gate.report.get(ReportKey.CUT_SHORT) is not True
    )


def failed(
    class_: FailureClass,
    message: str,
    exit_code: int | None = None,
    *,
    retryable: object = None,
) -> Failure:
    """Build a failure as the status records it.

    Args:
        retryable: what the report of the failure says; the class decides if it is no truth value.
    """
    return Failure(
        class_=class_,
        message=_text(message),
        exit_code=exit_code,
        retryable=retryable if isinstance(retryable, bool) else class_.retryable,
    )


# The rules, in the order of precedence: the first that applies names the failure.


def evicted(pod: Pod) -> Failure | None:
    """The kubelet evicted the pod, or the Eviction API, a drain or a taint did."""
    if pod.reason == "Evicted":
        about_disk = any(word in pod.message for word in ("emptyDir", "EmptyDir", "ephemeral"))
        return failed(
            FailureClass.STORAGE if about_disk else FailureClass.EVICTED,
            f"Evicted by the kubelet: {pod.message}"
            + (
                "; raise spec.sizes or resources.limits.ephemeral-storage in the job type, or have"
                " the agent write less"
                if about_disk
                else ""
            ),
        )
    if pod.disruption == "DeletionByTaintManager" and not pod.agent.ended:
        return failed(
            FailureClass.NODE_LOST,
            f"{f'Node {pod.node}' if pod.node else 'The node'} was lost; the agent's last actions"
            " are unknown",
        )
    if pod.disruption and not _by_itself(pod) and not _agent_proves(pod):
        return failed(
            FailureClass.EVICTED, f"The pod was evicted ({pod.disruption}); retry the run"
        )
    return None


def refused_by_kubelet(pod: Pod) -> Failure | None:
    """The node did not take the pod that the scheduler had given it: no room after all, or a
    feature that it lacks (kubelet, pkg/kubelet/lifecycle/predicate.go)."""
    never_ran = not pod.agent.started and not pod.clone.ended
    if pod.phase != "Failed" or pod.reason in ("", "DeadlineExceeded") or not never_ran:
        return None
    return failed(
        FailureClass.UNSCHEDULABLE,
        f"Node {pod.node or 'unknown'} refused the pod ({pod.reason}): {pod.message}",
    )


def out_of_memory(pod: Pod) -> Failure | None:
    # containerd keeps the reason also when only a command of the agent was killed and the agent
    # went on to succeed.
    if pod.agent.reason == "OOMKilled" and not _agent_proves(pod):
        return failed(
            FailureClass.OOM,
            "The agent exceeded its memory limit; raise resources.limits.memory in the job type",
            pod.agent.exit_code,
        )
    return None


def clone_failed(pod: Pod) -> Failure | None:
    clone = pod.clone
    if not (clone.ended and clone.exit_code):
        return None
    if clone.reason == "OOMKilled":
        return failed(FailureClass.OOM, CLONE_MEMORY, clone.exit_code)
    reported = _part(clone.report, ReportKey.FAILURE)
    class_ = _class(reported)
    return failed(
        FailureClass(class_) if class_ in CLONE_CLASSES else FailureClass.WORKSPACE,
        reported.get(ReportKey.MESSAGE) or _last_words(clone),
        clone.exit_code,
        retryable=reported.get(ReportKey.RETRYABLE),
    )


CLONE_CLASSES = ("workspace", "oom", "storage")
CLONE_MEMORY = (
    "The clone step exceeded its memory limit; raise git.memory in the job type, or clone fewer"
    " commits (git.depth)"
)


def foreign_init_failed(pod: Pod) -> Failure | None:
    """A container that others have put before the agent's failed, so that this one never began."""
    if pod.phase != "Failed" or pod.agent.started:
        return None
    for name, container in pod.foreign_init.items():
        if container.ended and container.exit_code:
            return failed(
                FailureClass.CONFIG,
                f"Container {name}, which codexrun did not add to the pod, failed before the agent"
                f" could start: {_last_words(container)}",
                container.exit_code,
            )
    return None


def never_started(pod: Pod) -> Failure | None:
    """The container could not be made: the image lacks the runner, or even its interpreter."""
    agent = pod.agent
    if (
        agent.ended
        and not agent.report
        and (agent.reason in CANNOT_START_REASONS or agent.exit_code in (126, 127))
    ):
        return failed(
            FailureClass.IMAGE,
            f"The agent's image cannot start {RUNNER}; rebuild the image with `make image"
            f" BASE_IMAGE=...` on a base image that has python3. {_last_words(agent)}",
            agent.exit_code,
        )
    return None


CANNOT_START_REASONS = (
    "StartError",
    "ContainerCannotRun",
    "RunContainerError",
    "CreateContainerError",
)


def gate_cannot_start(pod: Pod) -> Failure | None:
    """The agent may have begun all the same: the kubelet starts it once the gate's process runs."""
    message = gate_problem(pod.gate)
    return failed(FailureClass.CONFIG, message) if message else None


def stopped_by_gate(pod: Pod) -> Failure | None:
    """The gate stopped the run, which stands above all that the agent says: for budget, guardrails,
    a model that does not end what the agent has left, or one that broke off every try of a turn."""
    stop = _part(pod.gate.report, ReportKey.STOP)
    if _class(stop) in ("budget", "guardrail", "stall", "model_error"):
        return failed(
            FailureClass(stop[ReportKey.CLASS]),
            stop.get(ReportKey.MESSAGE, ""),
            pod.agent.exit_code,
            retryable=stop.get(ReportKey.RETRYABLE),
        )
    return None


def stopped_by_runner(pod: Pod) -> Failure | None:
    """The runner ended Codex for what the run itself did, or refused to begin."""
    return _stopped_by_runner(pod, "storage", "config", "guardrail", "internal")


def out_of_time(pod: Pod) -> Failure | None:
    """The runner ended Codex because of the time."""
    return _stopped_by_runner(pod, "timeout", "stall")


def _stopped_by_runner(pod: Pod, *classes: str) -> Failure | None:
    reported = _part(pod.agent.report, ReportKey.FAILURE)
    if _class(reported) in classes:
        return failed(
            FailureClass(reported[ReportKey.CLASS]),
            reported.get(ReportKey.MESSAGE, ""),
            pod.agent.exit_code,
        )
    return None


def past_deadline(pod: Pod) -> Failure | None:
    """The kubelet's deadline passed: the runner was frozen. One that had ended by itself was not:
    something else kept its pod alive. The operator's stop is no deadline."""
    if pod.reason == "DeadlineExceeded" and not pod.stopped and not _by_itself(pod):
        return failed(
            FailureClass.TIMEOUT,
            "The pod ran past every deadline; its runner did not stop it",
            pod.agent.exit_code,
        )
    return None


def model_failed(pod: Pod) -> Failure | None:
    """The last request to the model failed, and success is not proven: its error is the cause that
    people can act on, also where Codex was busy with it until the time was over
    (https://github.com/openai/codex/issues/43140)."""
    error = _part(pod.gate.report, ReportKey.LAST_ERROR)
    class_ = _class(error)
    if _agent_proves(pod) or class_ not in ADVICE:
        return None
    return failed(
        FailureClass(class_),
        f"{error.get(ReportKey.MESSAGE, '')} ({error.get(ReportKey.ADVICE) or ADVICE[class_]})",
        pod.agent.exit_code,
        retryable=error.get(ReportKey.RETRYABLE),
    )


# For the error of a gate that gives no advice of its own, as earlier versions.
ADVICE = {
    "auth": (
        "check the credentials (the API key in the Secret named in the chart's"
        " model.existingSecret or the job type's modelSecretRef, or the chart's model.identity),"
        " and whether they allow the use of this model"
    ),
    "rate_limit": "retry later, or lower the job type's concurrencyLimit",
    "quota": "the account's quota is used up; raise the quota or settle the invoice, then retry",
    "policy": (
        "the provider's usage policy rejected the prompt or the response; change the prompt or"
        " the inputs"
    ),
    "model_error": "the model's endpoint, or the network connection to it, failed; retry",
}


def agent_failed(pod: Pod) -> Failure | None:
    """Codex reported `turn.failed`, or ended with an error of its own."""
    reported = _part(pod.agent.report, ReportKey.FAILURE)
    if reported:
        is_known = _class(reported) in {class_.value for class_ in FailureClass}
        return failed(
            FailureClass(reported[ReportKey.CLASS]) if is_known else FailureClass.AGENT_ERROR,
            reported.get(ReportKey.MESSAGE, ""),
            _codex_exit(pod),
        )
    return None


def unproven(pod: Pod) -> Failure | None:
    """Success is not proven, exit code 0 or not."""
    if not pod.agent.report:
        return failed(
            FailureClass.SILENT_DEATH,
            f"The agent left no report. {_last_words(pod.agent)}",
            pod.agent.exit_code,
        )
    if not _agent_proves(pod):
        return failed(
            FailureClass.SILENT_DEATH,
            "Codex ended before it completed a turn with a final message",
            _codex_exit(pod),
        )
    if not pod.gate.report:
        return failed(
            FailureClass.SILENT_DEATH,
            "The agent reports success, but the gate's record of the run is lost",
            _codex_exit(pod),
        )
    completed = pod.gate.report.get(ReportKey.COMPLETED)
    if not (_is_count(completed) and completed):
        return failed(
            FailureClass.SILENT_DEATH,
            "The agent reports success, but the gate saw no completed response",
            _codex_exit(pod),
        )
    return None


def output_does_not_fit(pod: Pod) -> Failure | None:
    """The final message does not fit the job type's outputSchema, as the gate judged."""
    if pod.gate.report.get(ReportKey.OUTPUT) is None:
        return None
    verdict = _part(pod.gate.report, ReportKey.OUTPUT)
    fits = verdict.get(ReportKey.OUTPUT_OK) is True
    problem = _output_problem(pod) if fits else verdict.get(ReportKey.MESSAGE) or "not checked"
    if problem is None:
        return None
    if str(problem).startswith(UNUSABLE_SCHEMA):
        return failed(FailureClass.AGENT_ERROR, str(problem), _codex_exit(pod))
    where = f"output{verdict.get(ReportKey.OUTPUT_POINTER) or ''}"
    masked = pod.agent.report.get(ReportKey.MASKED)
    names = ", ".join(map(str, masked)) if isinstance(masked, list) else ""
    cause = (
        f"; values that the job type's env takes from Secrets were masked in the message: {names}"
        if names
        else ""
    )
    return failed(
        FailureClass.AGENT_ERROR,
        f"{where}: {problem}; the final message must be JSON that matches the job type's"
        f" outputSchema{cause}",
        _codex_exit(pod),
    )


RULES: tuple[Callable[[Pod], Failure | None], ...] = (
    evicted,
    refused_by_kubelet,
    out_of_memory,
    clone_failed,
    foreign_init_failed,
    never_started,
    gate_cannot_start,
    stopped_by_gate,
    stopped_by_runner,
    model_failed,
    out_of_time,
    past_deadline,
    agent_failed,
    unproven,
    output_does_not_fit,
)


def first_failure(pod: Pod) -> Failure | None:
    """Return the failure that the first applicable rule names; None for a proven success."""
    for rule in RULES:
        failure = rule(pod)
        if failure is not None:
            return failure
    return None


def _agent_proves(pod: Pod) -> bool:
    """Return whether the agent's half of the proof is there: a completed turn, none failed after
    it, and a final message."""
    report = pod.agent.report
    return (
        pod.agent.exit_code == 0
        and _is_count(report.get(ReportKey.EXIT_CODE))
        and report[ReportKey.EXIT_CODE] == 0
        and report.get(ReportKey.TURN_COMPLETED) is True
        and not report.get(ReportKey.TURN_FAILED)
        and _result(pod) is not None
    )


def _codex_exit(pod: Pod) -> int | None:
    code = pod.agent.report.get(ReportKey.EXIT_CODE)
    return code if isinstance(code, int) and -255 <= code <= 255 else pod.agent.exit_code


def _last_words(container: Container) -> str:
    words = [container.reason, "" if container.report else container.message]
    text = ": ".join(word for word in words if word)
    return f"{text} (exit code {container.exit_code})" if container.exit_code is not None else text
