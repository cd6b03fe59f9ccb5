"""Who is shipping? A gate is known by its pod's token, and may speak for the run that its pod's Job
belongs to, and no other.

Labels prove nothing, anybody who may create pods can write them: what counts is the chain pod ->
Job -> CodexRun of controller references by uid, and that the Job bears the name that uid and
attempt give. The chain never changes, so it is remembered, also past the end of Job and run; the
token is asked about again every minute.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from codexrun_api.http.auth import token_digest
from codexrun_core.errors import NotFound, Refused
from codexrun_core.kube.client import Kube, object_path
from codexrun_core.pod_contract import INGEST_AUDIENCE
from codexrun_core.resources import GROUP, VERSION, CodexRun
from codexrun_core.runs.label_keys import job_name

REVIEWS_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
EXTRA_PREFIX = "authentication.kubernetes.io/"
REVIEW_TTL_SECONDS = 60.0  # seconds; what KEP-1205 calls bounded staleness
MAX_REMEMBERED = 4096  # of each that are remembered
MAX_TOKEN_CHARACTERS = 8192


class NotAGate(Exception):
    """Not authenticated (401), or not one of our gates (403)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class GateIdentity:
    """The gate of one attempt. resumes: the run_id whose thread its run goes on with."""

    run_id: str
    attempt: int
    pod: str
    resumes: str | None = None


Authenticate = Callable[[str], Awaitable[GateIdentity]]


class GateAuthentication:
    """Call it with a bearer token."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._pods: OrderedDict[bytes, tuple[float, tuple[str, str]]] = OrderedDict()
        self._identities: OrderedDict[str, GateIdentity] = OrderedDict()
        self._reviewing = asyncio.Semaphore(16)

    async def __call__(self, token: str) -> GateIdentity:
        """Return whose token it is.

        Raises:
            NotAGate: it may ship nothing.
            Unavailable: the apiserver does not say.
        """
        digest = token_digest(token)
        cached = self._pods.get(digest)
        if cached is None or cached[0] <= self._clock():
            async with self._reviewing:
                cached = (self._clock() + REVIEW_TTL_SECONDS, await self._review(token))
            _remember(self._pods, digest, cached)
        name, uid = cached[1]
        if (identity := self._identities.get(uid)) is None:
            identity = await self._identity_of(name, uid)
            _remember(self._identities, uid, identity)
        return identity

    async def _review(self, token: str) -> tuple[str, str]:
        """Return name and uid of the pod that the token is bound to."""
        if not token or len(token) > MAX_TOKEN_CHARACTERS:
            raise NotAGate(401, "no token")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
        answer = await self._kube.create(
            REVIEWS_PATH, {**review, "spec": {"token": token, "audiences": [INGEST_AUDIENCE]}}
        )
        status = answer.get("status") or {}
        if status.get("authenticated") is not True or INGEST_AUDIENCE not in (
            status.get("audiences") or ()
        ):
            raise NotAGate(401, "the token is not valid for this audience")
        user = status.get("user") or {}
        if not str(user.get("username")).startswith(
            f"system:serviceaccount:{self._kube.namespace}:"
        ):
            raise NotAGate(403, "not a service account of this namespace")
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
            raise NotAGate(403, "the pod, its Job or its run is gone, or another one of that name")
        return obj


def _controller(obj: dict[str, Any], version: str, kind: str) -> dict[str, str]:
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller") and (owner.get("apiVersion"), owner.get("kind")) == (
            version,
            kind,
        ):
            controller: dict[str, str] = owner
            return controller
    raise NotAGate(403, f"not controlled by a {kind}: no pod of a run")


def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MAX_REMEMBERED:
        memory.popitem(last=False)
