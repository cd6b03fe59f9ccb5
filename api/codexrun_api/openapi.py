"""`python3 -m codexrun_api.openapi > api/openapi.json`: the document that is checked in, without a
cluster or a database."""

import json
import sys
from pathlib import Path

from codexrun_api.app import create_app
from codexrun_api.logs import artifact_routes, routes
from codexrun_api.logs.archive import Archive
from codexrun_api.logs.notifier import Bells
from codexrun_api.settings import Settings
from codexrun_core.kube.client import Kube
from codexrun_core.registry import Registry


def document() -> str:
    settings = Settings(namespace="codexrun", registry_url="", archive=Path(), token="unused")  # noqa: S106
    nothing: object = None
    kube = Kube(nothing, "codexrun", lambda: None)  # type: ignore[arg-type]
    archive = Archive(Path())
    kept = (routes.router(archive, Bells()), artifact_routes.router(archive))
    app = create_app(settings, Registry(nothing), kube, archive, kept)  # type: ignore[arg-type]
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
