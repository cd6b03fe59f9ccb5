"""Programs of the tests: Python files here that run as processes of their own."""

import os
import socket
import sys


def environment(**more: str) -> dict[str, str]:
    """This process's, with which such a program finds the modules that pytest finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
