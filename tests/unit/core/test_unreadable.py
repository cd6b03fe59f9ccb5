"""One bad object is told of once, counted each time, and hurts nobody else."""

import json
import logging

import pytest
from fake_kube import FakeKube
from prometheus_client import REGISTRY

from codexrun_core.logs import JsonFormatter
from codexrun_core.resources import CodexJobType, CodexRun
from codexrun_core.unreadable import UNREADABLE, one_object


def count(kind: str) -> float:
    return REGISTRY.get_sample_value("codexrun_unreadable_objects_total", {"kind": kind}) or 0


def records(caplog: pytest.LogCaptureFixture, *others: str) -> list[logging.LogRecord]:
    """Return what is told here, and nothing else: whenever memory is collected, asyncio may tell of
    tasks that earlier tests have left."""
    names = {"codexrun_core.unreadable", *others}
    return [record for record in caplog.records if record.name in names]


@pytest.mark.parametrize(
    "error",
    [ValueError, KeyError, RecursionError, OverflowError, MemoryError],
    ids=lambda e: e.__name__,
)
def test_whatever_it_raises_is_logged_once_a_version_and_counted_each_time(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    before = count("pod")
    after = []
    for version in ("1", "1", "2"):
        with one_object("pod", f"odd-{error.__name__}", version):
            raise error("odd")
        after.append(version)
    assert after == ["1", "1", "2"]
    assert count("pod") - before == 3
    assert [line.getMessage() for line in records(caplog)] == ["object.unreadable"] * 2


def test_each_kind_that_is_watched_is_counted_from_0() -> None:
    """An alert on an increase would miss the first of one that is not there before."""
    paths = {path for path in vars(FakeKube()).values() if str(path).startswith("/api")}
    assert len(paths) == 6
    samples = [sample for family in UNREADABLE.collect() for sample in family.samples]
    counted = {sample.labels["kind"] for sample in samples}
    assert counted == {path.rpartition("/")[2].removesuffix("s") for path in paths}


def test_the_end_of_the_process_passes() -> None:
    with pytest.raises(SystemExit), one_object("pod", "any"):
        raise SystemExit


SECRET = "hunter2-hunter2"
ODD = [
    (
        CodexRun,
        {
            "metadata": {"name": "a"},
            "spec": {"jobType": SECRET * 9, "inputs": SECRET, "priority": SECRET},
        },
    ),
    (
        CodexRun,
        {
            "metadata": {"name": "a"},
            "spec": {"jobType": "hello", "limits": {"maxTokens": SECRET}},
            "status": SECRET,
        },
    ),
    (
        CodexJobType,
        {
            "metadata": {"name": "a"},
            "spec": {"prompt": SECRET, "model": {"a": SECRET}, "limits": [SECRET]},
        },
    ),
]


@pytest.mark.parametrize(("model", "raw"), ODD)
def test_no_value_of_an_unreadable_object_is_logged(
    model: type[CodexRun | CodexJobType], raw: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """Nor by a traceback: inputs may hold what nobody may read."""
    with caplog.at_level(logging.DEBUG):
        with one_object("codexrun", "secretive", json.dumps(raw)[:60]):
            model.model_validate(raw)
        try:
            model.model_validate(raw)
        except ValueError:
            logging.getLogger("other").exception("failed")
    lines = [JsonFormatter().format(record) for record in records(caplog, "other")]
    assert len(lines) == 2
    assert "Input should" not in lines[0]  # pydantic's words
    assert SECRET not in "".join(
        line.replace(json.dumps(raw)[:60].replace('"', '\\"'), "") for line in lines
    )
