"""The runs straight from the cluster: objects that this program makes and reads itself, logs of
live pods."""

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from codexrun_cli.errors import ApiRequired, CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.transports import Details, Json, LogEvent, LogRange, LogText, RunFilter
from codexrun_cli.transports.cluster import catalog, pod_logs, views
from codexrun_cli.transports.cluster import details as cluster_details
from codexrun_cli.transports.cluster.event_loop import Loop, command_error
from codexrun_cli.transports.cluster.start import Starter
from codexrun_cli.transports.schemas import JobType, Prompt, Run
from codexrun_core.errors import Conflict, NotFound, Refused
from codexrun_core.kube.client import Kube
from codexrun_core.resources.phases import ENDED_STATUSES
from codexrun_core.runs import names, new_run, queue_position
from codexrun_core.runs.label_rules import inherited_labels, parse_selector
from codexrun_core.runs.new_run import NewRun
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, parse_sort, sort_runs

CANCEL_ATTEMPTS = 4
READ_TIMEOUT_SECONDS = 30.0
ALL_RUNS = "/apis/codexrun.dev/v1alpha1/codexruns"
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Cluster:
    rest = False

    def __init__(self, kube: Kube, loop: Loop, *, everywhere: bool = False) -> None:
        self.kube = kube
        self.loop = loop
        self._everywhere = everywhere
        self._starter = Starter(kube)
        self._title_templates: dict[str, str | None] = {}  # by job type, once looked at

    def start(self, request: Json, key: str | None) -> Run:
        async def begin() -> Run:
            return await self._run_with_queue(await self._create(request, key))

        return self.loop.call(begin())

    def dry_run(self, request: Json) -> Json:
        return self.loop.call(self._create(request, None, dry_run=True))

    async def _create(self, request: Json, key: str | None, *, dry_run: bool = False) -> Json:
        user = await self._starter.user()
        new = NewRun(
            name=request.get("name") or names.name_of(request["job_type"], user, key),
            spec={"whenFull": "Queue", **new_run.spec_of(request)},
            user=user,
            origin="cli",
            request_id=str(uuid.uuid4()),
            sha256=new_run.fingerprint(request),
            labels=request.get("labels") or {},
            keyed=key is not None,
        )
        return await self._starter.start(new, dry_run=dry_run)

    def cancel(self, name: str, reason: str | None) -> Run:
        return self.loop.call(self._cancel(name, reason))

    async def _cancel(self, name: str, reason: str | None) -> Run:
        cancel = {
            "requestedBy": await self._starter.user(),
            **({"reason": reason} if reason else {}),
        }
        for _ in range(CANCEL_ATTEMPTS):
            raw = await self._find(name)
            status = views.status_of(raw)
            if status == "cancelled" or (
                raw["spec"].get("cancel") and status not in ENDED_STATUSES
            ):
                return await self._run_with_queue(raw)
            if status in ENDED_STATUSES:
                raise CommandError(
                    Code.CONFLICT,
                    f'run "{raw["metadata"]["name"]}" has ended ({status}); it can be retried, not'
                    " cancelled",
                    hint="`codexrun retry NAME` runs it again",
                )
            patch = {
                "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
                "spec": {"cancel": cancel},
            }
            try:
                return await self._run_with_queue(await self.kube.merge(self._path(raw), patch))
            except Conflict:
                continue
        raise CommandError(Code.UNREACHABLE, "the run keeps changing; try again")

    def retry(self, name: str, changes: Json, key: str | None) -> Run:
        return self.loop.call(self._retry(name, changes, key))

    async def _retry(self, name: str, changes: Json, key: str | None) -> Run:
        source = await self._find(name)
        run = views.run_json(source)
        if run["status"] not in ENDED_STATUSES:
            raise _not_ended(run["name"], run["status"])
        spec = new_run.retry_spec(
            source["spec"], name=run["name"], run_id=run["run_id"], changes=changes
        )
        retries = [
            raw
            async for raw in self._all({})
            if (raw["spec"].get("retryOf") or {}).get("uid") == run["run_id"]
        ]
        live = next((raw for raw in retries if views.status_of(raw) not in ENDED_STATUSES), None)
        if live and not key:
            return await self._run_with_queue(live)
        user = await self._starter.user()
        if key:
            retry_name = names.keyed_name(user, key)
        else:
            retry_name = names.retry_name(run["name"], run["run_id"], len(retries))
        new = NewRun(
            name=retry_name,
            spec={**spec, "whenFull": changes.get("when_full") or "Queue"},
            user=user,
            origin="cli",
            request_id=str(uuid.uuid4()),
            sha256=new_run.retry_fingerprint(run["run_id"], changes),
            labels=inherited_labels(run["labels"]),
            keyed=True,  # two at once derive the same name: one run
        )
        return await self._run_with_queue(await self._starter.start(new))

    # -- reading

    def run(self, name: str) -> Run:
        async def get() -> Run:
            return await self._run_with_queue(await self._find(name))

        return self.loop.call(get())

    def runs(self, run_filter: RunFilter, limit: int, sort: str | None = None) -> Iterator[Run]:
        """Yield the newest first, or sorted. Objects come without an order, so all that match are
        read before the first is shown."""
        now = datetime.now(UTC)
        order = parse_sort(sort) if sort else NEWEST

        async def get() -> list[Json]:
            await self._read_title_templates()
            return [raw async for raw in self._all(_selectors(run_filter))]

        def read(raw: Json) -> tuple[RunRecord, Json] | None:
            return (views.record(raw), raw) if views.matches(raw, run_filter, now) else None

        pairs = list(filter(None, views.readable("codexruns", self.loop.call(get()), read)))
        raws = {record.run_id: raw for record, raw in pairs}
        records = sort_runs([record for record, _ in pairs], order)[:limit]
        for record in records:
            template = self._title_templates.get(record.job_type)
            yield views.run_json(raws[record.run_id], title_template=template)

    def log(self, run: Run, log_range: LogRange) -> LogText:
        pod = self.loop.call(pod_logs.pod_of(self.kube, run["run_id"]))
        if pod is None:
            if run["status"] in ("pending", "queued", "starting", "rejected") or not run.get(
                "started_at"
            ):
                return LogText(
                    iter(()), f"there is no log: the agent has not run ({run['status']})"
                )
            raise ApiRequired("the log of a run whose pod is gone")
        path = pod_logs.path(self.kube, pod, log_range, datetime.now(UTC))

        async def chunks() -> Any:
            try:
                async for chunk in self.kube.stream(path, silence=READ_TIMEOUT_SECONDS):
                    yield chunk
            except Refused as error:
                if error.status != 400:  # 400: the container has not started yet
                    raise

        return LogText(self.loop.iterate(chunks()))

    def follow_log(self, run: Run, log_range: LogRange) -> Iterator[LogEvent]:
        path = f"{self.kube.runs}/{run['name']}"

        async def has_ended() -> bool:
            try:
                raw = await self.kube.get(path)
            except NotFound:
                return True
            return raw["metadata"]["uid"] != run["run_id"] or views.status_of(raw) in ENDED_STATUSES

        return self.loop.iterate(
            pod_logs.follow(self.kube, run["run_id"], log_range, has_ended, pod_logs.pause)
        )

    def job_types(self) -> list[JobType]:
        async def get() -> list[JobType]:
            return await catalog.job_types(self.kube, [raw async for raw in self._all({})])

        return self.loop.call(get())

    def prompts(self) -> list[Prompt]:
        return self.loop.call(catalog.prompts(self.kube))

    def prompt_text(self, name: str, version: str) -> str:
        return self.loop.call(catalog.prompt_text(self.kube, name, version))

    def details(self, run: Run) -> Details:
        async def get() -> Details:
            try:
                raw = await self.kube.get(f"{self.kube.runs}/{run['name']}")
            except NotFound:  # deleted a moment ago
                return {}
            return await cluster_details.details(self.kube, raw)

        return self.loop.call(get())

    def usual_seconds(self, job_type: str) -> float | None:
        async def get() -> float | None:
            raws = [raw async for raw in self._all({"fieldSelector": f"spec.jobType={job_type}"})]
            usual = queue_position.usual_duration(views.readable("codexruns", raws, views.record))
            return usual.total_seconds() if usual else None

        return self.loop.call(get())

    def ask(
        self,
        method: str,  # noqa: ARG002 - nobody to ask
        path: str,  # noqa: ARG002
        subject: str,
        *,
        query: Mapping[str, Any] | None = None,  # noqa: ARG002
        body: Json | None = None,  # noqa: ARG002
    ) -> Any:
        raise ApiRequired(subject)

    def data(self, path: str) -> bytes:
        raise ApiRequired(f"the artifact {path.rpartition('/')[2]}")

    def set_priority(self, name: str, priority: int) -> Run:
        async def edit() -> Run:
            raw = await self._find(name)
            status = views.status_of(raw)
            if status in ENDED_STATUSES:
                raise CommandError(
                    Code.CONFLICT,
                    f'run "{raw["metadata"]["name"]}" has ended ({status}); start a new run'
                    " instead",
                    hint="`codexrun retry NAME` runs it again",
                )
            patch = {
                "metadata": {"uid": raw["metadata"]["uid"]},
                "spec": {"priority": priority},
            }
            return await self._run_with_queue(await self.kube.merge(self._path(raw), patch))

        return self.loop.call(edit())

    def delete(self, name: str) -> Run:
        async def remove() -> Run:
            raw = await self._find(name)
            status = views.status_of(raw)
            if status not in ENDED_STATUSES:
                raise _not_ended(raw["metadata"]["name"], status)
            await self.kube.delete(self._path(raw), uid=raw["metadata"]["uid"])
            return views.run_json(raw)

        return self.loop.call(remove())

    def user(self) -> str:
        return self.loop.call(self._starter.user())

    def console(self, run: Run) -> str | None:  # noqa: ARG002 - the cluster has none
        return None

    def close(self) -> None:
        async def end() -> None:
            if self.kube.api is not None:
                await self.kube.api.close()  # type: ignore[no-untyped-call]

        self.loop.raw(end())
        self.loop.stop()

    # -- inside

    def _path(self, raw: Json) -> str:
        return f"{self.kube.runs}/{raw['metadata']['name']}"

    async def _find(self, name: str) -> Json:
        """Return the object by its name, or by its run id."""
        try:
            return await self.kube.get(f"{self.kube.runs}/{name}")
        except NotFound as error:
            if UID.fullmatch(name):
                async for raw in self._all({}):
                    if raw["metadata"]["uid"] == name:
                        return dict(raw)
            if "could not find the requested resource" in error.message:
                raise command_error(error) from None
            raise CommandError(
                Code.NOT_FOUND,
                f'there is no run "{name}" in namespace "{self.kube.namespace}"',
                hint="`codexrun list` shows the runs that exist",
            ) from None

    async def _all(self, selectors: dict[str, str]) -> Any:
        async for page in self.kube.pages(
            ALL_RUNS if self._everywhere else self.kube.runs, **selectors
        ):
            for raw in page["items"]:
                yield raw

    async def _run_with_queue(self, raw: Json) -> Run:
        """Return the run, with its position while it waits."""
        job_type = raw["spec"]["jobType"]
        if job_type not in self._title_templates:
            await self._read_title_templates()
        template = self._title_templates.setdefault(job_type, None)
        if views.status_of(raw) != "queued":
            return views.run_json(raw, title_template=template)
        peers = [
            peer
            async for peer in self._all({"fieldSelector": f"spec.jobType={job_type}"})
            if peer["spec"]["jobType"] == job_type
        ]
        try:
            spec = (await self.kube.get(f"{self.kube.job_types}/{job_type}"))["spec"]
            limit = 0 if spec.get("suspended") else int(spec.get("concurrencyLimit", 1))
        except NotFound:
            limit = 0
        position = views.queue_position(raw, peers, limit, datetime.now(UTC))
        return views.run_json(raw, position, title_template=template)

    async def _read_title_templates(self) -> None:
        """Look at what job types say of titles; without the right to, runs go by their inputs."""
        with contextlib.suppress(Refused):
            async for page in self.kube.pages(self.kube.job_types):
                for raw in page["items"]:
                    template = raw["spec"].get("titleTemplate")
                    self._title_templates[raw["metadata"]["name"]] = template


def _not_ended(name: str, status: str) -> CommandError:
    return CommandError(
        Code.CONFLICT,
        f'run "{name}" has not ended ({status}); cancel it first',
        hint="`codexrun cancel NAME` cancels it",
    )


def _selectors(run_filter: RunFilter) -> dict[str, str]:
    """Return what the apiserver can select itself."""
    fields = []
    if run_filter.job_type and "," not in run_filter.job_type:
        fields.append(f"spec.jobType={run_filter.job_type}")
    if run_filter.status and "," not in run_filter.status:
        fields.append(f"status.phase={run_filter.status.capitalize()}")
    selectors = {"fieldSelector": ",".join(fields)} if fields else {}
    if run_filter.label:
        selectors["labelSelector"] = ",".join(map(str, parse_selector(run_filter.label)))
    return selectors
