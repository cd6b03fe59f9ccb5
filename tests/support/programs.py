"""Programs of the tests: Python files here that run as processes of their own."""

import contextlib
import os
import random
import socket
import sys

GIVEN_PORTS: set[int] = set()


# Nothing here talks to a server with a public certificate, and aiohttp alone loads the CAs of the
# system twice when it is imported: a tenth of a second of CPU for each process.
NO_CAS = {"SSL_CERT_FILE": os.devnull}


def environment(**more: str) -> dict[str, str]:
    """This process's, with which such a program finds the modules that pytest finds."""
    return {**os.environ, **NO_CAS, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def free_port() -> int:
    """A port that nobody listens on, and none that was given before.

    From below the ports that the kernel gives to clients (32768 and up,
    `net.ipv4.ip_local_port_range`) and Kubernetes to services (30000 and up): one of those may be
    taken before the program that it is for listens. At random, for the workers beside this one.
    """
    while True:
        port = random.randrange(10000, 30000)
        if port in GIVEN_PORTS:
            continue
        GIVEN_PORTS.add(port)
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("", port))
            return port
