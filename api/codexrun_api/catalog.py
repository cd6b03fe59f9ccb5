"""Job types and prompts as the cluster has them: what a start may name, and what GET /jobtypes and /prompts show."""

import asyncio
import logging
from typing import Any

from pydantic import ValidationError

from codexrun_core.kube.client import Kube, NotFound
from codexrun_core.kube.watch import Watcher
from codexrun_core.logs import fields
from codexrun_core.resources import CodexJobType
from codexrun_core.stored_prompts import LABEL, StoredPrompt

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Catalog:
    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.job_types: dict[str, CodexJobType] = {}
        self.prompts: dict[tuple[str, str], StoredPrompt] = {}
        self.watchers = (
            Watcher(kube, kube.job_types, self.job_type_seen),
            Watcher(kube, kube.config_maps, self.prompt_seen, labelSelector=LABEL),
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watcher in self.watchers:
                tasks.create_task(watcher.run())

    def job_type_seen(self, raw: Json, gone: bool = False) -> None:
        try:
            job_type = CodexJobType.model_validate(raw)
        except ValidationError as error:
            log.error("jobtype.unreadable", extra=fields(name=raw["metadata"].get("name"), error=str(error)))
            return
        known = self.job_types.get(job_type.metadata.name)
        if not gone:
            self.job_types[job_type.metadata.name] = job_type
        elif known and known.metadata.uid == job_type.metadata.uid:
            del self.job_types[job_type.metadata.name]

    def prompt_seen(self, raw: Json, gone: bool = False) -> None:
        prompt = StoredPrompt.read(raw)
        if gone:
            self.prompts.pop((prompt.name, prompt.version), None)
        else:
            self.prompts[prompt.name, prompt.version] = prompt

    async def job_type(self, name: str) -> CodexJobType | None:
        """From the watch; one that it does not know is asked for, since it may have been made a moment ago.

        Raises:
            Unavailable: the apiserver is away.
        """
        if known := self.job_types.get(name):
            return known
        try:
            raw = await self._kube.get(f"{self._kube.job_types}/{name}")
        except NotFound:
            return None
        self.job_type_seen(raw)
        return self.job_types.get(name)
