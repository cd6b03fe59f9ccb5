"""What stands on stdout: each format, at 80 columns without colour; JSON under schemas that are
checked in."""

import csv
import io
import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from apistand import TOKEN
from clistand import LOG, Done, Stand

from codexrun_cli.output.table import Column, table
from codexrun_cli.terminal import Terminal

SCHEMAS = Path(__file__).parents[3] / "docs/schemas"
API = Path(__file__).parents[3] / "api/openapi.json"


def conforms(shown: Any) -> Any:
    """A document under the schema that it names."""
    name, version = shown["schema"].removeprefix("codexrun.").split("/")
    schema = json.loads((SCHEMAS / f"{name}.{version}.json").read_text())
    jsonschema.validate(shown, schema, cls=jsonschema.Draft202012Validator)
    return shown


def test_table(both: Stand) -> None:
    both.finished("--name", "mine")
    shown = both.cli("list").out
    assert (
        re.sub(r"\d+[smhd]  +30s", "AGE       30s", shown)
        == "NAME  STATUS     JOB-TYPE  ABOUT  AGE  DURATION  TOKENS     COST  MESSAGE\n"
        "mine  succeeded  hello     world   AGE       30s     120  $0.0042  Hello, **wo...\n"
    )


def test_wide_is_never_cut(both: Stand) -> None:
    both.finished("--name", "mine", result={"message": "word " * 40})
    wide = both.cli("list", "-o", "wide").out
    assert "word " * 39 in wide
    assert wide.splitlines()[0].split()[-6:] == [
        "REASON",
        "PROMPT",
        "MODEL",
        "USER",
        "ORIGIN",
        "RUN-ID",
    ]
    assert both.run_id("mine") in wide
    assert max(map(len, both.cli("list").out.splitlines())) <= 80


def test_name(both: Stand) -> None:
    name = both.start()
    assert both.cli("list", "-o", "name").out == f"codexrun/{name}\n"
    assert both.cli("status", name, "-o", "name").out == f"codexrun/{name}\n"
    started = both.cli("start", "hello", "-p", "name=x", "-o", "name")
    assert re.fullmatch(r"codexrun/\S+\n", started.out)


def test_json_of_one_and_of_many(both: Stand) -> None:
    good = both.finished()
    bad = both.finished(
        phase="Failed", failure={"class": "stall", "message": "nothing moved", "retryable": True}
    )
    one = conforms(json.loads(both.cli("status", bad, "-o", "json").out))
    assert one["failure"] == {"class": "stall", "message": "nothing moved", "retryable": True}
    assert one["usage"]["total_tokens"] == 120
    many = conforms(json.loads(both.cli("status", good, bad, "-o", "json").out))
    assert [run["name"] for run in many["runs"]] == [good, bad]
    listed = conforms(json.loads(both.cli("list", "-o", "json").out))
    assert {run["name"] for run in listed["runs"]} == {good, bad}


def test_yaml_is_the_same_document(both: Stand) -> None:
    name = both.finished()
    assert yaml.safe_load(both.cli("status", name, "-o", "yaml").out) == json.loads(
        both.cli("status", name, "-o", "json").out
    )


def test_jsonl_is_a_document_a_line(both: Stand) -> None:
    names = {both.start(), both.start()}
    lines = both.cli("list", "-o", "jsonl").out.splitlines()
    assert {conforms(json.loads(line))["name"] for line in lines} == names


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("{.status}", "succeeded\n"),
        (".status", "succeeded\n"),
        ("{.usage.total_tokens}", "120\n"),
        ('{.name}{"\\t"}{.status}{"\\n"}', "mine\tsucceeded\n"),
        ("{.params}", '{"name": "world"}\n'),
        ("{.nothing}", "\n"),
    ],
)
def test_jsonpath(both: Stand, path: str, shown: str) -> None:
    both.finished("--name", "mine")
    assert both.cli("status", "mine", "-o", f"jsonpath={path}").out == shown


