"""`python3 -m codexrun_pod.gate`. The account is taken up before anything heavy is imported."""

import os
import sys

from codexrun_pod import loglines
from codexrun_pod.gate.account.ledger import Ledger
from codexrun_pod.gate.settings import from_env


def main() -> int:
    """0 after an orderly end, 2 when the environment makes no sense."""
    try:
        settings = from_env(os.environ)
        settings.endpoint.tls()  # a bundle that is none should be said at once
    except (ValueError, OSError) as error:
        sys.stdout.buffer.write(
            loglines.line("gate", level="error", text="gate.misconfigured", reason=str(error))
        )
        return 2
    ledger = Ledger(settings)
    ledger.log("gate.started", port=settings.port)

    import asyncio

    from codexrun_pod import uncaught
    from codexrun_pod.gate.server import serve

    uncaught.install(
        "gate", run_id=settings.run_id, job_type=settings.job_type, attempt=settings.attempt
    )

    asyncio.run(serve(ledger))
    return 0


if __name__ == "__main__":
    sys.exit(main())
