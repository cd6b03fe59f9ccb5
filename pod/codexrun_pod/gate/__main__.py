"""`python3 -m codexrun_pod.gate`. The account is taken up before anything heavy is imported."""

import os
import sys

from codexrun_core.pod_contract import ReportKey
from codexrun_pod import loglines, termination
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.settings import Settings, from_env


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
            f" ({error}); put them into its ConfigMap as PEM"
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


def main() -> int:
    """0 after an orderly end, 2 when the environment makes no sense."""
    try:
        settings = read_settings()
    except ValueError as error:
        report_misconfigured(str(error))
        return 2
    ledger = Ledger(settings)
    ledger.log("gate.started", port=settings.port)

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

    asyncio.run(serve(ledger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
