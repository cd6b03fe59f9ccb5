"""Programs of the tests: Python files here that run as processes of their own."""

import os
import sys


def environment(**more: str) -> dict[str, str]:
    """This process's, with which such a program finds the modules that pytest finds."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}
