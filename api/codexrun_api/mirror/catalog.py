"""Job types and prompts as the cluster has them: what a start may name, and what GET /jobtypes and
/prompts show."""

import asyncio
from typing import Any

from codexrun_core.errors import NotFound
from codexrun_core.kube.client import Kube
from codexrun_core.kube.watch import Watcher
from codexrun_core.prompts.stored import StoredPrompt
from codexrun_core.resources import CodexJobType
from codexrun_core.runs.label_keys import PROMPT_LABEL
from codexrun_core.unreadable import one_object

Json = dict[str, Any]


class Catalog:
    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self.job_types: dict[str, CodexJobType] = {}
        self.prompts: dict[tuple[str, str], StoredPrompt] = {}
        self.watchers = (
            Watcher(kube, kube.job_types, self.update_job_type),
            Watcher(kube, kube.config_maps, self.update_prompt, labelSelector=PROMPT_LABEL),
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watcher in self.watchers:
                tasks.create_task(watcher.run())

    def update_job_type(self, raw: Json, gone: bool = False) -> None:
        metadata = raw["metadata"]
        name = metadata["name"]
        if gone:
            job_type = self.job_types.get(name)
            if job_type and job_type.metadata.uid == metadata["uid"]:
                del self.job_types[name]
            return
        with one_object("codexjobtype", name, metadata.get("resourceVersion", "")):
            self.job_types[name] = CodexJobType.model_validate(raw)

    def update_prompt(self, raw: Json, gone: bool = False) -> None:
        prompt = StoredPrompt.read(raw)
        if gone:
            self.prompts.pop((prompt.name, prompt.version), None)
        else:
            self.prompts[prompt.name, prompt.version] = prompt

    async def job_type(self, name: str) -> CodexJobType | None:
        """Return the job type from the watch; one that it does not know is asked for, since it may
        have been made a moment ago.

        Raises:
            Unavailable: the apiserver is away.
        """
        if job_type := self.job_types.get(name):
            return job_type
        try:
            raw = await self._kube.get(f"{self._kube.job_types}/{name}")
        except NotFound:
            return None
        self.update_job_type(raw)
        return self.job_types.get(name)
