"""`python3 -m codexrun_pod.gate`. The account is taken up before anything heavy is imported."""

import contextlib
import gc
import os
import sys

from codexrun_core.pod_contract import ReportKey
from codexrun_pod import loglines, termination
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.settings import Settings, from_env

M_MMAP_THRESHOLD = -3  # of malloc.h
MAPPED_BYTES = 1024 * 1024


def read_settings() -> Settings:
    """Read the environment, and the CA bundle if there is one, to report a broken one at once.

    Raises:
        ValueError: the gate cannot work with them; the message names what is wrong.
    """
    settings = from_env(os.environ)
    if settings.endpoint.ca_file is None:
        return settings  # the system's CAs are loaded once, where they are used
    try:
        settings.endpoint.tls()
    except OSError as error:
        raise ValueError(
            f"model.caBundle: {settings.endpoint.ca_file} has no readable CA certificates"
            f" ({error}); put CA certificates in PEM format into the ConfigMap named in"
            " model.caBundle"
        ) from error
    return settings


def report_misconfigured(message: str) -> None:
    """Say why the gate cannot start: to people in the log, to the operator in the termination
    message, or the gate would be restarted for ever."""
    sys.stdout.buffer.write(
        loglines.line("gate", level="error", text="gate.misconfigured", reason=message)
    )
    report = {
        ReportKey.VERSION: 1,
        ReportKey.SOURCE: "gate",
        ReportKey.FAILURE: termination.failure("config", message),
    }
    termination.write(
        termination.log_path(os.environ),
        termination.encode(report, [(ReportKey.FAILURE, ReportKey.MESSAGE)]),
    )


def return_freed_memory() -> None:
    """Have blocks of MAPPED_BYTES returned to the system when they are freed. By itself glibc comes
    to keep up to twice the largest that was ever freed (mallopt(3)), and the memory of one large
    request would add to that of the next. Other libcs have no such option."""
    import ctypes

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def main() -> int:
    """0 after an orderly end, 2 when the environment makes no sense."""
    try:
        settings = read_settings()
    except ValueError as error:
        report_misconfigured(str(error))
        return 2
    ledger = Ledger(settings)
    ledger.log("gate.started", port=settings.port)

    return_freed_memory()

    import asyncio

    from codexrun_pod import uncaught
    from codexrun_pod.gate.server import serve

    uncaught.install(
        "gate",
        ledger.masked,
        run_id=settings.run_id,
        job_type=settings.job_type,
        attempt=settings.attempt,
    )

    gc.freeze()  # what is imported stays: a collection need not look at it while a request waits
    asyncio.run(serve(ledger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
