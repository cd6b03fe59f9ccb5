"""Start a run without the api: make the object, wait for the operator's word, leave nothing behind
of what was refused."""

import asyncio
import getpass
import uuid

from codexrun_cli import manifest
from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Json
from codexrun_cli.transports.cluster import views
from codexrun_core.kube.client import Conflict, Kube, NotFound, Refused, Unavailable
from codexrun_core.runs import annotations as notes

VERDICT_SECONDS = 10.0
TRIES = 4
_MISSING = (
    "JobTypeNotFound",
    "PromptNotFound",
)  # kubectl's runs wait a minute for these; who types a command does not


class Starting:
    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    async def start(
        self,
        name: str,
        spec: Json,
        user: str,
        sha256: str,
        *,
        keyed: bool,
        labels: Json | None = None,
        dry_run: bool = False,
        told: bool = False,
    ) -> Json:
        try:
            await self.kube.get(f"{self.kube.job_types}/{spec['jobType']}")
        except NotFound as missing:
            if "could not find the requested resource" in missing.message:
                raise
            raise _no_job_type(spec["jobType"]) from None
        request_id = str(uuid.uuid4())
        about = {
            notes.REQUESTED_BY: user,
            notes.ORIGIN: "cli",
            notes.REQUEST_ID: request_id,
            notes.REQUEST_SHA256: sha256,
            **({} if told else {notes.DELETE_IF_REJECTED: "true"}),
        }
        body = manifest.manifest(name, self.kube.namespace, spec, about, labels)
        if dry_run:
            return await self.kube.create(f"{self.kube.runs}?dryRun=All", body)
        raw, ours = await self._make(name, body, request_id)
        if not ours:
            if not keyed:
                raise CommandError(
                    Code.CONFLICT,
                    f'there is a run "{name}" already',
                    title="Conflict",
                    hint="choose another --name",
                )
            if raw["metadata"].get("annotations", {}).get(notes.REQUEST_SHA256) != sha256:
                raise CommandError(
                    Code.CONFLICT,
                    "this idempotency key was used for another run",
                    title="Conflict",
                    hint="use another --idempotency-key, or leave it out",
                )
        return await self._judged(raw)

    async def _make(self, name: str, body: Json, request_id: str) -> tuple[Json, bool]:
        """The object of that name, and whether this call made it; also when an answer was lost."""
        away: Unavailable | None = None
        for attempt in range(TRIES):
            try:
                return await self.kube.create(self.kube.runs, body), True
            except Conflict:
                raw = await self.kube.get(f"{self.kube.runs}/{name}")
                found = raw["metadata"].get("annotations", {}).get(notes.REQUEST_ID)
                return raw, away is not None and found == request_id
            except Unavailable as error:
                away = error
                await asyncio.sleep(0.2 * 2**attempt)
        assert away is not None
        raise away

    async def _judged(self, raw: Json) -> Json:
        """The run once the operator has spoken; a refused one is an error and leaves nothing
        behind."""
        name, uid = raw["metadata"]["name"], raw["metadata"]["uid"]
        try:
            async with asyncio.timeout(VERDICT_SECONDS):
                if not _decided(raw):
                    selector = {"fieldSelector": f"metadata.name={name}"}
                    version = raw["metadata"]["resourceVersion"]
                    async for event in self.kube.watch(
                        self.kube.runs, version, silence=VERDICT_SECONDS, **selector
                    ):
                        if (
                            event["type"] != "BOOKMARK"
                            and event["object"]["metadata"]["uid"] == uid
                        ):
                            raw = event["object"]
                            if _decided(raw) or event["type"] == "DELETED":
                                break
        except (TimeoutError, Unavailable):
            raw = await self.kube.get(f"{self.kube.runs}/{name}")
        if _refused(raw):
            await self._clear_away(name, uid)
            raise _refusal(raw)
        if not _decided(
            raw
        ):  # it has been told of now: whatever comes of it stays for people to see
            patch = {"metadata": {"annotations": {notes.DELETE_IF_REJECTED: None}}}
            raw = await self.kube.merge(f"{self.kube.runs}/{name}", patch)
        return raw

    async def _clear_away(self, name: str, uid: str) -> None:
        """The operator does the same; whoever comes first."""
        try:
            await self.kube.delete(f"{self.kube.runs}/{name}", uid=uid)
        except (Refused, Unavailable):
            return

    async def user(self) -> str:
        """Who the cluster says we are; the login name where it does not say."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            found = await self.kube.create(
                "/apis/authentication.k8s.io/v1/selfsubjectreviews", body
            )
            return str(found["status"]["userInfo"]["username"])[:253]
        except (Refused, Unavailable, KeyError):
            try:
                return getpass.getuser()
            except (KeyError, OSError):
                return "unknown"


def _decided(raw: Json) -> bool:
    return views.status_of(raw) != "pending" or _refused(raw)


def _refused(raw: Json) -> bool:
    status = raw.get("status") or {}
    return status.get("phase") == "Rejected" or (
        views.status_of(raw) == "pending" and status.get("reason") in _MISSING
    )


def _refusal(raw: Json) -> CommandError:
    status = raw.get("status") or {}
    reason, message = (
        status.get("reason") or "Rejected",
        status.get("message") or "the operator rejected it",
    )
    if reason == "JobTypeNotFound":
        return _no_job_type(raw["spec"]["jobType"])
    hint = {
        "ConcurrencyLimit": "leave --reject out, and it waits for its turn",
        "Suspended": "leave --reject out, and it waits until the job type goes on",
        "JobTypeHeld": "leave --reject out, and it waits until the cluster takes its Jobs again",
        "InvalidInputs": "`codexrun jobtypes show JOB_TYPE` says which inputs there are",
    }.get(reason, "")
    return CommandError(Code.FAILED, message, title=reason, hint=hint)


def _no_job_type(name: str) -> CommandError:
    hint = "`codexrun jobtypes list` shows what can be started"
    return CommandError(
        Code.NOT_FOUND, f'there is no job type "{name}"', title="Not Found", hint=hint
    )
