"""How a run is built, named, fingerprinted and repeated: the same at both doors, the REST api and a
command line without it."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from codexrun_api.runs.start import build_run
from codexrun_api.schemas.requests import RetryRunRequest, StartRunRequest
from codexrun_cli.transports.cluster.transport import Cluster
from codexrun_core.resources import CodexRun
from codexrun_core.runs import names, new_run
from codexrun_core.runs.new_run import NewRun

Json = dict[str, Any]
UID = "01a20abe-ad05-73e0-88d5-a643e7fe6c6c"

REQUESTS: list[tuple[str, Json, Json]] = [
    ("only a job type", {}, {}),
    (
        "inputs are the caller's, names and all",
        {"inputs": {"max_size": 1}},
        {"inputs": {"max_size": 1}},
    ),
    ("no inputs are inputs too", {"inputs": {}}, {"inputs": {}}),
    ("a null in the inputs", {"inputs": {"a": None}}, {"inputs": {"a": None}}),
    (
        "names become camel case",
        {"prompt_version": "v2", "when_full": "Queue", "ttl_seconds_after_finished": 5},
        {"promptVersion": "v2", "whenFull": "Queue", "ttlSecondsAfterFinished": 5},
    ),
    (
        "those of limits too",
        {"limits": {"max_tokens": 7, "max_cost_cents": 8}},
        {"limits": {"maxTokens": 7, "maxCostCents": 8}},
    ),
    (
        "a workspace",
        {"workspace": {"git": {"url": "https://git.example/a.git", "ref": "main"}}},
        {"workspace": {"git": {"url": "https://git.example/a.git", "ref": "main"}}},
    ),
    ("zero is a priority", {"priority": 0}, {"priority": 0}),
    ("name and labels are metadata", {"name": "mine", "labels": {"team": "a"}}, {}),
    ("letters of any script", {"inputs": {"name": "Zoë 雪"}}, {"inputs": {"name": "Zoë 雪"}}),
]


class FakeCatalog:
    async def job_type(self, name: str) -> str:
        return name


class Built(Exception):
    """The run that the command line would make."""

    def __init__(self, new: NewRun) -> None:
        super().__init__(new.name)
        self.new = new


class FakeStarter:
    async def user(self) -> str:
        return "ada"

    async def start(self, new: NewRun, *, dry_run: bool = False) -> Json:
        raise Built(new)


class FakeLoop:
    raw = call = staticmethod(asyncio.run)


def by_rest(request: Json, key: str | None) -> NewRun:
    services: Any = SimpleNamespace(
        settings=SimpleNamespace(namespace="codexrun"), catalog=FakeCatalog()
    )
    wish = StartRunRequest.model_validate(request)
    return asyncio.run(build_run(services, wish, user="ada", origin="api", request_id="r", key=key))


def by_command_line(request: Json, key: str | None) -> NewRun:
    kube: Any = None
    loop: Any = FakeLoop()
    transport = Cluster(kube, loop)
    transport._starter = FakeStarter()  # type: ignore[assignment]
    with pytest.raises(Built) as built:
        transport.start(request, key)
    return built.value.new


@pytest.mark.parametrize(
    ("request_", "spec"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS]
)
def test_both_doors_make_the_same_run_of_a_request(request_: Json, spec: Json) -> None:
    request = {"job_type": "hello", **request_}
    rest = by_rest(request, "k1")
    line = by_command_line(request, "k1")
    # Who does not say what to do when all slots are taken: a program is told, a person waits.
    assert rest.spec == {"whenFull": "Reject", "jobType": "hello", **spec}
    assert line.spec == {"whenFull": "Queue", "jobType": "hello", **spec}
    assert (rest.name, rest.sha256, rest.labels) == (line.name, line.sha256, line.labels)
    assert rest.keyed
    assert line.keyed
    CodexRun.model_validate(rest.manifest("codexrun"))


def test_a_key_s_name_is_the_same_in_every_version() -> None:
    """A request that is repeated across an upgrade finds its run."""
    assert names.keyed_name("ada", "k1") == "run-88dbf3ac3227560592ee"
    assert names.keyed_name("ada", "k1") != names.keyed_name("bob", "k1")
    assert names.keyed_name("ada", "k1") != names.keyed_name("ada", "k2")


def test_a_fingerprint_is_the_same_in_every_version() -> None:
    request = {"inputs": {"name": "world"}, "job_type": "hello"}
    digest = "5e230ef90a20a6d58e02920a9a02027c83c639603abaac720b7ee22b0237251a"
    assert new_run.fingerprint(request) == digest
    assert new_run.fingerprint(dict(reversed(request.items()))) == digest
    assert new_run.fingerprint({**request, "priority": 1}) != digest


def test_a_fresh_name_is_free_and_of_a_legal_length() -> None:
    made = {names.fresh_name("a" * 49 + "-" + "b" * 13) for _ in range(100)}
    assert len(made) == 100
    assert {len(name) for name in made} == {49 + 1 + 8}


@pytest.mark.parametrize(
    "changes", [{}, {"resume": True}, {"model": "m", "limits": {"max_tokens": 1}}]
)
def test_a_retry_has_the_same_fingerprint_at_both_doors(changes: Json) -> None:
    rest = RetryRunRequest.model_validate(changes).dump()
    assert new_run.retry_fingerprint(UID, rest) == new_run.retry_fingerprint(UID, changes)


@pytest.mark.parametrize(
    ("changes", "spec", "link"),
    [
        ({}, {"model": "m", "limits": {"maxTokens": 9}}, {}),
        ({"resume": True}, {"model": "m", "limits": {"maxTokens": 9}}, {"resume": True}),
        ({"resume": False, "model": "n"}, {"model": "n", "limits": {"maxTokens": 9}}, {}),
        ({"limits": {"max_cost_cents": 5}}, {"model": "m", "limits": {"maxCostCents": 5}}, {}),
    ],
    ids=["nothing", "its thread", "its model", "all of its limits"],
)
def test_only_what_is_named_differs_in_a_retry(changes: Json, spec: Json, link: Json) -> None:
    earlier = {
        "jobType": "hello",
        "model": "m",
        "limits": {"maxTokens": 9},
        "cancel": {"requestedBy": "ada"},
        "retryOf": {"name": "older", "uid": UID},
    }
    retry = new_run.retry_spec(earlier, name="first", run_id=UID, changes=changes)
    assert retry == {
        "jobType": "hello",
        **spec,
        "retryOf": {"name": "first", "uid": UID, **link},
    }


def test_retries_at_the_same_time_have_one_name_and_later_ones_another() -> None:
    first = names.retry_name("nightly", UID, 0)
    assert first == names.retry_name("nightly", UID, 0)
    second = names.retry_name(first, UID, 1)
    assert second.startswith("nightly-retry-")
    assert second != first
    assert len(names.retry_name("a" * 63, UID, 0)) <= 63


def test_a_manifest_has_no_empty_metadata() -> None:
    assert new_run.manifest("mine", {"jobType": "hello"}) == {
        "apiVersion": CodexRun.model_fields["api_version"].default,
        "kind": "CodexRun",
        "metadata": {"name": "mine"},
        "spec": {"jobType": "hello"},
    }


@pytest.mark.local
def test_the_module_brings_nothing_heavy_along() -> None:
    """The command line imports it at every start."""
    code = (
        "import sys, codexrun_core.runs.new_run, codexrun_core.runs.names;"
        " print(sorted({'pydantic', 'aiohttp', 'kubernetes', 'sqlalchemy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
