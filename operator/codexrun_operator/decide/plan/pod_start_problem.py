"""Why does the agent not run yet? Finds class and message in the pod's status and Kubernetes'
warnings. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from codexrun_core import reasons
from codexrun_core.resources.phases import FailureClass
from codexrun_operator.decide.observed import Container, Event, Job, Pod

PULL_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
HOPELESS_PULL_REASONS = {"InvalidImageName", "ErrImageNeverPull"}


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


def start_problem(job: Job, pod: Pod | None, warnings: Iterable[Event]) -> StartProblem:
    """Return the first cause that explains why the agent does not run, the more certain ones
    first."""
    if pod is None:
        for warning in warnings:
            if warning.reason == "FailedCreate":
                return _refused_pod(warning.message)
        return StartProblem(
            FailureClass.INTERNAL, reasons.STARTING, f"Job {job.name} has no pod yet", expected=True
        )
    if pod.unschedulable:
        return _unschedulable(pod.unschedulable)
    for name, container in (("clone", pod.clone), ("gate", pod.gate), ("agent", pod.agent)):
        if problem := _container_problem(name, container):
            return problem
    for warning in warnings:
        if warning.reason in ("FailedMount", "FailedAttachVolume"):
            return StartProblem(
                FailureClass.CONFIG,
                reasons.MISSING_VOLUME,
                f"A volume of the pod cannot be had: {warning.message}",
            )
    if pod.clone.state == "running":
        return StartProblem(
            FailureClass.WORKSPACE, reasons.CLONING, "The repository is being cloned", expected=True
        )
    return StartProblem(
        FailureClass.INTERNAL, reasons.STARTING, "The pod is starting", expected=True
    )


def _refused_pod(said: str) -> StartProblem:
    """The Job controller's words. A quota that is full may get room; one that wants a limit which
    no container names will not (its plugin: "failed quota: NAME: must specify limits.cpu for:
    agent,gate")."""
    unnamed = "must specify" in said
    advice = (
        "; name it in the job type's resources and the chart's jobs.gate.resources and"
        " jobs.clone.resources, or give the namespace a LimitRange with defaults"
    )
    return StartProblem(
        FailureClass.CONFIG,
        reasons.POD_REFUSED,
        f"No pod can be made: {said}{advice if unnamed else ''}",
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
        "its request is larger than any node; lower resources.requests of the job type, or add a"
        " larger node"
    )
    text = f"No node for the pod: {advice if too_large else said}" + (
        f" ({said})" if too_large else ""
    )
    return StartProblem(FailureClass.UNSCHEDULABLE, reasons.UNSCHEDULABLE, text, hopeless=too_large)


def _container_problem(name: str, container: Container) -> StartProblem | None:
    if container.state != "waiting":
        return None
    reason = container.reason
    detail = container.message
    if reason in PULL_REASONS or reason in HOPELESS_PULL_REASONS:
        message = (
            f"The image of container {name} cannot be had ({reason}): {detail or 'no further word'}"
        )
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
            f"Container {name} cannot be made: {detail}",
        )
    return None
