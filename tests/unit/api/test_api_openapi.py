"""The document, and the application held against it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from apistand import TOKEN, Stand
from artifacts import store_artifact
from fake_cluster import FakeCluster, FakeOperator, stamp
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as bounds
from hypothesis.errors import Unsatisfiable
from manifests import job_type, prompt
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from codexrun_api.__main__ import server
from codexrun_api.app import create_app, openapi_document
from codexrun_api.archive.archive import Archive
from codexrun_api.openapi import document
from codexrun_api.services import Services
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry

FILE = Path(__file__).parents[3] / "api/openapi.json"


def test_the_checked_in_document_is_the_applications() -> None:
    assert FILE.read_text() == document(), "run: python3 -m codexrun_api.openapi > api/openapi.json"


async def test_the_document_is_served_and_made_by_a_thread_beside_the_event_loop(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers = []

    def recorded() -> dict[str, Any]:
        makers.append(threading.current_thread())
        return openapi_document()

    monkeypatch.setattr("codexrun_api.app.openapi_document", recorded)
    answer = await stand.http.get("/openapi.json")
    assert answer.json() == json.loads(FILE.read_text())
    assert (await stand.http.head("/openapi.json")).status_code == 200
    assert len(makers) == 2
    assert threading.current_thread() not in makers


def test_every_operation_has_an_id_a_description_and_its_problems() -> None:
    spec = json.loads(document())
    ids = []
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            ids.append(operation["operationId"])
            assert operation["description"], path
            assert "500" in operation["responses"]
            assert "HTTPValidationError" not in json.dumps(operation)
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path not in ("/healthz", "/readyz"):
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
    assert len(ids) == len(set(ids))


KEPT = {"id": "kept", "name": "final-message.md"}  # a run that has ended, with log and artifact
OF_KEPT = {"getRunLogs": {200, 206}, "listRunArtifacts": {200}, "getRunArtifact": {200}}


def keep(kube: FakeCluster, archive: Archive) -> None:
    """That run: random ids would all be answered with 404, and say nothing about logs and
    artifacts."""
    spec = {"jobType": "hello", "inputs": {"name": "world"}}
    run = kube.put(kube.runs, {"metadata": {"name": KEPT["id"]}, "spec": spec})["metadata"]["uid"]
    kube.status(KEPT["id"], "Succeeded", attempt=1, startedAt=stamp(), finishedAt=stamp())
    archive.append_attempt(
        run, 1, 0, b'{"ts": "2026-01-31T12:00:00.000Z", "src": "codex", "text": "one"}\n' * 20
    )
    archive.seal(run, 1, complete=True)
    store_artifact(archive, run, KEPT["name"], b"done\n")


class Served:
    """The application on a port of its own, in a thread of its own: schemathesis calls it as
    anybody would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(30)
        return f"http://127.0.0.1:{self._port}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)

    async def _serve(self) -> None:
        url = f"sqlite:///{self._folder}/registry.db"
        kube = FakeCluster()
        FakeOperator(kube, limit=10)
        kube.put(kube.job_types, job_type())
        kube.put(kube.config_maps, prompt())
        made = Settings(
            namespace="codexrun",
            registry_url=url,
            archive=self._folder / "archive",
            token=TOKEN,
            verdict_seconds=0.2,
        )
        registry = await Registry.open(url)
        await registry.migrate()
        services = Services.make(made, registry, kube)
        services.archive.open()
        keep(kube, services.archive)
        self._server = server(create_app(services), 0)
        self._server.config.host = "127.0.0.1"
        serving = asyncio.create_task(self._server.serve())
        while not self._server.started:  # noqa: ASYNC110 - uvicorn says it in no other way
            await asyncio.sleep(0.01)
        self._port = self._server.servers[0].sockets[0].getsockname()[1]
        self._ready.set()
        await serving
        await registry.close()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Served(tmp_path_factory.mktemp("schemathesis")) as address:
        yield address


SCHEMA = schemathesis.openapi.from_dict(json.loads(document()))
OPERATIONS = {o.ok().definition.raw["operationId"]: o.ok() for o in SCHEMA.get_all_operations()}


KNOWN = {name: {p.name for p in operation.query} for name, operation in OPERATIONS.items()}
FILTERED = {"listRuns", "getStats"}


# /events never ends by itself. The stream of a log does, at the end of its run, and that of the
# kept run has ended.
@pytest.mark.local
@pytest.mark.parametrize("operation", sorted(OPERATIONS.keys() - {"streamEvents"}))
@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"]
)
def test_answers_are_what_the_document_says(url: str, operation: str, mode: GenerationMode) -> None:
    """No server error, documented statuses and shapes, wrong data refused."""
    statuses = set()
    kept = operation in OF_KEPT and mode is GenerationMode.POSITIVE
    try:
        cases = OPERATIONS[operation].as_strategy(generation_mode=mode)

        @given(case=cases)
        @bounds(
            max_examples=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def call(case: schemathesis.Case) -> None:
            # A query parameter that a route does not know is ignored, as everywhere; filters refuse
            # it, or they would show all.
            assume(operation in FILTERED or not set(case.query) - KNOWN[operation])
            if mode is GenerationMode.POSITIVE and "wait" in case.query:
                case.query["wait"] = 0  # up to five minutes, for runs that nothing here ends
            if kept:
                case.path_parameters.update(
                    {name: value for name, value in KEPT.items() if name in case.path_parameters}
                )
            # Times, statuses and inputs have rules that no schema says: 422 answers data of the
            # right shape too.
            answer = case.call(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"})
            # No HTTP: it never came as far as the application.
            assume(answer.text != "Invalid HTTP request received.")
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
            statuses.add(answer.status_code)

        call()
        assert not kept or statuses & OF_KEPT[operation], statuses
    except Unsatisfiable:
        # Nothing can be wrong with a request that has no parameters.
        assert mode is GenerationMode.NEGATIVE
