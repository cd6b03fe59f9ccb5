"""Programs of the tests: Python files here that run as processes of their own."""

import os
import socket
import sys

GIVEN_PORTS: set[int] = set()


def environment(**more: str) -> dict[str, str]:
    """This process's, with which such a program finds the modules that pytest finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and none that was given before."""
    port = 0
    while not port or port in GIVEN_PORTS:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
    GIVEN_PORTS.add(port)
    return port
