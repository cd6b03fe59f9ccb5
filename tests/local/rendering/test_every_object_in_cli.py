"""Every object that the CRDs admit is shown by the command line: what the api answers about it, and
what the cluster has."""

import io
import itertools
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Any

import crdobjects
import pytest
import yaml
from crdobjects import GENERATED
from hypothesis import given, settings

from codexrun_api.schemas import responses
from codexrun_cli import output
from codexrun_cli.commands import diff, jobtypes
from codexrun_cli.follow.lines import Reader
from codexrun_cli.follow.screen import Plain, status_line
from codexrun_cli.follow.summary import print_message, summary
from codexrun_cli.output import runs as shown
from codexrun_cli.terminal import Terminal
from codexrun_cli.transports.cluster import details as cluster_details
from codexrun_cli.transports.cluster import views
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import record_of

Json = dict[str, Any]

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TERMINALS = (Terminal(), Terminal(tty=True, colour=True, utf8=True, width=80), Terminal(width=20))
FORMATS = (
    "table",
    "wide",
    "name",
    "json",
    "jsonl",
    "yaml",
    "jsonpath={..*}",
    "custom-columns=A:.params,B:.result,C:.missing",
)
# A format that cannot print something meets it in more than one object.
TURNS = itertools.cycle(FORMATS)
NAME = {
    "name": "mine",
    "namespace": "codexrun",
    "uid": "11111111-2222-4333-8444-555555555555",
    "resourceVersion": "7",
}
CREATED = {"creationTimestamp": "2026-11-24T11:00:00Z"}


def stored(body: Json) -> Json:
    """As the apiserver has it."""
    return {**body, "metadata": {**body.get("metadata", {}), **NAME, **CREATED}}


def over_rest(raw: Json) -> Json:
    """The run as the api answers it."""
    found: Json = json.loads(
        responses.of_record(record_of(CodexRun.model_validate(raw))).model_dump_json(
            exclude_none=True
        )
    )
    return found


def printed(act: Callable[[], object]) -> str:
    """What is printed, on both streams."""
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding="utf-8", write_through=True)
    with redirect_stdout(text), redirect_stderr(text):
        act()
    return raw.getvalue().decode()


def show(run: Json, details: Json) -> None:
    """Everything that is ever printed of one run; each must read, and what is for programs must be
    the run."""
    kind = shown.kind(NOW, namespaces=True)
    for name in ("json", *itertools.islice(TURNS, 2)):
        text = printed(
            lambda name=name: output.emit(
                [run], kind, output.parse(name), TERMINALS[1], single=True
            )
        )
        assert text.strip() or name.startswith("jsonpath")
        if name in ("json", "yaml", "jsonl"):
            read = yaml.safe_load(text) if name == "yaml" else json.loads(text)
            assert read == {"schema": kind.schema, **run}
    for terminal in TERMINALS:
        text = shown.describe(run, NOW, terminal, url="http://api/console", more=details)
        assert run["name"] in text
        assert all(character.isprintable() or character in "\n\x1b" for character in text)
        assert summary(run, terminal)
        assert status_line(
            run, Reader(), NOW, limits=details.get("limits", {}), usual=1.0, since=2.0
        )
        printed(lambda terminal=terminal: print_message(run.get("result", ""), terminal))
        printed(lambda terminal=terminal: Plain(terminal).state(run))
    shown.next_command(run)
    for one in diff.differences(
        diff._comparable(run, (*diff.SPEC_FIELDS, *diff.RESULT_FIELDS)), {}
    ):
        assert diff._value_lines(one["a"]) or one["a"] in ("", None)


def show_run(body: Json) -> None:
    """From both transports' data; they agree on what both have."""
    raw = stored(body)
    details = {
        "limits": {"max_tokens": 10, "max_cost_cents": 100},
        "conditions": cluster_details.conditions(raw),
        "events": [cluster_details.event({})],
    }
    cluster = views.run_json(raw)
    rest = over_rest(raw)
    assert views.queue_position(raw, [raw, raw], 1, NOW) is None or cluster["status"] == "queued"
    show(cluster, details)
    show(rest, {})
    both = cluster.keys() & rest.keys() - {"created_at", "updated_at", "started_at", "finished_at"}
    assert {key: cluster[key] for key in both} == {key: rest[key] for key in both}


def show_job_type(body: Json) -> None:
    kind = views.job_type_json(stored(body), ["running", "queued"])
    for name in ("wide", *itertools.islice(TURNS, 2)):
        printed(
            lambda name=name: output.emit(
                [kind], jobtypes._KIND, output.parse(name), TERMINALS[1], single=True
            )
        )
    assert jobtypes._in_full(kind, jobtypes._inputs(kind.get("inputs_schema") or {}))


RUNS = [pytest.param(body, id=name) for name, body in crdobjects.systematic(crdobjects.RUN)]
KINDS = [pytest.param(body, id=name) for name, body in crdobjects.systematic(crdobjects.JOB_TYPE)]


@pytest.mark.parametrize("body", RUNS)
def test_each_run_of_the_table_is_shown(body: Json) -> None:
    show_run(body)


@pytest.mark.parametrize("body", KINDS)
def test_each_job_type_of_the_table_is_shown(body: Json) -> None:
    show_job_type(body)


@given(crdobjects.runs(), crdobjects.job_types())
@settings(GENERATED, max_examples=60)
def test_generated_objects_are_shown(run: Json, kind: Json) -> None:
    show_run(run)
    show_job_type(kind)
