"""Where does the api answer, and with which token?"""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from codexrun_cluster.chart import NAMESPACE, RELEASE, Client
from codexrun_cluster.command import ask

PORT = 8080


@dataclass(frozen=True)
class Control:
    url: str
    token: str

    def get(self, path: str) -> dict[str, Any] | None:
        """What it answers; None if it does not."""
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (urllib.error.URLError, OSError, ValueError):
            return None


def control(client: Client) -> Control | None:
    """The api of our release; None where it is not installed or made its token elsewhere.

    The Service's address is reachable from an embedded node's machine; elsewhere a port-forward
    makes it so.
    """
    kubectl = [client.kubectl, "--namespace", NAMESPACE, "get", "-o"]
    address = ask(
        [*kubectl, "jsonpath={.spec.clusterIP}", "service", f"{RELEASE}-api"], env=client.env
    )
    token = ask(
        [*kubectl, "jsonpath={.data.token}", "secret", f"{RELEASE}-api-token"], env=client.env
    )
    if address.returncode or token.returncode or not address.stdout or not token.stdout:
        return None
    host = f"[{address.stdout}]" if ":" in address.stdout else address.stdout
    return Control(f"http://{host}:{PORT}", base64.b64decode(token.stdout).decode())
