"""Which of the two ways, and a token for it: what every command that talks to a control plane
begins with."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace

import typer

from codexrun_cli import settings as configuration
from codexrun_cli.settings import Flags, Settings
from codexrun_cli.terminal import interactive
from codexrun_cli.transports import Transport


def settings_of(flags: Flags, *, straight: bool = False) -> Settings:
    """Return what flags, environment and file say. straight: the cluster, also where an api is
    set."""
    stored = configuration.read(configuration.path())
    settings = configuration.settle(flags, os.environ, stored)
    return replace(settings, server=None, token=None) if straight else settings


@contextlib.contextmanager
def opened(flags: Flags, *, straight: bool = False) -> Iterator[Transport]:
    """The transport that flags, environment and file choose. straight: the cluster in any case."""
    transport = open_transport(settings_of(flags, straight=straight))
    try:
        yield transport
    finally:
        transport.close()


def open_transport(
    settings: Settings, *, ask: bool = True, seconds: float | None = None
) -> Transport:
    """Return the transport that the settings choose.

    ask: whether a missing token may be asked for. seconds: until a server that does not answer is
    given up.
    """
    if settings.server is not None:
        from codexrun_cli.transports.rest.http import TIMEOUT_SECONDS, Http
        from codexrun_cli.transports.rest.transport import Rest

        token = settings.token
        if token is None and ask and interactive():
            token = typer.prompt(f"token for {settings.server}", hide_input=True, err=True)
        return Rest(
            Http(
                settings.server,
                token,
                debug=settings.flags.debug,
                seconds=seconds or TIMEOUT_SECONDS,
            )
        )
    return _cluster(settings)


def _cluster(settings: Settings) -> Transport:
    from codexrun_cli.transports.cluster.event_loop import Loop
    from codexrun_cli.transports.cluster.kubeconfig import connect
    from codexrun_cli.transports.cluster.transport import Cluster
    from codexrun_core.kube.client import Kube

    loop = Loop()
    connected = loop.raw(connect(settings))
    kube = Kube(connected.client, connected.namespace, lambda: None, agent="codexrun-cli")
    if settings.flags.debug:
        sys.stderr.write(
            f"debug: cluster {connected.client.configuration.host},"
            f" namespace {connected.namespace}\n"
        )
    return Cluster(kube, loop, everywhere=settings.flags.all_namespaces)