def test_jsonpath_over_a_list_and_custom_columns(both: Stand) -> None:
    both.finished("--name", "mine")
    assert both.cli("list", "-o", "jsonpath={.runs[*].name}").out == "mine\n"
    columns = "custom-columns=NAME:.name,TOKENS:.usage.total_tokens,NONE:.nothing"
    assert both.cli("list", "-o", columns).out == "NAME  TOKENS  NONE\nmine  120     <none>\n"
    assert both.cli("list", "-o", columns, "--no-headers").out == "mine  120  <none>\n"


def test_no_headers(both: Stand) -> None:
    name = both.start()
    assert both.cli("list", "--no-headers").out.startswith(name)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("xml", '-o "xml" is not a valid format; use table|wide|name|json'),
        ("json=x", '-o "json=x" is not a valid format'),
        ("jsonpath", "-o jsonpath needs an expression"),
        ("jsonpath={.a[}", "is not a valid JSONPath"),
        ("jsonpath={range .runs[*]}{.name}{end}", "{range .runs[*]} is not supported"),
        ("jsonpath={.runs[0][", "has an unmatched brace"),
        ("jsonpath=.name}", "has an unmatched brace"),
        ("custom-columns=NAME", '"NAME" is not a valid column; write TITLE:.path'),
    ],
)
def test_formats_that_are_none_are_refused_before_anything_is_asked(
    stand: Stand, wanted: str, said: str
) -> None:
    stand.stop()
    done = stand.cli("list", "-o", wanted)
    assert (done.code, done.out) == (2, "")
    assert said in re.sub(r"\s+", " ", done.err)


def test_everything_else_that_prints_json_has_a_schema(stand: Stand) -> None:
    good = stand.finished()
    bad = stand.finished("--priority", "2", phase="Failed")

    def shown(*arguments: str, code: int = 0) -> Any:
        done = stand.cli(*arguments, "-o", "json")
        assert done.code == code, done
        return conforms(json.loads(done.out))

    assert shown("jobtypes", "list")["job_types"][0]["name"] == "hello"
    assert shown("jobtypes", "show", "hello")["model"] == "gpt-5.5"
    assert shown("prompts", "list")["prompts"][0]["checksum_ok"] is True
    assert shown("diff", good, bad, code=1)["differences"]
    assert shown("cancel", good, code=6)["results"][0]["code"] == 6
    assert shown("retry", bad, "--dry-run")["results"][0]["outcome"] == "would retry"
    assert shown("stats")["groups"][0]["runs"] == 2
    assert shown("cleanup", "--dry-run")["dry_run"] is True
    assert {row["key"]: row["value"] for row in shown("config", "view")["settings"]}[
        "token"
    ] == "********"
    assert shown("doctor")["checks"][0]["name"] == "api"


def test_the_schema_of_a_run_is_what_the_api_shows() -> None:
    """A field that the api drops or renames would break scripts: it needs another version of the
    schema."""
    ours = json.loads((SCHEMAS / "run.v1.json").read_text())["properties"].keys() - {"schema"}
    schemas = json.loads(API.read_text())["components"]["schemas"]
    theirs = schemas["RunView"]["properties"].keys() | schemas["RunDetails"]["properties"].keys()
    assert ours - {"events"} <= theirs, "events are the cluster's"


def test_both_ways_show_the_same_fields(stand: Stand) -> None:
    name = stand.finished()
    over_rest = json.loads(stand.cli("status", name, "-o", "json").out)
    stand.rest = False
    straight = json.loads(stand.cli("status", name, "-o", "json").out)
    for only_the_api in ("links", "log_bytes", "log_path", "log_complete", "turns", "transitions"):
        over_rest.pop(only_the_api, None)
    assert straight.pop("events") == []
    assert {**straight, "updated_at": ""} == {**over_rest, "updated_at": ""}


def test_stdout_has_data_and_nothing_else(both: Stand) -> None:
    name = both.start()
    both.log(name, *LOG)
    both.end(name)
    for arguments in (
        ["status", name],
        ["logs", name],
        ["logs", "-f", name],
        ["list"],
        ["wait", name],
    ):
        done = both.cli(*arguments)
        assert "\x1b" not in done.out + done.err
        assert "\r" not in done.out
    done = both.cli("retry", name)
    assert re.fullmatch(r"\S+\n", done.out)
    assert done.err


