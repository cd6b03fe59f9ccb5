"""`python3 -m codexrun_api.http.token_job`: make the Secret with the api's token where there is
none. The chart's hook Job calls it before an installation and an upgrade.

It may create Secrets and do nothing else with them: one that is there is neither read nor changed.
"""

import asyncio
import json
import os
import secrets
import string
import sys
from collections.abc import Mapping
from typing import Any

from codexrun_core.errors import Conflict, Refused, Unavailable
from codexrun_core.kube.client import Kube, connect

TOKEN_CHARACTERS = 40
ALPHABET = string.ascii_letters + string.digits


def secret(metadata: Mapping[str, Any], token: str) -> dict[str, Any]:
    """Return the Secret that the api and the cleanup read the token from, under `token`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": dict(metadata),
        "stringData": {"token": token},
    }


async def make_secret(kube: Kube, metadata: Mapping[str, Any]) -> bool:
    """Create the Secret with a new token; False if one of that name is there.

    Raises:
        Refused, Unavailable: the apiserver's words.
    """
    token = "".join(secrets.choice(ALPHABET) for _ in range(TOKEN_CHARACTERS))
    try:
        await kube.create(f"/api/v1/namespaces/{kube.namespace}/secrets", secret(metadata, token))
    except Conflict as error:
        # A quota that somebody else changed just now is a 409 too.
        if error.reason != "AlreadyExists":
            raise
        return False
    return True


async def run(env: Mapping[str, str]) -> int:
    """Return the exit code; a line says what was done.

    Args:
        env: CODEXRUN_NAMESPACE, and CODEXRUN_TOKEN_SECRET with the Secret's metadata as JSON.
    """
    metadata = json.loads(env["CODEXRUN_TOKEN_SECRET"])
    client = await connect()
    try:
        kube = Kube(client, env["CODEXRUN_NAMESPACE"], lambda: None, agent="codexrun-token-job")
        made = await make_secret(kube, metadata)
    except (Refused, Unavailable) as error:
        sys.stderr.write(f"Secret {metadata['name']} could not be created: {error}\n")
        return 1
    finally:
        await client.close()  # type: ignore[no-untyped-call]
    done = "made" if made else "already exists and is kept"
    sys.stdout.write(f"Secret {metadata['name']}: {done}\n")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(os.environ)))
