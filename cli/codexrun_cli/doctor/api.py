"""The api: does it answer, does it know the token, does its registry keep up?"""

from collections.abc import Generator

from codexrun_cli.doctor.findings import Json, failed, note, ok
from codexrun_cli.errors import CommandError
from codexrun_cli.exit_codes import Code
from codexrun_cli.settings import Settings
from codexrun_cli.transports.rest.http import Http
from codexrun_cli.versions import own, skew

MAX_LAG_SECONDS = 30  # that the registry may be behind


def examine(settings: Settings) -> Generator[Json, None, str | None]:
    """Look at the api; return the namespace that it names, None if it does not."""
    if settings.server is None:
        yield note(
            "api",
            "the URL of a REST API is not set, so commands go directly to the cluster",
            "codexrun login URL, or CODEX_CONTROL_URL",
        )
        return None
    http = Http(settings.server, settings.token, debug=settings.flags.debug, seconds=10)
    try:
        health = http.json("GET", "/readyz", repeatable=False)
    except CommandError as error:
        yield failed(
            "api",
            error.detail,
            "kubectl get pods -A -l app.kubernetes.io/component=api",
        )
        return None
    yield ok("api", f"{settings.server} is ready")
    try:
        version = http.json("GET", "/version", repeatable=False)
    except CommandError as error:
        if error.code is Code.NOT_ALLOWED:
            yield failed("token", error.detail, "codexrun login URL, or CODEX_CONTROL_TOKEN")
        else:
            yield note("version", error.detail)
        return None
    namespace = str(version.get("namespace") or "") or None
    yield ok("token", "accepted")
    client = own()
    server = str(version.get("version"))
    if skew(client, server):
        yield note(
            "version",
            f"client {client} and server {server} differ by more than one minor version",
            "update the older one",
        )
    lag = health.get("registry_lag_seconds", 0)
    if lag > MAX_LAG_SECONDS:
        yield failed(
            "registry",
            f"the writes to the registry are {lag:.0f}s behind",
            f"check that the database is up: kubectl logs -n {namespace} -l"
            " app.kubernetes.io/component=api --tail=-1 | grep row.late",
        )
    else:
        yield ok("registry", f"schema {version.get('registry_schema')}, writes {lag:.0f}s behind")
    return namespace
