"""What the watches have told of the objects of one kind.

Lists, watches and answers to single requests race each other, so that whatever comes is held
against what is known: an older state changes nothing, and what is over does not come back. Only a
list says what is not there.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

DELETED_VERSION = 2**63 - 1  # of an object that was deleted: its uid never comes back

# What is late is at most as old as a list whose pages are being read: the apiserver compacts its
# history every five minutes, and a list goes on no longer than that (410 Gone). So many ends in
# that time are 109 a second, some five times what one operator can write; an entry takes about 250
# bytes.
MAX_TOMBSTONES = 32_768

T = TypeVar("T")


def version_of(raw: Mapping[str, Any]) -> int:
    """Return the resourceVersion of an object or a list, as the apiserver sent it."""
    return int(raw["metadata"].get("resourceVersion") or 0)


class Store(Mapping[str, T]):
    """uid -> object, in the order in which they first came.

    A version is a resourceVersion: those of one resource type compare as integers (KEP-5504).
    """

    def __init__(self, max_tombstones: int = MAX_TOMBSTONES) -> None:
        self._max_tombstones = max_tombstones
        self._objects: dict[str, T] = {}
        self._versions: dict[str, int] = {}
        self._tombstones: OrderedDict[str, int] = OrderedDict()  # uid -> version at its end
        self.newest = 0  # the latest version that anybody has told

    def is_news(self, uid: str, version: int) -> bool:
        """Return whether `version` of the object is later than what is known, or was forgotten."""
        known = self._versions.get(uid, -1)
        return version > known and version > self._tombstones.get(uid, -1)

    def version(self, uid: str) -> int:
        """Return the version of an object that is kept.

        Raises:
            KeyError: it is not.
        """
        return self._versions[uid]

    def apply(self, uid: str, version: int, item: T) -> bool:
        """Take the object as of `version`; return False, and change nothing, if it is not news."""
        if not self.is_news(uid, version):
            return False
        self.newest = max(self.newest, version)
        self._objects[uid] = item
        self._versions[uid] = version
        return True

    def revive(self, uid: str, version: int, item: T) -> bool:
        """The same of an object that the apiserver has just named as there: a list may have lacked
        it because of its labels."""
        if uid not in self._objects:
            self._tombstones.pop(uid, None)
        return self.apply(uid, version, item)

    def forget(self, uid: str, version: int = DELETED_VERSION) -> T | None:
        """Remember that nothing up to `version` is news of a living object any more; return what
        was known of it."""
        self._tombstones[uid] = max(version, self._tombstones.pop(uid, 0))
        if len(self._tombstones) > self._max_tombstones:
            self._tombstones.popitem(last=False)
        return self.drop(uid)

    def drop(self, uid: str) -> T | None:
        """Keep the object no longer, although it is there."""
        self._versions.pop(uid, None)
        return self._objects.pop(uid, None)

    def unlisted(self, uids: Collection[str], version: int) -> list[str]:
        """Return the uids of what is gone according to a whole list: it lacks them, and they are
        not younger than its `version`."""
        self.newest = max(self.newest, version)
        return [
            uid for uid, known in self._versions.items() if uid not in uids and known <= version
        ]

    @property
    def tombstones(self) -> int:
        """Return how many ends are remembered."""
        return len(self._tombstones)

    def __getitem__(self, uid: str) -> T:
        return self._objects[uid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def __len__(self) -> int:
        return len(self._objects)
