"""Tombstones of objects that are over: a list, a GET or an event that is older than an object's end
must not bring it back to life."""

from collections import OrderedDict

DELETED_VERSION = 2**63 - 1  # of an object that was deleted: its uid never comes back

# What is late is at most as old as a list whose pages are being read: the apiserver compacts its
# history every five minutes, and a list goes on no longer than that (410 Gone). So many ends in
# that time are 109 a second, some five times what one operator can write; an entry takes about 250
# bytes.
MAX_ENTRIES = 32_768


class Tombstones:
    """uid -> the resourceVersion at which the object was known to be over; the oldest entries go
    first."""

    def __init__(self, limit: int = MAX_ENTRIES) -> None:
        self._limit = limit
        self._versions: OrderedDict[str, int] = OrderedDict()

    def bury(self, uid: str, version: int) -> None:
        """Remember that nothing up to `version` is news of a living object any more."""
        self._versions[uid] = max(version, self._versions.pop(uid, 0))
        if len(self._versions) > self._limit:
            self._versions.popitem(last=False)

    def covers(self, uid: str, version: int) -> bool:
        """Return whether `version` of the object is from before its end."""
        return version <= self._versions.get(uid, -1)

    def __len__(self) -> int:
        return len(self._versions)
