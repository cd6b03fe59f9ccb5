"""Read JSON as deeply nested as an apiserver stores it, on every interpreter.

An apiserver takes up to 10,000 levels (maxNestingDepth of sigs.k8s.io/json), so whoever may create
a CodexRun can make a list or a watch that deep. Python's scanner in C gives up earlier, with a
RecursionError: at 993 levels on 3.11.7, 1,497 on 3.12.1, 9,998 on 3.13.0 (measured), and only on
3.11 can that be changed. Its twin in Python is bounded by the recursion limit alone and takes no C
stack, whichever thread it runs in. It is ten times slower, and reads only what the other has not.
"""

import json
import sys
import threading
from json.scanner import py_make_scanner  # type: ignore[attr-defined]  # typeshed lacks it
from typing import Any

# Around the object: event or list, items; and managedFields names each field a few levels deeper.
MAX_LEVELS = 10_000 + 16
FRAMES_PER_LEVEL = 2

_limit = threading.Lock()  # the recursion limit is the process's


class DeepDecoder(json.JSONDecoder):
    """The standard decoder, which reads MAX_LEVELS of nesting too.

    Raises RecursionError beyond them, and ValueError for what is not JSON, as ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._deep = json.JSONDecoder()
        self._deep.scan_once = py_make_scanner(self._deep)  # type: ignore[attr-defined]

    def decode(self, s: str, *args: Any) -> Any:
        """Return the document in `s` as Python has it."""
        try:
            return super().decode(s, *args)
        except RecursionError:
            pass  # read again outside of this block: its traceback would keep every frame
        with _limit:
            before = sys.getrecursionlimit()
            sys.setrecursionlimit(before + FRAMES_PER_LEVEL * MAX_LEVELS)
            try:
                return self._deep.decode(s, *args)
            finally:
                sys.setrecursionlimit(before)


_decoder = DeepDecoder()


def loads(text: str | bytes) -> Any:
    """Return the document in `text`; bytes are UTF-8, UTF-16 or UTF-32, as for `json.loads`.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested deeper than any apiserver's answer.
    """
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    return _decoder.decode(text)


def install() -> None:
    """Make every `json.loads` of this process read that deep: kopf brings its own calls, and no
    hook for them."""
    json._default_decoder = _decoder  # type: ignore[attr-defined]
