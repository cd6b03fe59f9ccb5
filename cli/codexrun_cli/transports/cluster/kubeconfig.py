"""Which cluster and which namespace? KUBECONFIG, its context, or the pod that this runs in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codexrun_cli.errors import Unreachable
from codexrun_cli.settings import Settings

NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True)
class ClusterClient:
    """A client, and the namespace that commands mean when they name none."""

    client: Any
    namespace: str
    context: str


async def connect(settings: Settings) -> ClusterClient:
    """Load the configuration and make a client; the cluster is not asked for anything yet.

    Raises:
        Unreachable: there is no configuration that could be used.
    """
    from kubernetes.aio import client, config

    from codexrun_core.kube.client import api_client

    flags = settings.flags
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and not (
        flags.kubeconfig or settings.context or _file_exists()
    )
    try:
        if inside:
            config.load_incluster_config()  # type: ignore[no-untyped-call]
            namespace = _own_namespace()
            context = "in-cluster"
        else:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=flags.kubeconfig, context=settings.context
            )
            _, active = config.list_kube_config_contexts(  # type: ignore[no-untyped-call]
                config_file=flags.kubeconfig
            )
            chosen = (
                _context(config, flags.kubeconfig, settings.context) if settings.context else active
            )
            namespace = chosen.get("context", {}).get("namespace") or "default"
            context = chosen.get("name", "")
    except (config.ConfigException, OSError, ValueError) as error:
        raise Unreachable(
            f"there is no usable kubeconfig: {' '.join(str(error).split())}",
            hint=(
                "set KUBECONFIG, or give --kubeconfig or --context; to use the REST API"
                " instead, give --server URL, set CODEX_CONTROL_URL, or run `codexrun login"
                " URL` once"
            ),
        ) from None
    configuration = client.Configuration.get_default_copy()
    return ClusterClient(api_client(configuration), settings.namespace or namespace, context)


def _own_namespace() -> str:
    return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.exists() else "default"


def _file_exists() -> bool:
    paths = (os.environ.get("KUBECONFIG") or "~/.kube/config").split(os.pathsep)
    return any(Path(path).expanduser().exists() for path in paths)


def _context(config: Any, file: str | None, name: str) -> Any:
    contexts, _ = config.list_kube_config_contexts(config_file=file)
    return next((context for context in contexts if context["name"] == name), {})
