"""Start a run without the api: make the object, wait for the operator's verdict, leave nothing
behind of a refused one."""

import asyncio
import getpass

from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Json
from codexrun_core import reasons
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.resources.codexrun import MAX_USER_CHARACTERS
from codexrun_core.runs.annotations import DELETE_IF_REJECTED, REQUEST_ID, REQUEST_SHA256
from codexrun_core.runs.new_run import NewRun
from codexrun_core.runs.verdict import RefusalKind, Verdict, read_refusal, read_verdict

VERDICT_SECONDS = 10.0
CREATE_ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.2  # doubled after each attempt
SELF_REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

_HINTS = {
    reasons.CONCURRENCY_LIMIT: "without --reject, the run waits for its turn",
    reasons.SUSPENDED: "without --reject, the run waits until the job type is resumed",
    reasons.JOB_TYPE_HELD: ("without --reject, the run waits until the cluster accepts its Job"),
    reasons.INVALID_INPUTS: "`codexrun jobtypes show JOB_TYPE` lists the inputs",
}


class Starter:
    """Starts runs in one namespace."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube

    async def start(self, new: NewRun, *, dry_run: bool = False) -> Json:
        """Make a run and wait until the operator has answered. Returns its object.

        Raises:
            CommandError: no such job type, name or key taken, or refused.
        """
        await self._require_job_type(new.spec["jobType"])
        body = new.manifest(self.kube.namespace)
        if dry_run:
            return await self.kube.create(f"{self.kube.runs}?dryRun=All", body)
        raw, created = await self._create_or_find(new, body)
        if not created:
            _require_same_request(raw, new)
        return await self._wait_for_verdict(raw)

    async def user(self) -> str:
        """Return who the cluster says is calling; the login name where it does not say."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            review = await self.kube.create(SELF_REVIEWS, body)
            return str(review["status"]["userInfo"]["username"])[:MAX_USER_CHARACTERS]
        except (Refused, Unavailable, KeyError):
            try:
                return getpass.getuser()
            except (KeyError, OSError):
                return "unknown"

    async def _require_job_type(self, name: str) -> None:
        try:
            await self.kube.get(f"{self.kube.job_types}/{name}")
        except NotFound as missing:
            if "could not find the requested resource" in missing.message:
                raise
            raise _job_type_not_found(name) from None

    async def _create_or_find(self, new: NewRun, body: Json) -> tuple[Json, bool]:
        """Return the object of that name, and whether this call made it; also when an answer was
        lost."""
        unavailable: Unavailable | None = None
        for attempt in range(CREATE_ATTEMPTS):
            try:
                return await self.kube.create(self.kube.runs, body), True
            except Conflict:
                raw = await self.kube.get(f"{self.kube.runs}/{new.name}")
                request_id = _annotation(raw, REQUEST_ID)
                return raw, unavailable is not None and request_id == new.request_id
            except Unavailable as error:
                unavailable = error
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt)
        assert unavailable is not None
        raise unavailable

    async def _wait_for_verdict(self, raw: Json) -> Json:
        """Return the run once the operator has answered; a refused one is an error and leaves
        nothing behind."""
        name = raw["metadata"]["name"]
        uid = raw["metadata"]["uid"]
        try:
            async with asyncio.timeout(VERDICT_SECONDS):
                if not _verdict(raw).final:
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
                            if _verdict(raw).final or event["type"] == "DELETED":
                                break
        except (TimeoutError, Unavailable):
            raw = await self.kube.get(f"{self.kube.runs}/{name}")
        verdict = _verdict(raw)
        if verdict is Verdict.REFUSED:
            await self._delete_refused(name, uid)
            raise _refusal(raw)
        if not verdict.final:
            # Its caller is told of it now: whatever comes of it stays for people to see.
            patch = {"metadata": {"annotations": {DELETE_IF_REJECTED: None}}}
            raw = await self.kube.merge(f"{self.kube.runs}/{name}", patch)
        return raw

    async def _delete_refused(self, name: str, uid: str) -> None:
        """Delete a refused run's object. The operator does the same; whoever comes first."""
        try:
            await self.kube.delete(f"{self.kube.runs}/{name}", uid=uid)
        except (Refused, Unavailable):
            return


def _require_same_request(raw: Json, new: NewRun) -> None:
    """Check that an existing run was made by the same request.

    Raises:
        CommandError: it was not.
    """
    if not new.keyed:
        raise CommandError(
            Code.CONFLICT,
            f'a run "{new.name}" already exists',
            hint="choose another --name, or leave it out",
        )
    if _annotation(raw, REQUEST_SHA256) != new.sha256:
        raise CommandError(
            Code.CONFLICT,
            "this idempotency key was used for another run",
            hint="use another --idempotency-key, or leave it out",
        )


def _annotation(raw: Json, key: str) -> str | None:
    value: str | None = raw["metadata"].get("annotations", {}).get(key)
    return value


def _verdict(raw: Json) -> Verdict:
    status = raw.get("status") or {}
    return read_verdict(status.get("phase") or "Pending", status.get("reason"))


def _refusal(raw: Json) -> CommandError:
    """Return a refused run as the error that its start ends with."""
    status = raw.get("status") or {}
    refusal = read_refusal(status.get("reason"), status.get("message"))
    if refusal.kind is RefusalKind.JOB_TYPE_NOT_FOUND:
        return _job_type_not_found(raw["spec"]["jobType"])
    hint = _HINTS.get(refusal.reason, "")
    return CommandError(Code.FAILED, refusal.message, hint=hint)


def _job_type_not_found(name: str) -> CommandError:
    hint = "`codexrun jobtypes list` shows what can be started"
    return CommandError(Code.NOT_FOUND, f'there is no job type "{name}"', hint=hint)
