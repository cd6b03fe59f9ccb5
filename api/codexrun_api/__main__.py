"""The api's process: serve, migrate the registry when it answers, and on SIGTERM end every stream
within a second so that clients resume elsewhere."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import uvicorn

from codexrun_api import metrics
from codexrun_api.app import create_app
from codexrun_api.health import create_probe_app
from codexrun_api.http.connections import BoundedProtocol, ProbeProtocol
from codexrun_api.logs.gate_identity import GateAuthentication
from codexrun_api.logs.ingest import create_ingest_app
from codexrun_api.logs.sealing import LogSealer
from codexrun_api.mirror.write_queue import RETRY_SECONDS
from codexrun_api.services import Services
from codexrun_api.settings import Settings, SettingsError, settings_from
from codexrun_core.errors import Unavailable
from codexrun_core.kube.client import Kube, connect
from codexrun_core.logs import fields, log_to_stderr
from codexrun_core.prices.table import PricesError
from codexrun_core.registry import Registry, SchemaError

log = logging.getLogger(__name__)

T = TypeVar("T")
SHUTDOWN_SECONDS = 1  # seconds that open connections get; streams end by themselves at once


class Server(uvicorn.Server):
    """Signals are this process's, not uvicorn's: it would wait for streams that nobody has told to
    end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: object, port: int, protocol: type[BoundedProtocol] = BoundedProtocol) -> Server:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host="0.0.0.0",  # noqa: S104 - inside a pod, behind its Service
        port=port,
        http=protocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )
    return Server(config)


async def run(settings: Settings) -> int:
    """Serve both ports until SIGTERM; return the exit code.

    Raises:
        SchemaError: this version cannot work on the registry's schema.
    """
    registry = await Registry.open(settings.registry_url)
    api = await connect()
    kube = Kube(api, settings.namespace, lambda: None, agent="codexrun-api")
    try:
        services = Services.make(settings, registry, kube)
        archive = services.archive
        notifier = services.notifier
        archive.open()
        ends = LogSealer(archive, registry.set_log, notifier)
        services.mirror.writer.listen(ends)
        ingest = create_ingest_app(
            archive,
            GateAuthentication(kube),
            registry.set_usage,
            registry.set_log,
            find_run=services.run_of_id,
            is_removed=registry.is_removed,
            notifier=notifier,
        )
        servers = [
            server(create_app(services), settings.port),
            server(ingest, settings.ingest_port),
            server(create_probe_app(services), settings.probe_port, ProbeProtocol),
        ]

        def stop() -> None:
            services.stop.set()
            for each in servers:
                each.should_exit = True

        async def prepare_registry() -> None:
            try:
                await until_available(registry.migrate)
                ends.catch_up(await until_available(registry.open_logs))
            except Exception:
                stop()
                raise

        preparation = asyncio.create_task(prepare_registry())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        log.info(
            "api.started",
            extra=fields(
                namespace=settings.namespace, port=settings.port, ingest_port=settings.ingest_port
            ),
        )
        await asyncio.gather(*(each.serve() for each in servers))
        preparation.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await preparation
        return 0
    finally:
        await registry.close()
        await api.close()  # type: ignore[no-untyped-call]
        log.info("api.stopped")


async def until_available(call: Callable[[], Awaitable[T]]) -> T:
    """Return the registry's answer, however long it is away.

    Raises:
        SchemaError: its schema is not this version's.
    """
    failures = 0
    while True:
        try:
            return await call()
        except SchemaError:
            raise
        except Unavailable as error:
            pause = RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)]
            failures += 1
            log.warning("registry.away", extra=fields(error=str(error), pause=pause))
            await asyncio.sleep(pause)


def main() -> int:
    log_to_stderr("INFO", metrics.log_line)
    try:
        settings = settings_from()
    except SettingsError as error:
        log.error("api.misconfigured", extra=fields(error=str(error)))
        return 2
    logging.getLogger().setLevel(settings.log_level)
    try:
        return asyncio.run(run(settings))
    except (PricesError, SchemaError, Unavailable) as error:
        log.error("api.not_started", extra=fields(error=str(error)))
        return 1


if __name__ == "__main__":
    sys.exit(main())
