"""How did the pod end? From its states and its containers' last words to a verdict. Pure.

The agent's container is untrusted: what it reports can make a run fail, but not succeed alone.
Success needs the gate's word that the model completed at least one response (docs/architecture.md,
"Success is proven").
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from codexrun_core.pod_contract import RUNNER, ReportKey
from codexrun_core.resources import Failure, Result, Usage
from codexrun_core.resources.phases import FailureClass
from codexrun_core.schemas.nesting import TOO_DEEP, nesting_problem
from codexrun_operator.decide.observed import Container, Json, Pod

Class = FailureClass
MESSAGE_LIMIT = 1024
INT32 = 2**31 - 1  # of the registry's column
# above, JSON numbers are not exact; the apiserver would refuse the whole status
COUNT_LIMIT = 2**53


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt. `failure` is None for a proven success."""

    failure: Failure | None
    usage: Usage | None
    result: Result | None
    thread_id: str | None
    turns: int | None
    commands: int | None
    own: bool  # the run came to its end by itself: no signal of ours or of others cut it short

    @property
    def succeeded(self) -> bool:
        return self.failure is None


def outcome(pod: Pod) -> Outcome:
    """The verdict on a pod that has ended (or is gone)."""
    report = pod.agent.report
    failure = next((f for judge in JUDGES if (f := judge(pod))), None)
    thread = report.get(ReportKey.THREAD_ID)
    return Outcome(
        failure=failure,
        usage=usage(pod),
        result=_result(pod),
        thread_id=thread[:128] if isinstance(thread, str) and thread else None,
        turns=_count(report.get(ReportKey.TURNS)),
        commands=_count(report.get(ReportKey.COMMANDS)),
        # Proven, it had ended before any signal could matter.
        own=failure is None or _by_itself(pod),
    )


