"""How deep is too deep, at every door; and JSON as deep as an apiserver stores it, on every
interpreter there is here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd import JSON, LEVELS, nested

from codexrun_core import deep_json
from codexrun_core.resources import CodexRun
from codexrun_core.runs.record import record_of
from codexrun_core.schemas.inputs import InputsError, check_inputs
from codexrun_core.schemas.json_schema import InvalidSchemaError, check_schema, violations
from codexrun_core.schemas.nesting import (
    MAX_LEVELS,
    MAX_SHOWN_LEVELS,
    TOO_DEEP,
    cut,
    is_deeper,
    nesting_problem,
)

ROOT = Path(__file__).parents[3]
SUPPORTED = ("python3.11", "python3.12", "python3.13", "python3.14")


def interpreters() -> set[str]:
    """Those of the system and of pyenv, and this one."""
    pyenv = Path.home() / ".pyenv/versions"
    candidates = [
        Path(path) for name in SUPPORTED if (path := shutil.which(name)) and "shims" not in path
    ]
    candidates += [path for name in SUPPORTED for path in pyenv.glob(f"*/bin/{name}")]
    return {sys.executable} | {str(path.resolve()) for path in candidates}


@given(st.integers(0, 60), st.integers(0, 60))
def test_levels_are_counted_from_the_outermost_container(levels: int, bound: int) -> None:
    assert is_deeper(nested(levels), bound) == (levels > bound)


def test_shared_parts_cost_once_and_a_circle_ends() -> None:
    """YAML's aliases: two to the power of 40 paths through 40 lists."""
    value: Any = "text"
    for _ in range(40):
        value = [value, value]
    assert is_deeper(value, 39)
    assert not is_deeper(value, 40)
    circle: list[Any] = []
    circle.append(circle)
    assert is_deeper(circle, 1_000)


@given(JSON)
def test_what_is_kept_has_the_bound_and_is_the_value_itself_within_it(value: Any) -> None:
    kept = cut(value)
    assert not is_deeper(kept, MAX_SHOWN_LEVELS)
    assert kept is value or is_deeper(value, MAX_SHOWN_LEVELS)


@pytest.mark.parametrize("levels", LEVELS)
def test_inputs_of_32_levels_are_the_deepest(levels: int) -> None:
    inputs = {"a": nested(levels - 1)}
    schema = {"type": "object"}
    if levels <= MAX_LEVELS:
        assert check_inputs(schema, inputs) == inputs
        assert nesting_problem(inputs) is None
        return
    with pytest.raises(InputsError) as refused:
        check_inputs(schema, inputs)
    assert (refused.value.reason, str(refused.value)) == (
        "InvalidInputs",
        f"spec.inputs: {TOO_DEEP}",
    )


@pytest.mark.parametrize("levels", [level for level in LEVELS if level > MAX_LEVELS])
def test_a_value_too_deep_fits_no_schema_and_blames_none(levels: int) -> None:
    (wrong,) = violations({}, nested(levels))
    assert (wrong.pointer, wrong.words) == ("", TOO_DEEP)


@pytest.mark.parametrize("levels", [101, 260, 1_500, 9_990])
def test_a_schema_too_deep_is_none(levels: int) -> None:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    with pytest.raises(InvalidSchemaError, match="levels deep; reduce the nesting"):
        check_schema(schema)


@given(JSON)
def test_the_row_of_a_run_can_be_made_and_written_whatever_its_inputs_are(value: Any) -> None:
    """Before the bound there were runs, and whoever writes with kubectl may make one of any
    depth."""
    raw = {
        "metadata": {"name": "odd", "uid": "u"},
        "spec": {"jobType": "hello", "inputs": {"a": value}},
    }
    record = record_of(CodexRun.model_validate(raw))
    assert record.spec["inputs"] == record.params
    json.dumps(record.params, allow_nan=False)  # a database takes no NaN


@given(st.integers(0, MAX_SHOWN_LEVELS - 1))
def test_the_row_has_the_inputs_as_they_were_given_up_to_the_bound(levels: int) -> None:
    inputs = {"a": nested(levels)}
    raw = {"metadata": {"name": "odd", "uid": "u"}, "spec": {"jobType": "hello", "inputs": inputs}}
    assert record_of(CodexRun.model_validate(raw)).params == inputs


PROGRAM = """
import json, sys, threading
from codexrun_core import deep_json
deep_json.install()
def read():
    for levels in (40, 260, 1_500, 9_990, 10_000, deep_json.MAX_LEVELS):
        for text in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
            value = json.loads(text)
            depth = 0
            while isinstance(value, (dict, list)):
                children = list(value.values()) if isinstance(value, dict) else value
                value = children[0] if children else None
                depth += 1
            assert depth == levels, (depth, levels)
    before = sys.getrecursionlimit()
    try:
        json.loads("[" * 1_000_000)
    except RecursionError:
        assert sys.getrecursionlimit() == before
        done.append(threading.current_thread().name)
done = []
read()
thread = threading.Thread(target=read)
thread.start()
thread.join()
print(len(done))
"""


@pytest.mark.local
@pytest.mark.parametrize("interpreter", sorted(interpreters()))
def test_every_interpreter_reads_what_an_apiserver_stores(interpreter: str) -> None:
    """In the main thread and another, with the stack that a process has by default; and it still
    stops at what is deeper."""
    environment = {"PYTHONPATH": str(ROOT / "core"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [interpreter, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr[-2000:]


@given(
    st.one_of(
        st.text(),
        st.text().map(json.dumps),
        JSON.map(lambda value: "[1, 2]" if value is None else "{}"),
    )
)
def test_what_is_not_deep_is_read_as_ever(text: str) -> None:
    def outcome(loads: Any) -> Any:
        try:
            return repr(loads(text))
        except ValueError as error:
            return str(error)

    assert outcome(deep_json.loads) == outcome(json.loads)
