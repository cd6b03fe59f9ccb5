"""List and watch one kind of object into callbacks: for Jobs, pods and ConfigMaps, which kopf would
deep-copy and compare.

What can go wrong, and what is done: position too old (410) -> list again; stream ended or broken ->
go on from the last position; silent stream (no bookmark for SILENCE_SECONDS) -> the same; an error
in the stream, or several streams from this position that brought nothing -> list again; apiserver
away -> try again with a growing pause; a list that is older than what was known before it -> etcd
was restored, end.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from typing import Any

from codexrun_core.errors import EtcdRestored, Refused, Unavailable
from codexrun_core.kube.client import Kube
from codexrun_core.logs import fields
from codexrun_core.unreadable import one_object

log = logging.getLogger(__name__)

Json = dict[str, Any]

SILENCE_SECONDS = 90.0  # seconds; bookmarks come about once a minute
QUIET_SECONDS = 60  # of a watch without bookmarks: how long the server keeps it open
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


class Watcher:
    """Calls `on_object(object, gone)` at each change of an object that the selectors match.

    After a new list, objects that vanished in between are reported gone with their last known
    state; or, with `on_list`, the uids of a list and its resourceVersion are, and nothing is kept
    here: the consumer's own store knows what they are. Whatever a callback raises about one object
    is logged and counted there: the others come all the same.
    """

    def __init__(
        self,
        kube: Kube,
        path: str,
        on_object: Callable[[Json, bool], None],
        *,
        on_list: Callable[[Collection[str], int], None] | None = None,
        restarted: Callable[[], object] = lambda: None,
        bookmarks: bool = True,
        **selectors: str,
    ) -> None:
        """Prepare a watch; `restarted` is called whenever it has ended and is to be opened anew.

        bookmarks: whether the apiserver sends them. It does for what it caches; Events it does not
        cache (`--watch-cache-sizes`), so that silence says nothing there.
        """
        self._on_list = on_list
        self._restarted = restarted
        self._kube = kube
        self._path = path
        self._on_object = on_object
        self._selectors = selectors
        self._bookmarks = bookmarks
        # as logs and metrics name it: job, codexrun
        self._kind = path.rpartition("/")[2].removesuffix("s")
        self._objects: dict[str, Json] = {}  # without what is large; empty with `on_list`
        self._version: str | None = None
        self._newest = 0  # the latest resourceVersion that a list or an event has told
        self._idle_attempts = 0  # attempts in a row that brought no event
        self.synced = asyncio.Event()
        self.turned = time.monotonic()  # when the loop last did something, success or not

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            EtcdRestored: nothing that was reported can be relied on.
        """
        while True:
            self.turned = time.monotonic()
            problem = ""
            try:
                if self._version is None:
                    await self._list()
                await self._watch()
            except (Unavailable, Refused) as error:
                problem = str(error)
                if isinstance(error, Refused):
                    self._version = None
            if self._idle_attempts >= len(RETRY_SECONDS):
                self._version = None
            self._restarted()
            pause = RETRY_SECONDS[min(self._idle_attempts, len(RETRY_SECONDS) - 1)]
            if problem:
                log.warning(
                    "watch.broken", extra=fields(path=self._path, error=problem, pause=pause)
                )
            if self._idle_attempts or problem:
                await asyncio.sleep(pause)
            self._idle_attempts += 1

    async def _list(self) -> None:
        # Where nothing is kept nothing is compared, and no more than a page is held.
        streaming = not self._objects
        uids: set[str] = set()
        items_by_uid: dict[str, Json] = {}
        version = ""
        async for page in self._kube.pages(self._path, **self._selectors):
            version = page["metadata"]["resourceVersion"]
            check_not_restored(self._path, known=self._newest, listed=int(version))
            for item in page["items"]:
                uid = item["metadata"]["uid"]
                uids.add(uid)
                if streaming:
                    self._report(item, gone=False)
                else:
                    items_by_uid[uid] = item
        if self._on_list:
            self._on_list(uids, int(version))
        for uid in self._objects.keys() - uids:
            self._report(self._objects[uid], gone=True)
        for item in items_by_uid.values():
            self._report(item, gone=False)
        self._version = version
        self._newest = int(version)
        self.synced.set()

    async def _watch(self) -> None:
        assert self._version is not None
        query = self._selectors
        if not self._bookmarks:
            query = {**query, "timeoutSeconds": str(QUIET_SECONDS)}
        async for event in self._kube.watch(
            self._path, self._version, silence=SILENCE_SECONDS, **query
        ):
            self._idle_attempts = 0
            self.turned = time.monotonic()
            item = event["object"]
            if event["type"] != "BOOKMARK":
                self._report(item, gone=event["type"] == "DELETED")
            self._version = item["metadata"]["resourceVersion"]
            self._newest = max(self._newest, int(self._version))

    def _report(self, item: Json, *, gone: bool) -> None:
        metadata = item["metadata"]
        uid = metadata["uid"]
        if gone:
            self._objects.pop(uid, None)
        elif self._on_list is None:
            self._objects[uid] = _without_large_parts(item)
        with one_object(self._kind, metadata.get("name", uid), metadata.get("resourceVersion", "")):
            self._on_object(item, gone)


def check_not_restored(path: str, *, known: int, listed: int) -> None:
    """Hold the resourceVersion of a consistent list against one that was known before the list was
    asked for: such a list is never older (KEP-2340), unless the data were put back.

    Raises:
        EtcdRestored: they were.
    """
    if listed < known:
        log.error("etcd.restored", extra=fields(path=path, known=known, listed=listed))
        raise EtcdRestored(
            f"the list of {path} has resource version {listed}, which is older than the previous"
            f" one, {known}"
        )


def _without_large_parts(item: Json) -> Json:
    """Return what is reported of an object that is gone: all but a run's inputs and managedFields,
    which nobody reads then."""
    copy = {**item, "metadata": {**item["metadata"]}}
    copy["metadata"].pop("managedFields", None)
    spec = item.get("spec")
    if isinstance(spec, dict) and "inputs" in spec:
        copy["spec"] = {name: value for name, value in spec.items() if name != "inputs"}
    return copy
