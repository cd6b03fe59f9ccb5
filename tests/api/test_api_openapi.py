"""The document, and the application held against it."""

import json
from pathlib import Path

import pytest
import schemathesis
from conftest import TOKEN, NoArchive, job_type, prompt
from fake_kube import FakeKube, FakeOperator
from hypothesis import HealthCheck, settings as bounds

from codexrun_api.app import create_app
from codexrun_api.openapi import document
from codexrun_api.settings import Settings
from codexrun_core.registry import Registry

FILE = Path(__file__).parents[2] / "api/openapi.json"


def test_the_checked_in_document_is_the_applications() -> None:
    assert FILE.read_text() == document(), "run: python3 -m codexrun_api.openapi > api/openapi.json"


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
                if int(status) >= 400 and path != "/readyz":
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("schemathesis")
    url = f"sqlite:///{folder}/registry.db"
    kube = FakeKube()
    FakeOperator(kube, limit=10)
    kube.put(kube.job_types, job_type())
    kube.put(kube.config_maps, prompt())
    made = Settings(namespace="codexrun", registry_url=url, archive=folder, token=TOKEN, verdict_seconds=0.2)

    async def build() -> object:
        registry = await Registry.open(url)
        await registry.migrate()
        await registry.close()
        return create_app(made, await Registry.open(url), kube, NoArchive())

    import asyncio

    app = asyncio.run(build())
    return schemathesis.openapi.from_asgi("/openapi.json", app)


api = schemathesis.pytest.from_fixture("schema")


@api.exclude(path="/events").parametrize()
@bounds(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_answers_are_what_the_document_says(case: schemathesis.Case) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {TOKEN}"})
