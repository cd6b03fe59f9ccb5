"""`python3 -m codexrun_api.openapi > api/openapi.json`: the document that is checked in, without a
cluster or a database."""

import json
import sys
from pathlib import Path

from codexrun_api.app import create_app
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.kube.client import Kube
from codexrun_core.registry import Registry


def document() -> str:
    settings = Settings(
        namespace="codexrun",
        registry_url="",
        archive=Path(),
        token="unused",  # noqa: S106
    )
    nothing: object = None
    kube = Kube(nothing, "codexrun", lambda: None)  # type: ignore[arg-type]
    services = Services.make(settings, Registry(nothing), kube)  # type: ignore[arg-type]
    app = create_app(services)
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())
