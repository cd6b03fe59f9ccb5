"""Where the api answers, and with which token."""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from codexrun_cluster.chart import NAMESPACE, RELEASE, Client
from codexrun_cluster.command import capture

PORT = 8080


@dataclass(frozen=True)
class ApiAccess:
    """The api's address, and a token for it."""

    url: str
    token: str

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what it answers; None if it does not."""
        request = urllib.request.Request(
            self.url + path, headers={"Authorization": f"Bearer {self.token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                body: dict[str, Any] = json.load(answer)
                return body
        except (urllib.error.URLError, OSError, ValueError):
            return None


def find(client: Client) -> ApiAccess | None:
    """Return the api of the release; None where it is not installed or made its token elsewhere.

    The Service's address is reachable from an embedded node's machine; elsewhere a port-forward
    makes it so.
    """
    kubectl = [client.kubectl, "--namespace", NAMESPACE, "get", "-o"]
    address = capture(
        [*kubectl, "jsonpath={.spec.clusterIP}", "service", f"{RELEASE}-api"], env=client.env
    )
    token = capture(
        [*kubectl, "jsonpath={.data.token}", "secret", f"{RELEASE}-api-token"], env=client.env
    )
    if address.returncode or token.returncode or not address.stdout or not token.stdout:
        return None
    host = f"[{address.stdout}]" if ":" in address.stdout else address.stdout
    return ApiAccess(f"http://{host}:{PORT}", base64.b64decode(token.stdout).decode())
