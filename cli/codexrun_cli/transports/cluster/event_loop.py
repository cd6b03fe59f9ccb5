"""The cluster's asynchronous client for a program that is not: one loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

from codexrun_cli.errors import CommandError, Unreachable
from codexrun_cli.exit_codes import Code
from codexrun_core.errors import Conflict, NotFound, Refused, Unavailable

T = TypeVar("T")
STOP_SECONDS = 2.0


class Loop:
    """`call` from any thread; the cluster's failures come out as CommandError."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="kube", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()  # or it is closed by the interpreter's end, after what it needs

    def raw(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine; what it raises is the client's own."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self.raw(work)
        except (Refused, Unavailable) as error:
            raise command_error(error) from None

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """Yield what an asynchronous generator yields."""
        try:
            while True:
                try:
                    yield self.call(items.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            asyncio.run_coroutine_threadsafe(items.aclose(), self._loop)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_SECONDS)


def command_error(error: Refused | Unavailable) -> CommandError:
    """Return the error in words for people, with the exit code of its kind."""
    if isinstance(error, Unavailable):
        return Unreachable(
            f"the cluster is not responding: {error}",
            hint="check whether `kubectl get codexruns` works",
        )
    message = error.message
    if isinstance(error, NotFound):
        if "codexruns" in message or "could not find the requested resource" in message:
            missing = "the server could not find the requested resource" in message
            hint = (
                "is the chart installed in this cluster? Run `codexrun doctor` to check"
                if missing
                else ""
            )
            return CommandError(
                Code.NOT_FOUND,
                message,
                hint=hint or "`codexrun list` shows the runs that exist",
            )
        return CommandError(Code.NOT_FOUND, message)
    if isinstance(error, Conflict):
        return CommandError(Code.CONFLICT, message)
    if error.status in (401, 403):
        hint = "`codexrun doctor` shows which permission is missing"
        return CommandError(
            Code.NOT_ALLOWED,
            message,
            hint=hint,
        )
    return CommandError(Code.FAILED, message)
