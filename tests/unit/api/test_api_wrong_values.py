"""Whatever REST refuses of a parameter or a body is said in our words, and is never an error of the
server: every parameter and every field of a body of the OpenAPI document is sent wrong."""

import json
from typing import Any

import httpx
import pytest
from apistand import Stand

from codexrun_api.app import openapi_document

WORDS_OF_PYDANTIC = ("String should", "Input should", "Value error", "Field required", "should be")
TEXTS = ("", "?", "a b", "-1", "1.5", "x" * 2000, "9" * 5000, "NaN", "\x01", "ä", ",")
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 10**30, "", "?", "\x00", "\ud800", "x" * 2000, "ftp://x/y"),
    *([], [None], ["?"], ["x"] * 1001, {}, {"?": "?"}, {"\ud800": "x"}, {"x": "\ud800"}),
)
DOCUMENT = openapi_document()
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if "/events" not in path and "/logs" not in path  # a stream, where what was sent is right
]


def check(answer: httpx.Response) -> None:
    """Fail on an error of the server, and on a refusal that is not one of ours."""
    assert answer.status_code < 500, answer.text
    if answer.status_code == 422:
        for error in answer.json()["errors"]:
            assert not any(words in error["detail"] for words in WORDS_OF_PYDANTIC), error


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=[f"{m} {p}" for m, p, _ in OPERATIONS]
)
async def test_no_parameter_is_refused_in_the_words_of_pydantic(
    stand: Stand, method: str, path: str, operation: dict[str, Any]
) -> None:
    for parameter in operation.get("parameters", ()):
        name = parameter["name"]
        for text in TEXTS:
            url = path.replace("{" + name + "}", text) if parameter["in"] == "path" else path
            headers = {name: text.encode()} if parameter["in"] == "header" else {}
            query = {name: text} if parameter["in"] == "query" else {}
            try:
                request = stand.http.build_request(method, url, params=query, headers=headers)
            except httpx.InvalidURL:
                continue
            check(await stand.http.send(request))


def fields_of(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fields of a body's schema, with those of the objects in it: `limits` as `{}` and
    `limits.max_tokens` as a path."""
    fields: dict[str, dict[str, Any]] = {}
    for part in schema.get("anyOf", ()):
        fields |= fields_of(part)
    if reference := schema.get("$ref", ""):
        fields |= fields_of(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]])
    for name, inner in schema.get("properties", {}).items():
        fields[name] = inner
        fields |= {f"{name}.{deep}": field for deep, field in fields_of(inner).items()}
    return fields


def body_with(path: str, value: Any) -> Any:
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [row for row in OPERATIONS if "requestBody" in row[2]],
    ids=[f"{m} {p}" for m, p, o in OPERATIONS if "requestBody" in o],
)
async def test_no_field_of_a_body_is_refused_in_the_words_of_pydantic(
    stand: Stand, method: str, path: str, operation: dict[str, Any]
) -> None:
    assert (await stand.start(name="x")).status_code == 202
    content = operation["requestBody"]["content"]["application/json"]
    fields = fields_of(content["schema"])
    assert fields
    required = {"job_type": "hello"} if "job_type" in fields else {}
    bodies = [
        *(required | body_with(field, value) for field in fields for value in VALUES),
        *VALUES,
        {"\ud800": 1},
    ]
    texts = (*map(json.dumps, bodies), "{", "\udcff", '{"inputs": {"a": NaN}}', "")
    for text in texts:
        answer = await stand.http.request(
            method,
            path.replace("{id}", "x"),
            content=text.encode(errors="surrogateescape"),
            headers={"Content-Type": "application/json"},
        )
        check(answer)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (
            {"workspace": {"git": {"url": "ftp://git.example.com/shop"}}},
            "/workspace/git/url",
            "must be an http(s) URL with a path and without a user name or password; credentials"
            " come from the job type's git.credentialsSecretRef",
        ),
        (
            {"limits": {"max_tokens": "5"}},
            "/limits/max_tokens",
            "must be a whole number, not a string",
        ),
        ({"limits": {"max_tokens": 0}}, "/limits/max_tokens", "must be at least 1"),
        (
            {"limits": {"tokens": 1}},
            "/limits/tokens",
            "unknown field; correct its name or remove it",
        ),
        ({"when_full": "Wait"}, "/when_full", 'must be "Queue" or "Reject"'),
        (
            {"prompt_version": "2"},
            "/prompt_version",
            "must be the letter v followed by a number, such as v1",
        ),
        ({"name": "x" * 64}, "/name", "is 64 characters long; at most 63 are allowed"),
        (
            {"labels": {"\ud800": "x"}},
            "/labels/\ufffd\ufffd\ufffd",
            "must be a string that UTF-8 can represent",
        ),
        ({"\ud800": "x"}, "", "must be a string that UTF-8 can represent"),
    ],
)
async def test_a_refusal_names_field_problem_and_fix(
    stand: Stand, body: dict[str, Any], pointer: str, detail: str
) -> None:
    answer = await stand.http.post(
        "/runs",
        content=json.dumps({"job_type": "hello"} | body),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422, answer.text
    assert [(e["pointer"], e["detail"]) for e in answer.json()["errors"]] == [(pointer, detail)]