def usage(pod: Pod) -> Usage | None:
    """What the gate metered; None where its words are lost or it never ran."""
    gate = pod.gate.report
    if not gate:
        return None
    counted = {
        key: value for key, value in _part(gate, ReportKey.USAGE).items() if _is_count(value)
    }
    micro, table = counted.get(ReportKey.COST_MICRO_USD), gate.get(ReportKey.PRICE_TABLE)
    return Usage.model_validate(
        {
            **counted,
            "requests": gate[ReportKey.REQUESTS] if _is_count(gate.get(ReportKey.REQUESTS)) else 0,
            # A gate that was still running has counted on since.
            "complete": gate.get(ReportKey.COMPLETE) is True and pod.gate.ended,
            "priceTable": table[:64] if isinstance(table, str) and micro is not None else None,
            "costCents": None if micro is None else -(-micro // 10_000),
            "cost": None if micro is None else dollars(micro),
        }
    )


def dollars(micro_usd: int) -> str:
    """Micro-dollars for people: four decimals, rounded up, so that something never reads as
    nothing."""
    return f"${-(-micro_usd // 100) / 10_000:.4f}"


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= COUNT_LIMIT


def _count(value: Any) -> int | None:
    """The agent's word on how often: nothing rests on it, but the schema has to take it."""
    return value if _is_count(value) and value <= INT32 else None


def _part(report: Json, key: str) -> Json:
    """A nested object of a report; empty where it is anything else."""
    part = report.get(key)
    return part if isinstance(part, dict) else {}


def _class(part: Json) -> str:
    class_ = part.get(ReportKey.CLASS)
    return class_ if isinstance(class_, str) else ""


def _text(value: Any) -> str:
    """One piece of a report, cut for a status message."""
    text = " ".join(str(value).split())
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


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
    """The message as JSON, if it is the very one that the gate has held against the
    outputSchema."""
    said = _part(pod.gate.report, ReportKey.OUTPUT)
    if (
        said.get(ReportKey.OUTPUT_OK) is not True
        or said.get(ReportKey.OUTPUT_SHA256) != hashlib.sha256(message.encode()).hexdigest()
    ):
        return None
    try:
        output = json.loads(message)
        json.dumps(
            output, allow_nan=False
        )  # 1e999 is a number to Python, and nothing to the apiserver
    except (ValueError, RecursionError):
        return None
    return output if isinstance(output, dict) and not nesting_problem(output) else None


def _output_problem(pod: Pod) -> str | None:
    """What the gate's word does not cover: the nesting of the message, whichever version the gate
    is of."""
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
    """No signal ended it, nor the gate: it turns requests down as soon as a stop begins, which may
    be before the signal."""
    report = pod.agent.report
    return (
        report.get(ReportKey.STATE) == "done"
        and report.get(ReportKey.STOPPED) != "signal"
        and pod.gate.report.get(ReportKey.CUT_SHORT) is not True
    )


def failed(class_: FailureClass, message: str, exit_code: int | None = None) -> Failure:
    """A failure as the status records it; whether a retry is sensible follows from the class."""
    return Failure(
        class_=class_, message=_text(message), exit_code=exit_code, retryable=class_.retryable
    )


# The judges, in the order of precedence: the first that has something to say names the failure.


def evicted(pod: Pod) -> Failure | None:
    """The kubelet threw it out, or the Eviction API, a drain or a taint did."""
    if pod.reason == "Evicted":
        about_disk = any(word in pod.message for word in ("emptyDir", "EmptyDir", "ephemeral"))
        return failed(
            Class.STORAGE if about_disk else Class.EVICTED, f"Evicted by the kubelet: {pod.message}"
        )
    if pod.disruption == "DeletionByTaintManager" and not pod.agent.ended:
        return failed(
            Class.NODE_LOST,
            f"Node {pod.node or 'unknown'} was lost; what the agent did last is not known",
        )
    if pod.disruption and not _by_itself(pod) and not _agent_proves(pod):
        return failed(Class.EVICTED, f"The pod was evicted ({pod.disruption}); retry the run")
    return None


def out_of_memory(pod: Pod) -> Failure | None:
    # containerd keeps the reason also when only a command of the agent was killed and the agent
    # went on to succeed.
    if pod.agent.reason == "OOMKilled" and not _agent_proves(pod):
        return failed(
            Class.OOM,
            "The agent used more memory than its limit; raise resources.limits.memory of the job"
            " type",
            pod.agent.exit_code,
        )
    return None


def clone_failed(pod: Pod) -> Failure | None:
    if pod.clone.ended and pod.clone.exit_code:
        said = _part(pod.clone.report, ReportKey.FAILURE)
        return failed(
            Class.WORKSPACE,
            said.get(ReportKey.MESSAGE) or _last_words(pod.clone),
            pod.clone.exit_code,
        )
    return None


def never_started(pod: Pod) -> Failure | None:
    """The container could not be made: the image has no runner of ours, or not even its
    interpreter."""
    agent = pod.agent
    if (
        agent.ended
        and not agent.report
        and (agent.reason in CANNOT_START or agent.exit_code in (126, 127))
    ):
        return failed(
            Class.IMAGE,
            f"The agent's image cannot start {RUNNER}: build it with `make image"
            f" BASE_IMAGE=...` on a base that has python3. {_last_words(agent)}",
            agent.exit_code,
        )
    return None


CANNOT_START = ("StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError")


def gate_stopped_it(pod: Pod) -> Failure | None:
    """The gate's word about budget and guardrails stands above all that the agent says."""
    stop = _part(pod.gate.report, ReportKey.STOP)
    if _class(stop) in ("budget", "guardrail"):
        return failed(
            FailureClass(stop[ReportKey.CLASS]),
            stop.get(ReportKey.MESSAGE, ""),
            pod.agent.exit_code,
        )
    return None


def runner_stopped_it(pod: Pod) -> Failure | None:
    """What the runner ended itself, or refused to begin."""
    said = _part(pod.agent.report, ReportKey.FAILURE)
    if _class(said) in ("timeout", "stall", "storage", "config", "guardrail", "internal"):
        return failed(
            FailureClass(said[ReportKey.CLASS]),
            said.get(ReportKey.MESSAGE, ""),
            pod.agent.exit_code,
        )
    return None


def deadline(pod: Pod) -> Failure | None:
    """The kubelet's deadline, for a runner that was frozen."""
    if pod.reason == "DeadlineExceeded":
        return failed(
            Class.TIMEOUT,
            "The pod outlived every deadline; its runner did not stop it",
            pod.agent.exit_code,
        )
    return None


def model_said_no(pod: Pod) -> Failure | None:
    """Not proven, and the last request to the model failed: its error is the cause that people can
    act on."""
    error = _part(pod.gate.report, ReportKey.LAST_ERROR)
    class_ = _class(error)
    if _agent_proves(pod) or class_ not in WHAT_TO_DO:
        return None
    return failed(
        FailureClass(class_),
        f"{error.get(ReportKey.MESSAGE, '')} ({WHAT_TO_DO[class_]})",
        pod.agent.exit_code,
    )


WHAT_TO_DO = {
    "auth": (
        "check the key in the Secret of the chart's model.existingSecret or the job type's"
        " modelSecretRef, and that it may use this model"
    ),
    "rate_limit": "retry later, or lower the job type's concurrencyLimit",
    "quota": "the account's quota is used up; raise it or pay the bill, then retry",
    "model_error": "the model's endpoint or the network between failed; retry",
}


def agent_failed(pod: Pod) -> Failure | None:
    """Codex said `turn.failed`, or ended with an error of its own."""
    said = _part(pod.agent.report, ReportKey.FAILURE)
    if said:
        known = _class(said) in {c.value for c in FailureClass}
        return failed(
            FailureClass(said[ReportKey.CLASS]) if known else Class.AGENT_ERROR,
            said.get(ReportKey.MESSAGE, ""),
            _codex_exit(pod),
        )
    return None


def unproven(pod: Pod) -> Failure | None:
    """Everything else that is not a proven success, exit code 0 included."""
    if not pod.agent.report:
        return failed(
            Class.SILENT_DEATH,
            f"The agent left no report. {_last_words(pod.agent)}",
            pod.agent.exit_code,
        )
    if not _agent_proves(pod):
        return failed(
            Class.SILENT_DEATH,
            "Codex ended without a completed turn and a final message",
            _codex_exit(pod),
        )
    if not pod.gate.report:
        return failed(
            Class.SILENT_DEATH,
            "The agent reports success, but the gate's record of it is lost",
            _codex_exit(pod),
        )
    completed = pod.gate.report.get(ReportKey.COMPLETED)
    if not (_is_count(completed) and completed):
        return failed(
            Class.SILENT_DEATH,
            "The agent reports success, but the gate saw no completed response",
            _codex_exit(pod),
        )
    return None


def does_not_fit(pod: Pod) -> Failure | None:
    """Where the job type has an outputSchema the gate says whether the final message keeps it."""
    said = pod.gate.report.get(ReportKey.OUTPUT)
    if said is None:
        return None
    part = _part(pod.gate.report, ReportKey.OUTPUT)
    fits = part.get(ReportKey.OUTPUT_OK) is True
    problem = _output_problem(pod) if fits else part.get(ReportKey.MESSAGE) or "not judged"
    if problem is None:
        return None
    where = f"output{part.get(ReportKey.OUTPUT_POINTER) or ''}"
    return failed(
        Class.AGENT_ERROR,
        f"{where}: {problem}; the final message must be JSON that fits the job type's outputSchema",
        _codex_exit(pod),
    )


JUDGES: tuple[Callable[[Pod], Failure | None], ...] = (
    evicted,
    out_of_memory,
    clone_failed,
    never_started,
    gate_stopped_it,
    runner_stopped_it,
    deadline,
    model_said_no,
    agent_failed,
    unproven,
    does_not_fit,
)


def _agent_proves(pod: Pod) -> bool:
    """The agent's half of the proof: a completed turn, none failed after it, and a final
    message."""
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
    said = ": ".join(word for word in words if word)
    return f"{said} (exit code {container.exit_code})" if container.exit_code is not None else said
