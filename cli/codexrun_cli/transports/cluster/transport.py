"""The runs straight from the cluster: objects that this program makes and reads itself, logs of
live pods."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from codexrun_cli import manifest
from codexrun_cli.errors import NeedsApi, Trouble
from codexrun_cli.exit_codes import Code
from codexrun_cli.statuses import is_terminal
from codexrun_cli.transports import Heard, Json, LogRange, LogText, RunFilter
from codexrun_cli.transports.cluster import catalog, pod_logs, views
from codexrun_cli.transports.cluster import details as cluster_details
from codexrun_cli.transports.cluster.event_loop import Loop, trouble
from codexrun_cli.transports.cluster.start import Starting
from codexrun_core.kube.client import Conflict, Kube, NotFound, Refused
from codexrun_core.runs import queue
from codexrun_core.runs.labels import handed_on, selector
from codexrun_core.runs.record import RunRecord
from codexrun_core.runs.sorting import NEWEST, ordered, read_sort

TRIES = 4
ALL_RUNS = "/apis/codexrun.dev/v1alpha1/codexruns"
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Cluster:
    rest = False

    def __init__(self, kube: Kube, loop: Loop, *, everywhere: bool = False) -> None:
        self.kube, self.loop, self._everywhere = kube, loop, everywhere
        self._starting = Starting(kube)

    # -- start, cancel, retry
    # -----------------------------------------------------------------------

    def start(self, wish: Json, key: str | None, *, dry_run: bool = False) -> Json:
        user = self.loop.raw(self._starting.user())
        name = wish.get("name") or manifest.name_for(wish["job_type"], user, key)
        spec = {"whenFull": "Queue", **manifest.spec_of(wish)}

        async def begin() -> Json:
            sha256 = manifest.fingerprint(wish)
            labels = wish.get("labels")
            raw = await self._starting.start(
                name, spec, user, sha256, keyed=key is not None, labels=labels, dry_run=dry_run
            )
            return raw if dry_run else await self._shown(raw)

        return self.loop.call(begin())

    def cancel(self, wanted: str, reason: str | None) -> Json:
        return self.loop.call(self._cancel(wanted, reason))

    async def _cancel(self, wanted: str, reason: str | None) -> Json:
        wish = {
            "requestedBy": await self._starting.user(),
            **({"reason": reason} if reason else {}),
        }
        for _ in range(TRIES):
            raw = await self._find(wanted)
            status = views.status_of(raw)
            if status == "cancelled" or (raw["spec"].get("cancel") and not is_terminal(status)):
                return await self._shown(raw)
            if is_terminal(status):
                raise Trouble(
                    Code.CONFLICT,
                    f'run "{raw["metadata"]["name"]}" has ended ({status}); it can be retried, not'
                    " cancelled",
                    title="Conflict",
                    hint="`codexrun retry NAME` runs it again",
                )
            patch = {
                "metadata": {"resourceVersion": raw["metadata"]["resourceVersion"]},
                "spec": {"cancel": wish},
            }
            try:
                return await self._shown(await self.kube.merge(self._path(raw), patch))
            except Conflict:
                continue
        raise Trouble(Code.UNREACHABLE, "the run keeps changing; try again")

    def retry(self, wanted: str, changes: Json, key: str | None) -> Json:
        return self.loop.call(self._retry(wanted, changes, key))

    async def _retry(self, wanted: str, changes: Json, key: str | None) -> Json:
        source = await self._find(wanted)
        run = views.run_json(source)
        if not is_terminal(run["status"]):
            raise Trouble(
                Code.CONFLICT,
                f'run "{run["name"]}" has not ended ({run["status"]}); cancel it first',
                title="Conflict",
                hint="`codexrun cancel NAME` stops it first",
            )
        spec = {
            **manifest.retry_spec(source["spec"], run, changes),
            "whenFull": changes.get("when_full") or "Queue",
        }
        retries = [
            r
            async for r in self._all({})
            if (r["spec"].get("retryOf") or {}).get("uid") == run["run_id"]
        ]
        going = next((r for r in retries if not is_terminal(views.status_of(r))), None)
        if going and not key:
            return await self._shown(going)
        user = await self._starting.user()
        name = (
            manifest.name_for("", user, key)
            if key
            else manifest.retry_name(run["name"], run["run_id"], len(retries))
        )
        sha256 = f"{run['run_id']}/{manifest.fingerprint(changes)}"
        labels = handed_on(run["labels"])
        return await self._shown(
            await self._starting.start(name, spec, user, sha256, keyed=True, labels=labels)
        )

    # -- reading
    # -------------------------------------------------------------------------------------

    def run(self, wanted: str) -> Json:
        async def look() -> Json:
            return await self._shown(await self._find(wanted))

        return self.loop.call(look())

    def runs(self, chosen: RunFilter, limit: int, sort: str | None = None) -> Iterator[Json]:
        """Newest first, or sorted. Objects come without an order, so all that match are read before
        the first is shown."""
        now, order = datetime.now(UTC), read_sort(sort) if sort else NEWEST

        async def look() -> list[Json]:
            return [raw async for raw in self._all(_selectors(chosen))]

        def read(raw: Json) -> tuple[RunRecord, Json] | None:
            return (views.record(raw), raw) if views.matches(raw, chosen, now) else None

        found = list(filter(None, views.readable("codexruns", self.loop.call(look()), read)))
        raws = {record.run_id: raw for record, raw in found}
        first = ordered([record for record, _ in found], order)[:limit]
        yield from (views.run_json(raws[record.run_id]) for record in first)

    def log(self, run: Json, wish: LogRange) -> LogText:
        pod = self.loop.call(pod_logs.pod_of(self.kube, run["run_id"]))
        if pod is None:
            if run["status"] in ("pending", "queued", "starting", "rejected") or not run.get(
                "started_at"
            ):
                return LogText(iter(()), f"there is no log: the run is {run['status']}")
            raise NeedsApi("the log of a run whose pod is gone")
        where = pod_logs.path(self.kube, pod, wish, datetime.now(UTC))

        async def pieces() -> Any:
            try:
                async for piece in self.kube.stream(where, silence=30):
                    yield piece
            except Refused as refused:
                if refused.status != 400:  # 400: the container has not started yet
                    raise

        return LogText(self.loop.iterate(pieces()))

    def follow_log(self, run: Json, wish: LogRange) -> Iterator[Heard]:
        path = f"{self.kube.runs}/{run['name']}"

        async def over() -> bool:
            try:
                raw = await self.kube.get(path)
            except NotFound:
                return True
            return raw["metadata"]["uid"] != run["run_id"] or is_terminal(views.status_of(raw))

        return self.loop.iterate(
            pod_logs.follow(self.kube, run["run_id"], wish, over, pod_logs.pause)
        )

    def job_types(self) -> list[Json]:
        async def look() -> list[Json]:
            return await catalog.job_types(self.kube, [raw async for raw in self._all({})])

        return self.loop.call(look())

    def prompts(self) -> list[Json]:
        return self.loop.call(catalog.prompts(self.kube))

    def prompt_text(self, name: str, version: str) -> str:
        return self.loop.call(catalog.prompt_text(self.kube, name, version))

    def details(self, run: Json) -> Json:
        async def look() -> Json:
            try:
                raw = await self.kube.get(f"{self.kube.runs}/{run['name']}")
            except NotFound:  # deleted a moment ago
                return {}
            return await cluster_details.details(self.kube, raw)

        return self.loop.call(look())

    def usual_seconds(self, job_type: str) -> float | None:
        async def look() -> float | None:
            found = [raw async for raw in self._all({"fieldSelector": f"spec.jobType={job_type}"})]
            usual = queue.usual_length(views.readable("codexruns", found, views.record))
            return usual.total_seconds() if usual else None

        return self.loop.call(look())

    def ask(self, method: str, path: str, what: str, **options: Any) -> Json:  # noqa: ARG002 - nobody to ask
        raise NeedsApi(what)

    def text(self, path: str) -> str:
        raise NeedsApi(path)

    def console(self, run: Json) -> str | None:  # noqa: ARG002 - the cluster has none
        return None

    def close(self) -> None:
        async def end() -> None:
            if self.kube.api is not None:
                await self.kube.api.close()  # type: ignore[no-untyped-call]

        self.loop.raw(end())
        self.loop.stop()

    # -- inside
    # --------------------------------------------------------------------------------------

    def _path(self, raw: Json) -> str:
        return f"{self.kube.runs}/{raw['metadata']['name']}"

    async def _find(self, wanted: str) -> Json:
        """By name, or by run id."""
        try:
            return await self.kube.get(f"{self.kube.runs}/{wanted}")
        except NotFound as missing:
            if UID.fullmatch(wanted):
                async for raw in self._all({}):
                    if raw["metadata"]["uid"] == wanted:
                        return dict(raw)
            if "could not find the requested resource" in missing.message:
                raise trouble(missing) from None
            raise Trouble(
                Code.NOT_FOUND,
                f'there is no run "{wanted}" in namespace "{self.kube.namespace}"',
                title="Not Found",
                hint="`codexrun list` shows the runs that there are",
            ) from None

    async def _all(self, selectors: dict[str, str]) -> Any:
        async for page in self.kube.pages(
            ALL_RUNS if self._everywhere else self.kube.runs, **selectors
        ):
            for raw in page["items"]:
                yield raw

    async def _shown(self, raw: Json) -> Json:
        """With its place in the queue."""
        if views.status_of(raw) != "queued":
            return views.run_json(raw)
        kind = raw["spec"]["jobType"]
        peers = [
            peer
            async for peer in self._all({"fieldSelector": f"spec.jobType={kind}"})
            if peer["spec"]["jobType"] == kind
        ]
        try:
            spec = (await self.kube.get(f"{self.kube.job_types}/{kind}"))["spec"]
            limit = 0 if spec.get("suspended") else int(spec.get("concurrencyLimit", 1))
        except NotFound:
            limit = 0
        return views.run_json(raw, views.place(raw, peers, limit, datetime.now(UTC)))


def _selectors(chosen: RunFilter) -> dict[str, str]:
    """What the apiserver can pick itself."""
    fields = []
    if chosen.job_type and "," not in chosen.job_type:
        fields.append(f"spec.jobType={chosen.job_type}")
    if chosen.status and "," not in chosen.status:
        fields.append(f"status.phase={chosen.status.capitalize()}")
    found = {"fieldSelector": ",".join(fields)} if fields else {}
    return (
        {**found, "labelSelector": ",".join(map(str, selector(chosen.label)))}
        if chosen.label
        else found
    )
