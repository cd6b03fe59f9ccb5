"""Keep one unreadable object from stopping the others.

Whatever enters from outside (a list, a watch, REST, ingest, a termination message, a line of a log)
is read inside `one_object`: an object that raises is logged once, counted, and the next one is
read.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter

from codexrun_core.logs import fields
from codexrun_core.resources.field_problems import explain_field

log = logging.getLogger(__name__)

MAX_REMEMBERED_OBJECTS = 10_000
MAX_MESSAGE_CHARACTERS = 500

UNREADABLE = Counter(
    "codexrun_unreadable_objects",
    "Objects that could not be read and were skipped, by kind.",
    ("kind",),
)
for _kind in ("codexrun", "codexjobtype", "configmap", "job", "pod", "event"):
    # a rate needs a series that begins at 0
    UNREADABLE.labels(_kind)
_logged: OrderedDict[tuple[str, str, str], None] = OrderedDict()


@contextmanager
def one_object(kind: str, name: str, version: str = "") -> Iterator[None]:
    """Read one object in the body; swallow, log and count whatever that raises.

    `kind` is a metric label and comes from a closed set (codexrun, codexjobtype, configmap, job,
    pod, event); `name` and `version` (resourceVersion) say which object it was. The same version of
    the same object is logged once and counted each time. Cancellation and the end of the process
    pass through, since they are no `Exception`.
    """
    try:
        yield
    except Exception as error:
        UNREADABLE.labels(kind).inc()
        key = (kind, name, version)
        if key in _logged:
            return
        _logged[key] = None
        if len(_logged) > MAX_REMEMBERED_OBJECTS:
            _logged.popitem(last=False)
        message = _message(error)[:MAX_MESSAGE_CHARACTERS]
        log.warning(
            "object.unreadable", extra=fields(kind=kind, name=name, version=version, error=message)
        )


def _message(error: Exception) -> str:
    # Late: the command line follows a watch, and does without pydantic.
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        problems = error.errors(include_url=False)
        return "; ".join(explain_field(problem, "object") for problem in problems)
    return f"{type(error).__name__}: {error}"