def test_stats_are_the_apis_numbers(stand: Stand) -> None:
    stand.finished()
    stand.finished(phase="Failed")
    total = json.loads(stand.cli("stats", "-o", "json").out)
    assert total["total"] == {
        "runs": 2,
        "cost_tokens": 240,
        "cost_micro_usd": 8400,
        "success_rate": 0.5,
    }
    for by in ("job-type", "model", "user", "day", "status"):
        rows = list(
            csv.DictReader(
                io.StringIO(stand.cli("stats", "--by", by, "--since", "7d", "-o", "csv").out)
            )
        )
        assert sum(int(row["runs"]) for row in rows) == 2, by
        assert sum(int(row["cost_micro_usd"]) for row in rows) == 8400, by
    assert "RATE" in stand.cli("stats").out


def test_equal_runs_have_no_difference(both: Stand) -> None:
    first = both.finished()
    second = both.finished()
    same = both.cli("diff", first, second)
    assert (same.code, same.out) == (0, "")
    third = both.finished("-p", "name=Rome")
    other = both.cli("diff", first, third, "--spec")
    assert (other.code, other.out) == (1, "params.name\n- world\n+ Rome\n")


def test_results_differ_apart_from_what_was_asked_for(both: Stand) -> None:
    good = both.finished()
    bad = both.finished(phase="Failed")
    assert both.cli("diff", good, bad, "--spec") == Done(0, "", "")
    done = both.cli("diff", good, bad, "--result")
    assert (done.code, done.out.splitlines()[:3]) == (1, ["status", "- succeeded", "+ failed"])


def test_stats_straight_from_the_server_are_the_same(stand: Stand) -> None:
    stand.finished()
    stand.finished(phase="Failed")
    request = urllib.request.Request(
        f"{stand.url}/stats", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request) as answer:
        theirs = json.load(answer)
    ours = json.loads(stand.cli("stats", "-o", "json").out)
    assert ours["total"] == {key: theirs[key] for key in ours["total"]}
    (group,) = ours["groups"]
    (kind,) = theirs["job_types"]
    assert (group["key"], group["cost_tokens"], group["runs"]) == (
        kind["job_type"],
        kind["cost_tokens"],
        kind["runs"],
    )


def test_logs_differ_in_words(both: Stand) -> None:
    first = both.start("--name", "first")
    second = both.start("--name", "second")
    both.log(first, *LOG)
    both.log(second, *LOG[:-2])
    for name in (first, second):
        both.end(name)
    done = both.cli("diff", first, second, "--log")
    assert done.code == 1
    assert "-Hello, **world**!\n" in done.out
    assert both.cli("diff", first, first, "--log") == Done(0, "", "")


WIDE = [
    {"name": "a" * 40, "said": "b" * 100, "kind": "c" * 30},
    {"name": "short", "said": "\x1b[31mred\x1b[0m\nand more", "kind": "日本"},
]
COLUMNS = [
    Column("NAME", lambda row: row["name"]),
    Column("KIND", lambda row: row["kind"], flexible=True),
    Column("SAID", lambda row: row["said"], flexible=True),
]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_its_terminal_and_keeps_names_whole(width: int) -> None:
    shown = table(WIDE, COLUMNS, Terminal(width=width))
    assert max(map(len, shown.splitlines())) <= width
    assert "a" * 40 in shown


def test_what_an_agent_said_cannot_move_the_cursor() -> None:
    assert "\x1b" not in table(WIDE, COLUMNS, Terminal())


def test_a_list_of_nothing_is_a_list(stand: Stand) -> None:
    done = stand.cli("list", "-o", "json")
    assert json.loads(done.out) == {"schema": "codexrun.run-list/v1", "runs": []}
    assert done.err == ""
    assert stand.cli("list") == Done(0, "", "no runs yet; start one: codexrun start JOB_TYPE\n")
