"""Whether a component answers."""

import socket
import ssl
import urllib.request
from pathlib import Path


def accepts(path: Path) -> bool:
    """Return whether somebody listens on this unix socket."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(1)
        return s.connect_ex(str(path)) == 0


def healthy(url: str) -> bool:
    """Return whether this address of the machine itself answers 200. Nothing secret is sent, so its
    certificate does not matter."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # No proxy of the environment may stand between us and our own addresses.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
