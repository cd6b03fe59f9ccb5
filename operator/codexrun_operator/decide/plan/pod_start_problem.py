"""Why does the agent not run yet? Finds class and message in the pod's status and Kubernetes'
warnings. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from codexrun_core import reasons
from codexrun_core.resources.phases import FailureClass
from codexrun_operator.decide.observed import Container, Event, Job, Pod
from codexrun_operator.decide.outcome import gate_problem

PULL_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
HOPELESS_PULL_REASONS = {"InvalidImageName", "ErrImageNeverPull"}
# Between its tries the kubelet quotes the last one (pkg/kubelet/images/image_manager.go). Told as
# that one was, it is no new message.
BACK_OFF = re.compile(r'Back-off pulling image "[^"]*": (?P<reason>\w+): (?P<detail>.+)', re.DOTALL)
# Kubernetes' warnings about what a pod needs before any container of it can start.
VOLUME_WARNINGS = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
SANDBOX_WARNINGS = {"FailedCreatePodSandBox", "NetworkNotReady"}
# As containerd and CRI-O say that a node lacks the handler of a RuntimeClass.
NO_RUNTIME = re.compile(r"no runtime for|runtime handler", re.IGNORECASE)
RANDOM_ID = re.compile(r"\b[0-9a-f]{32,}\b")
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class StartProblem:
    """`reason` is what status.reason shows while the run starts; `class_` what it fails with if
    that does not change."""

    class_: FailureClass
    reason: str
    message: str
    hopeless: bool = False
    expected: bool = False  # no trouble at all: starting takes a moment


def reason_of(class_: FailureClass) -> str:
    """Return a failure class as a condition's reason: rate_limit -> RateLimit."""
    return "".join(word.capitalize() for word in class_.value.split("_"))


def start_problem(job: Job, pod: Pod | None, warnings: Sequence[Event]) -> StartProblem:
    """Return the first cause that explains why the agent does not run, the more certain ones
    first; Kubernetes' last warning where none does."""
    # Of those of one second the later comes later.
    newest_first = sorted(warnings, key=lambda warning: warning.last_seen or LONG_AGO)[::-1]
    if pod is None and job.waits_for_resumption:
        return StartProblem(
            FailureClass.INTERNAL,
            reasons.JOB_SUSPENDED,
            f"Job {job.name} is suspended; the run starts when a queue controller, or whoever"
            " suspended the Job, resumes it",
        )
    if pod is None:
        for warning in newest_first:
            if warning.reason == "FailedCreate":
                return _refused_pod(_text(warning))
        return _starting(f"Job {job.name} has no pod yet", newest_first)
    if pod.unschedulable:
        return _unschedulable(pod.unschedulable)
    containers = {
        **pod.foreign_init,
        "clone": pod.clone,
        "gate": pod.gate,
        "agent": pod.agent,
        **pod.foreign,
    }
    for name, container in containers.items():
        if problem := _container_problem(pod, name, container):
            return problem
    for name, container in containers.items():
        # between two crashes, or healed by the last restart
        if container.state == "running" and container.restarts:
            return _crashing(pod, name, container)
    pertinent = [warning for warning in newest_first if _still_pertinent(pod, warning)]
    for warning in pertinent:
        if problem := _preparation_problem(pod, warning):
            return problem
    if pod.clone.state == "running":
        return StartProblem(
            FailureClass.WORKSPACE, reasons.CLONING, "The repository is being cloned", expected=True
        )
    return _starting("The pod is starting", pertinent)


def _text(warning: Event) -> str:
    """Return the message of a warning without random ids: those differ each time, and each new
    message is a status write."""
    return RANDOM_ID.sub("…", warning.message)


def _starting(message: str, newest_first: list[Event]) -> StartProblem:
    """Return that nothing is known to be wrong, with Kubernetes' last warning, if there is one: it
    may be the cause."""
    if not newest_first:
        return StartProblem(FailureClass.INTERNAL, reasons.STARTING, message, expected=True)
    last = newest_first[0]
    return StartProblem(
        FailureClass.INTERNAL,
        reasons.STARTING,
        f"{message}; last warning from Kubernetes: {last.reason}: {_text(last)}",
    )


def _still_pertinent(pod: Pod, warning: Event) -> bool:
    """Return whether a warning may say why the pod does not start: Events stay for an hour after
    what they warn of has healed."""
    if warning.reason == "FailedCreate":
        return False  # of the Job, which has its pod now
    if warning.reason == "FailedScheduling":
        return not pod.node
    if warning.reason in VOLUME_WARNINGS | SANDBOX_WARNINGS:
        return not pod.prepared
    return True


