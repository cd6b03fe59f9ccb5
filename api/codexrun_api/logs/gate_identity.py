"""Who is shipping? A gate is known by its pod's token, and may speak for the run that its pod's Job
belongs to, and no other.

Labels prove nothing, anybody who may create pods can write them: what counts is the chain pod ->
Job -> CodexRun of controller references by uid, and that the Job bears the name that uid and
attempt give. The chain never changes, so it is remembered, also past the end of Job and run; the
token is asked about again every minute.

Anybody who reaches the port can send tokens. What cannot be a gate's by its own words is refused
without a question to the apiserver; a token that was refused is so for some seconds more; and an
address that sends many of them waits, so that the gates' own questions are answered.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from codexrun_api.http.auth import token_digest
from codexrun_api.http.throttle import Throttle
from codexrun_api.logs.token_claims import NotAGate, check_claims
from codexrun_core.errors import NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube, object_path
from codexrun_core.pod_contract import INGEST_AUDIENCE
from codexrun_core.resources import GROUP, VERSION, CodexRun
from codexrun_core.runs.label_keys import job_name

REVIEWS_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
EXTRA_PREFIX = "authentication.kubernetes.io/"
REVIEW_TTL_SECONDS = 60.0  # seconds; what KEP-1205 calls bounded staleness
MAX_REMEMBERED = 4096  # of each that are remembered
REFUSAL_TTL_SECONDS = 10.0  # short: a pod that was just made may not be known everywhere yet
REVIEWS = 16  # at once
REVIEWS_OF_PEER = 8
REFUSALS_OF_PEER = 20  # at once, and one more every
REFUSAL_SECONDS = 3.0


@dataclass(frozen=True)
class GateIdentity:
    """The gate of one attempt. resumes: the run_id whose thread its run goes on with."""

    run_id: str
    attempt: int
    pod: str
    resumes: str | None = None


Authenticate = Callable[[str, str], Awaitable[GateIdentity]]


class GateAuthentication:
    """Call it with a bearer token and the address that it came from."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._pods: OrderedDict[bytes, tuple[float, tuple[str, str]]] = OrderedDict()
        self._identities: OrderedDict[str, GateIdentity] = OrderedDict()
        self._refused: OrderedDict[bytes, tuple[float, NotAGate]] = OrderedDict()
        self._reviewing = asyncio.Semaphore(REVIEWS)
        self._reviews_of: Counter[str] = Counter()
        self._refusals = Throttle(REFUSALS_OF_PEER, REFUSAL_SECONDS)

    async def __call__(self, token: str, peer: str) -> GateIdentity:
        """Return whose token it is.

        Raises:
            NotAGate: it may ship nothing.
            Unavailable: the apiserver does not say, or the peer's address has sent too many others.
        """
        check_claims(token, self._kube.namespace)
        digest = token_digest(token)
        if (identity := self._known(digest)) is not None:
            return identity
        if self._refusals.wait(peer, self._clock()):
            raise Unavailable("too many tokens from this address were rejected; try again later")
        if self._reviews_of[peer] >= REVIEWS_OF_PEER:
            raise Unavailable("other tokens from this address are being checked; try again")
        self._reviews_of[peer] += 1
        try:
            async with self._reviewing:
                # asked about meanwhile, by another request with the same token
                return self._known(digest) or await self._ask(digest, token)
        except NotAGate as error:
            self._refusals.fail(peer, self._clock())
            _remember(self._refused, digest, (self._clock() + REFUSAL_TTL_SECONDS, error))
            raise
        finally:
            self._reviews_of[peer] -= 1
            if not self._reviews_of[peer]:
                del self._reviews_of[peer]

    def _known(self, digest: bytes) -> GateIdentity | None:
        """Return whose token it is, where the apiserver has said so lately.

        Raises:
            NotAGate: it has said that it is nobody's.
        """
        now = self._clock()
        until, refusal = self._refused.get(digest, (now, None))
        if refusal and until > now:
            raise NotAGate(refusal.status, str(refusal))
        until, (_, uid) = self._pods.get(digest, (now, ("", "")))
        return self._identities.get(uid) if until > now else None

    async def _ask(self, digest: bytes, token: str) -> GateIdentity:
        name, uid = await self._review(token)
        _remember(self._pods, digest, (self._clock() + REVIEW_TTL_SECONDS, (name, uid)))
        if (identity := self._identities.get(uid)) is None:
            identity = await self._identity_of(name, uid)
            _remember(self._identities, uid, identity)
        return identity

    async def _review(self, token: str) -> tuple[str, str]:
        """Return name and uid of the pod that the token is bound to."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        answer = await self._kube.create(
            REVIEWS_PATH, {**review, "spec": {"token": token, "audiences": [INGEST_AUDIENCE]}}
        )
        status = answer.get("status") or {}
        if status.get("authenticated") is not True or INGEST_AUDIENCE not in (
            status.get("audiences") or ()
        ):
            raise NotAGate(401, f"the token is not valid for the audience {INGEST_AUDIENCE}")
        user = status.get("user") or {}
        if not str(user.get("username")).startswith(
            f"system:serviceaccount:{self._kube.namespace}:"
        ):
            raise NotAGate(403, "the token does not belong to a service account of this namespace")
        extra = user.get("extra") or {}
        try:
            return extra[f"{EXTRA_PREFIX}pod-name"][0], extra[f"{EXTRA_PREFIX}pod-uid"][0]
        except (KeyError, IndexError, TypeError):
            raise NotAGate(403, "the token is not bound to a pod") from None

    async def _identity_of(self, name: str, uid: str) -> GateIdentity:
        pod = await self._get(self._kube.pods, name, uid)
        owner = _controller(pod, "batch/v1", "Job")
        job = await self._get(self._kube.jobs, owner["name"], owner["uid"])
        job_owner = _controller(job, f"{GROUP}/{VERSION}", "CodexRun")
        run = CodexRun.model_validate(
            await self._get(self._kube.runs, job_owner["name"], job_owner["uid"])
        )
        attempt = owner["name"].rpartition("-")[2]
        if not attempt.isdecimal() or owner["name"] != job_name(
            run.metadata.name, run.metadata.uid, int(attempt)
        ):
            raise NotAGate(403, "the pod's Job is not an attempt of a run")
        retry = run.spec.retry_of
        resumes = retry.uid if retry and retry.resume else None
        return GateIdentity(run.metadata.uid, int(attempt), name, resumes)

    async def _get(self, folder: str, name: str, uid: str) -> dict[str, Any]:
        try:
            obj = await self._kube.get(object_path(folder, name))
        except NotFound:
            obj = {"metadata": {}}
        except Refused as error:
            raise NotAGate(403, f"{folder}/{name} cannot be read: {error}") from error
        if obj["metadata"].get("uid") != uid:
            raise NotAGate(
                403,
                "the pod, its Job or its run is gone, or was replaced by another of the same name",
            )
        return obj


def _controller(obj: dict[str, Any], version: str, kind: str) -> dict[str, str]:
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and (owner.get("apiVersion"), owner.get("kind")) == (
            version,
            kind,
        ):
            controller: dict[str, str] = owner
            return controller
    raise NotAGate(403, f"the pod is not controlled by a {kind}, so it does not belong to a run")


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
