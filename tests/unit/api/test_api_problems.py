"""Who may call, and how every error looks."""

import json
import logging
from pathlib import Path

import pytest
from apistand import TOKEN, Stand
from fake_cluster import FakeCluster, FakeOperator

from codexrun_api.app import openapi_document
from codexrun_api.http.auth import Tokens
from codexrun_api.services import Services
from codexrun_api.settings import Settings, SettingsError, settings_from
from codexrun_core.errors import Refused, Unavailable
from codexrun_core.logs import JsonFormatter

FIELDS = {"type", "title", "status", "detail", "code", "request_id"}


def check(answer: object, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() >= FIELDS
    assert (body["status"], body["code"], body["type"]) == (
        status,
        code,
        f"urn:codexrun:problem:{code}",
    )
    assert body["request_id"] == answer.headers["X-Request-ID"]
    return body


async def test_401_without_and_with_a_wrong_token(stand: Stand) -> None:
    for value in ("", "Bearer wrong", "Basic abc", f"Bearer {TOKEN}x", "Bearer tök"):
        answer = await stand.http.get("/runs", headers={"Authorization": value.encode()})
        check(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
async def test_open_without_a_token(stand: Stand, path: str) -> None:
    assert (await stand.http.get(path, headers={"Authorization": ""})).status_code == 200


async def test_every_other_route_needs_a_token(stand: Stand) -> None:
    for path, methods in openapi_document()["paths"].items():
        for method in methods:
            if path not in ("/healthz", "/readyz", "/metrics"):
                answer = await stand.http.request(
                    method, path.replace("{id}", "x"), headers={"Authorization": ""}
                )
                check(answer, 401, "unauthenticated")


async def test_403_when_the_cluster_forbids(stand: Stand) -> None:
    async def create(path: str, body: object) -> object:
        raise Refused(403, "Forbidden", "policy says no")

    stand.kube.create = create
    assert "policy says no" in check(await stand.start(), 403, "refused-by-cluster")["detail"]


async def test_422_when_the_clusters_schema_objects(stand: Stand) -> None:
    async def create(path: str, body: object) -> object:
        raise Refused(422, "Invalid", "spec.limits.maxTokens: too many")

    stand.kube.create = create
    assert (
        check(await stand.start(), 422, "invalid-run")["errors"][0]["pointer"]
        == "/limits/max_tokens"
    )


async def test_422_for_a_parameter_given_twice(stand: Stand) -> None:
    problem = check(
        await stand.http.get("/runs?status=failed&status=cancelled"), 422, "invalid-request"
    )
    assert problem["errors"][0]["parameter"] == "status"
    assert (await stand.http.get("/runs?status=failed,cancelled")).status_code == 200


async def test_a_list_since_some_days_ago_has_more_than_one_page(stand: Stand) -> None:
    FakeOperator(stand.kube, limit=10)
    for name in ("one", "two", "three"):
        assert (await stand.start(name=name)).status_code == 202
    first = (await stand.http.get("/runs?since=3650d&page_size=2")).json()
    second = await stand.http.get(
        "/runs", params={"since": "3650d", "page_size": 2, "page_token": first["next_page_token"]}
    )
    assert second.status_code == 200, second.text
    assert len({run["name"] for run in (*first["runs"], *second.json()["runs"])}) == 3


async def test_404_of_a_run_and_of_a_path(stand: Stand) -> None:
    check(await stand.http.get("/runs/nobody"), 404, "run-not-found")
    check(await stand.http.get("/nowhere"), 404, "not-found")


async def test_405_names_what_is_allowed(stand: Stand) -> None:
    answer = await stand.http.delete("/runs")
    check(answer, 405, "method-not-allowed")
    assert answer.headers["Allow"] == "GET, POST"
    answer = await stand.http.put("/runs/x")
    assert answer.headers["Allow"] == "DELETE, GET, PATCH"


async def test_413_by_length_and_by_chunks(stand: Stand) -> None:
    large = json.dumps({"job_type": "hello", "inputs": {"name": "x" * 300_000}}).encode()
    headers = {"Content-Type": "application/json"}
    check(
        await stand.http.post("/runs/start", content=large, headers=headers), 413, "body-too-large"
    )

    async def chunks():
        for begin in range(0, len(large), 10_000):
            yield large[begin : begin + 10_000]

    check(
        await stand.http.post("/runs/start", content=chunks(), headers=headers),
        413,
        "body-too-large",
    )


async def test_422_points_at_each_wrong_field(stand: Stand) -> None:
    answer = await stand.start(limits={"max_tokens": 0}, modle="x", priority="3")
    errors = check(answer, 422, "invalid-request")["errors"]
    assert {e["pointer"] for e in errors} == {"/limits/max_tokens", "/modle", "/priority"}


async def test_422_of_no_json_and_of_nan(stand: Stand) -> None:
    for content in (b"{", b'{"job_type": "hello", "inputs": {"name": NaN}}', b"[]", b"\xff"):
        answer = await stand.http.post(
            "/runs/start", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_422_names_a_wrong_parameter(stand: Stand) -> None:
    for query, name in (
        ("page_size=0", "page_size"),
        ("statuss=failed", "statuss"),
        ("status=happy", "status"),
        ("since=x", "since"),
        ("label=team%3E1", "label"),
        ("label=team=a/b", "label"),
        ("sort=price", "sort"),
        ("sort=", "sort"),
    ):
        errors = check(await stand.http.get(f"/runs?{query}"), 422, "invalid-request")["errors"]
        assert [e["parameter"] for e in errors] == [name]


async def test_422_of_a_selector_says_what_to_write(stand: Stand) -> None:
    errors = check(
        await stand.http.get("/runs", params={"label": "team=a,env>1"}), 422, "invalid-request"
    )["errors"]
    assert (
        '"env>1" is not a valid label selector; use key=value, key!=value, key, !key'
        in errors[0]["detail"]
    )
    bulk = await stand.http.post("/runs/cancel", json={"filter": {"label": "a b"}})
    assert check(bulk, 422, "invalid-request")["errors"][0]["pointer"] == "/filter/label"
    for labels, said in (
        (
            {"codexrun.dev/run": "x"},
            "keys with the prefix codexrun.dev/ are reserved for codexrun; choose another key",
        ),
        ({"team": "a b"}, '"a b" is not a valid label value'),
    ):
        (error,) = check(await stand.start(labels=labels), 422, "invalid-request")["errors"]
        assert (error["pointer"], said in error["detail"]) == ("/labels", True)


async def test_400_of_a_page_token_that_is_none(stand: Stand) -> None:
    check(await stand.http.get("/runs?page_token=abc"), 400, "bad-page-token")


async def test_503_when_the_registry_is_away(stand: Stand) -> None:
    async def away(*_: object) -> object:
        raise Unavailable("registry: away")

    stand.registry.page = away
    answer = await stand.http.get("/runs")
    assert check(answer, 503, "unavailable")["retry_after"] == int(answer.headers["Retry-After"])


async def test_500_is_a_problem_too_and_tells_nothing(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> object:
        raise RuntimeError("secret detail")

    stand.registry.page = broken
    with caplog.at_level(logging.ERROR):
        assert "secret" not in check(await stand.http.get("/runs"), 500, "internal")["detail"]
    assert "request.failed" in caplog.messages


async def test_a_request_id_is_taken_made_and_in_every_line(stand: Stand) -> None:
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(JsonFormatter().format(record))
    logging.getLogger("codexrun_api").addHandler(handler)
    logging.getLogger("codexrun_api").setLevel(logging.INFO)
    try:
        assert (await stand.http.get("/runs", headers={"X-Request-ID": "abc-1"})).headers[
            "X-Request-ID"
        ] == "abc-1"
    finally:
        logging.getLogger("codexrun_api").removeHandler(handler)
    told = [json.loads(line) for line in lines]
    assert [t["request_id"] for t in told if t["event"] == "request.answered"] == ["abc-1"]
    made = (await stand.http.get("/runs", headers={"X-Request-ID": "bad id\x7f"})).headers[
        "X-Request-ID"
    ]
    assert len(made) == 36


def test_without_a_token_it_does_not_start() -> None:
    with pytest.raises(SettingsError, match="CODEX_CONTROL_TOKEN"):
        settings_from({"CODEXRUN_NAMESPACE": "x"})
    assert settings_from(
        {"CODEXRUN_NAMESPACE": "x", "CODEXRUN_INSECURE_NO_TOKEN": "true"}
    ).insecure_no_token


async def test_nobody_asks_for_a_token_when_told_so(settings: Settings) -> None:
    open_to_all = Settings(**{**vars(settings), "token": "", "insecure_no_token": True})
    assert Tokens(open_to_all).user(None) == "anonymous"


def test_named_tokens_are_read_again_when_the_file_changes(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "tokens"
    file.write_text("# team\nana:aaa\nben:bbb:with-colon\n\nplain\n")
    tokens = Tokens(Settings(**{**vars(settings), "token_file": file}))
    assert [tokens.user(t) for t in ("aaa", "bbb:with-colon", "plain", TOKEN)] == [
        "ana",
        "ben",
        "shared",
        "shared",
    ]
    (tmp_path / "new").write_text("ana:ccc\n")
    (tmp_path / "new").rename(file)
    assert [tokens.user(t) for t in ("aaa", "ccc")] == [None, "ana"]
    file.unlink()
    assert tokens.user("ccc") == "ana"


async def test_a_named_token_is_who_asked(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("ana:aaa\n")
    named = Settings(**{**vars(settings), "token_file": tmp_path / "tokens"})
    assert Services.make(named, None, FakeCluster()).tokens.user("aaa") == "ana"