def _preparation_problem(pod: Pod, warning: Event) -> StartProblem | None:
    if warning.reason in VOLUME_WARNINGS:
        return StartProblem(
            FailureClass.CONFIG,
            reasons.MISSING_VOLUME,
            f"Cannot mount a volume of the pod: {_text(warning)}",
        )
    if warning.reason not in SANDBOX_WARNINGS:
        return None
    if NO_RUNTIME.search(warning.message):
        return StartProblem(
            FailureClass.CONFIG,
            reasons.SANDBOX_REFUSED,
            f"Node {pod.node} does not have the runtime of the job type's runtimeClassName"
            f" ({_text(warning)}); correct the name, or give the RuntimeClass a nodeSelector",
        )
    return StartProblem(
        FailureClass.UNSCHEDULABLE,
        reasons.SANDBOX_REFUSED,
        f"Node {pod.node} cannot create the pod's sandbox: {_text(warning)}",
    )


def _refused_pod(said: str) -> StartProblem:
    """The Job controller's words. A quota that is full may get room; one that wants a limit which
    no container names will not (its plugin: "failed quota: NAME: must specify limits.cpu for:
    agent,gate")."""
    unnamed = "must specify" in said
    advice = (
        "; set it in the job type's resources and in the chart's jobs.gate.resources and"
        " jobs.clone.resources, or create a LimitRange with defaults in the namespace"
    )
    return StartProblem(
        FailureClass.CONFIG,
        reasons.POD_REFUSED,
        f"No pod can be created: {said}{advice if unnamed else ''}",
        hopeless=unnamed,
    )


def _unschedulable(said: str) -> StartProblem:
    """The scheduler's words. A request larger than any node shows as one that preemption cannot
    help either: with "No preemption victims found" it would fit an emptier node, with "not helpful"
    on all of them it fits none."""
    nodes = re.match(r"0/(\d+) nodes are available", said)
    preemption = said.partition("preemption:")[2]
    too_large = bool(
        nodes
        and "Insufficient" in said
        and re.search(rf"\b{nodes[1]} Preemption is not helpful", preemption)
        and re.search(rf"\b{nodes[1]} Insufficient", said)
    )
    advice = (
        "its requests exceed the capacity of every node; lower resources.requests in the job type,"
        " or add a larger node"
    )
    text = f"No node can run the pod: {advice if too_large else said}" + (
        f" ({said})" if too_large else ""
    )
    return StartProblem(FailureClass.UNSCHEDULABLE, reasons.UNSCHEDULABLE, text, hopeless=too_large)


def _container_problem(pod: Pod, name: str, container: Container) -> StartProblem | None:
    if name == "gate" and (message := gate_problem(container)):
        # Its configuration does not change within a pod: each restart would fail alike.
        return StartProblem(FailureClass.CONFIG, reasons.MISSING_CONFIG, message, hopeless=True)
    if container.reason == "CrashLoopBackOff" or (container.ended and container.exit_code):
        return _crashing(pod, name, container)
    if container.state != "waiting":
        return None
    reason = container.reason
    detail = container.message
    if quoted := BACK_OFF.fullmatch(detail):
        reason, detail = quoted["reason"], quoted["detail"]
    if reason in PULL_REASONS or reason in HOPELESS_PULL_REASONS:
        message = f"Cannot pull the image of container {name} ({reason}): {detail or 'no details'}"
        return StartProblem(
            FailureClass.IMAGE,
            reasons.IMAGE_PULL,
            message,
            hopeless=reason in HOPELESS_PULL_REASONS,
        )
    if reason == "CreateContainerConfigError":
        return StartProblem(
            FailureClass.CONFIG,
            reasons.MISSING_CONFIG,
            f"Container {name} cannot be configured: {detail}",
        )
    if reason in ("CreateContainerError", "RunContainerError"):
        return StartProblem(
            FailureClass.IMAGE,
            reasons.CONTAINER_REFUSED,
            f"Container {name} cannot be created: {detail}",
        )
    return None


def _crashing(pod: Pod, name: str, container: Container) -> StartProblem:
    return StartProblem(
        FailureClass.CONFIG if name in pod.foreign_init else FailureClass.INTERNAL,
        reasons.CONTAINER_CRASHING,
        f"Container {name} keeps exiting (exit code {container.exit_code}); its log says why:"
        f" kubectl logs {pod.name} -c {name} --previous",
    )
