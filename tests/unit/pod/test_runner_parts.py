"""The runner's smaller parts: masks, messages, configuration, watchdogs, log lines."""

import base64
import hashlib
import json
import os
import tomllib
from pathlib import Path
from urllib.parse import quote, quote_plus
from urllib.request import proxy_bypass_environment

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codexrun_core.codex.events import Event
from codexrun_pod import termination
from codexrun_pod.masking import DigestMask, Mask
from codexrun_pod.runner import resume, settings, supervise, watchdogs
from codexrun_pod.runner.codex import config as codex_config
from codexrun_pod.runner.codex.progress import Failure, Progress, is_instructions_cut
from codexrun_pod.runner.logs.log import Log
from codexrun_pod.runner.settings import ConfigError
from codexrun_pod.runner.termination_report import TerminationReport

# masks


def mask_of(*secrets):
    return Mask({f"E{number}": secret for number, secret in enumerate(secrets)})


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n-----END KEY-----\n"
MASKED = [
    ("plain", ["hunter22"], "say hunter22!", "say ***!"),
    ("twice", ["hunter22"], "hunter22hunter22", "******"),
    ("JSON-escaped in a text", ['a"b\\cd\n'], json.dumps({"x": 'a"b\\cd\n'}), '{"x": "***"}'),
    ("escaped to ASCII", ["pässword"], '{"x":"p\\u00e4ssword"}', '{"x":"***"}'),
    ("a Secret that ends in a newline", ["hunter22\n"], "hunter22", "***"),
    ("a line of a longer one", [PEM], "got MIIEvQIBADANBg there", "got *** there"),
    ("the longer of two that overlap", ["abc12345", "abc12345-long"], "abc12345-long", "***"),
    ("nothing to mask", ["", "  ", "\n"], "a b", "a b"),
]


@pytest.mark.parametrize(
    ("secrets", "text", "shown"), [m[1:] for m in MASKED], ids=[m[0] for m in MASKED]
)
def test_mask(secrets, text, shown):
    assert mask_of(*secrets).text(text) == shown


def test_a_mask_reaches_into_json():
    value = {"a": ["x-hunter22", 7, None, True, {"hunter22": "hunter22"}]}
    assert mask_of("hunter22").value(value) == {"a": ["x-***", 7, None, True, {"***": "***"}]}


DIGITS = st.text("0123456789")
SECRET = st.text(
    st.characters(exclude_categories=["Cs", "Nd"], exclude_characters="*%+"), min_size=6
).filter(lambda text: len(text.strip()) >= 6)


@given(SECRET, DIGITS, DIGITS)
def test_no_form_of_a_secret_is_left(secret, before, after):
    for form in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
        quote_plus(secret),
        quote(secret).lower() if secret.islower() else quote(secret),
    ):
        assert mask_of(secret).text(f"{before}{form}{after}") == f"{before}***{after}"


@given(SECRET, st.binary(max_size=8), st.binary(max_size=8), st.booleans())
def test_no_base64_of_a_secret_is_left(secret, before, after, urls):
    """Whatever stands around it: all but the characters that it shares with that is masked."""
    encode = base64.urlsafe_b64encode if urls else base64.b64encode
    encoded = encode(before + secret.encode() + after).decode()
    shown = mask_of(secret).text(encoded)
    left = "".join(part for part in shown.split("***"))
    assert "***" in shown
    # 4 characters are 3 bytes; at each end 2 may be shared with what stands there
    assert len(left) <= len(encode(before)) + len(encode(after)) + 4


@pytest.mark.parametrize("width", [64, 76])
def test_base64_that_is_broken_into_lines_is_masked(width):
    secret = PEM * 5
    encoded = base64.b64encode(secret.encode()).decode()
    lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]
    shown = mask_of(secret).text("\n".join(lines))
    assert len(shown.replace("***", "").replace("\n", "")) <= 8, shown


KEY = b"k" * 32
IN_NO_FORM = st.text("*", max_size=3)  # a digit may be the end of a longer form


@given(SECRET, IN_NO_FORM, IN_NO_FORM, st.integers(0, 9))
def test_digests_mask_every_form_that_the_values_mask(secret, before, after, choice):
    mask = mask_of(secret)
    form = mask._forms[choice % len(mask._forms)]
    digests = json.loads(json.dumps(mask.digests(KEY)))
    assert DigestMask(digests).text(f"{before}{form}{after}") == f"{before}***{after}"
    assert secret not in json.dumps(digests, ensure_ascii=False)


@given(SECRET, st.text(max_size=40))
def test_digests_mask_nothing_else(secret, text):
    mask = mask_of(secret)
    shown = DigestMask(mask.digests(KEY)).text(text)
    assert (shown == text) == (not mask.names_in(text))


def test_digests_mask_secrets_that_overlap():
    mask = DigestMask(mask_of("abc12345", "345-long").digests(KEY))
    assert mask.text("x abc12345-long y abc12345 z") == "x *** y *** z"


@pytest.mark.parametrize(
    "digests",
    [
        [],
        {"key": "no hex"},
        {"key": 1},
        {"key": "00" * 65},
        {"key": "00", "forms": 1},
        {"key": "00", "forms": [["a", "b", "c"]]},
        {"key": "00", "forms": [["a", 0, "c"]]},
        {"key": "00", "forms": [[[], 7, "c"]]},
    ],
)
def test_what_is_no_digests_is_refused(digests):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with it
        DigestMask(digests)


def test_a_short_value_is_not_masked_and_named():
    mask = Mask({"FLAG": "1", "REGION": "eu-w1\n", "TOKEN": "abcdef", "EMPTY": ""})
    assert mask.text("1 eu-w1 abcdef") == "1 eu-w1 ***"
    assert mask.too_short == ("FLAG", "REGION")


DOCUMENTS = [
    ("stays JSON, whatever the value", '{"a": "x\\"abc\\"123y"}', ['"abc"123'], '{"a": "x***y"}'),
    ("a number that shows the value", '{"count": 12345678}', ["234567"], '{"count": "***"}'),
    ("ASCII that is escaped", '["\\u0068unter22"]', ["hunter22"], '["***"]'),
    ("nothing in it: to the byte", '{"a":1.50}', ["hunter22"], '{"a":1.50}'),
    ("text", "say hunter22", ["hunter22"], "say ***"),
    (
        "a value that is JSON itself",
        '{"a": [{"key": "hunter22", "id": 7}], "b": 1}',
        ['{"id":7,"key":"hunter22"}\n'],
        '{"a": ["***"], "b": 1}',
    ),
    ("that value alone", '{"key":"hunter22","id":7}', ['{"id":7,"key":"hunter22"}'], '"***"'),
    ("a key that appears twice", '{"a": "hunter22", "a": 1}', ["hunter22"], '{"a": 1}'),
    ("a value that is JSON's own", '{"message": "message"}', ["message"], '{"***": "***"}'),
]


@pytest.mark.parametrize(
    ("text", "secrets", "shown"), [d[1:] for d in DOCUMENTS], ids=[d[0] for d in DOCUMENTS]
)
def test_a_document_is_masked_string_by_string(text, secrets, shown):
    mask = mask_of(*secrets)
    assert mask.document(text) == shown
    assert mask.names_in_document(text) == ([] if shown == text else ["E0"])
    assert mask.json_lines(f"{text}\n".encode()) == f"{shown}\n".encode()


def test_a_patch_shows_a_value_also_over_its_lines():
    mask = mask_of("one\ntwo\nthree", "other-secret")
    assert mask.names_in_patch(b"@@ -0,0 +1,3 @@\n+one\n+two\n+three\n") == ["E0"]
    assert mask.names_in_patch(b" other-secret\n") == ["E1"]
    assert mask.names_in_patch(b"+one\n two\n") == []


# termination messages


def test_a_message_has_a_constant_size_and_leaves_out_what_is_unknown(tmp_path):
    path = tmp_path / "log"
    termination.write(str(path), termination.encode({"a": 1, "b": None, "c": {"d": None, "e": 2}}))
    assert json.loads(path.read_bytes()) == {"a": 1, "c": {"e": 2}}
    termination.write(str(path), termination.encode({"a": "shorter"}))
    assert path.stat().st_size == 3000
    assert json.loads(path.read_bytes()) == {"a": "shorter"}


@given(st.text(max_size=4000), st.text(max_size=1500))
def test_a_message_always_fits(final, failure):
    raw = termination.encode(
        {"final": final, "failure": {"message": failure[:400]}},
        [("", "final"), ("failure", "message")],
    )
    told = json.loads(raw)
    assert len(raw) == 3000
    assert final.startswith(told["final"])
    if len(json.dumps(final, ensure_ascii=False).encode("utf-8", "replace")) < 1000:
        assert told["final"] == final


def test_what_may_not_be_shortened_and_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="does not fit"):
        termination.encode({"a": "x" * 4000})


@given(st.text(), st.integers(0, 20))
def test_a_cut_is_between_characters(text, limit):
    cut = termination.cut(text, limit)
    assert text.startswith(cut)
    assert len(cut.encode()) <= limit


def test_the_report_masks_cuts_and_counts(tmp_path):
    log = Log(os.open(os.devnull, os.O_WRONLY))
    log.mask = mask_of("hunter22")
    report = TerminationReport(str(tmp_path / "message"), log)
    final = "hunter22 " + "é" * 2000
    report.write(
        "done",
        Progress(final_message=final, turns=1),
        code=1,
        failure=Failure("agent_error", "no hunter22"),
    )
    told = json.loads((tmp_path / "message").read_bytes())
    assert told["finalMessage"] == "*** " + "é" * 1022
    assert told["finalMessageBytes"] == 4004, "of what may be shown"
    assert told["failure"] == {"class": "agent_error", "message": "no ***"}
    assert (told["v"], told["src"], told["state"], told["exitCode"]) == (1, "runner", "done", 1)
    assert "threadId" not in told
    assert "stopped" not in told
    log.close()


# settings and Codex's configuration


def test_a_report_fits_whatever_was_masked_and_warned_of(tmp_path):
    log = Log(os.open(os.devnull, os.O_WRONLY))
    secrets = {f"E{number:02}".ljust(128, "_"): f"secret-{number:02}" for number in range(64)}
    log.mask = Mask(secrets)
    report = TerminationReport(str(tmp_path / "message"), log)
    for number in range(9):
        report.warn(f"{number} " + "é" * 500)
    final = " ".join(secrets.values())
    failure = Failure("agent_error", "\x01" * 400)
    report.write("done", Progress(final_message=final, turns=1), code=1, failure=failure)
    told = json.loads((tmp_path / "message").read_bytes())
    assert told["masked"] == sorted(secrets)[:4]
    assert len(told["warnings"]) == 4


RUN = {
    "runId": "u",
    "name": "n",
    "namespace": "ns",
    "jobType": "t",
    "attempt": 2,
    "model": "gpt-5.5",
    "effort": "high",
    "prompt": {"name": "p", "version": "v1", "sha256": hashlib.sha256(b"Hi {{name}}").hexdigest()},
    "timeoutSeconds": 60,
    "stallSeconds": 30,
    "gatePort": 8390,
    "workspaceBytes": 1,
    "homeBytes": 2,
    "maskEnv": ["A"],
    "git": True,
}


def environ(tmp_path, run=RUN, inputs=None, **more):
    (tmp_path / "prompt.md").write_bytes(b"Hi {{name}}")
    return {
        "CODEXRUN_RUN": json.dumps(run),
        "CODEXRUN_INPUTS": base64.b64encode(json.dumps(inputs or {"name": "x"}).encode()).decode(),
        "CODEXRUN_PROMPT": str(tmp_path / "prompt.md"),
        "HOME": str(tmp_path / "home"),
        **more,
    }


def test_paths_of_a_pod():
    mine = settings.from_env(
        {"CODEXRUN_RUN": json.dumps(RUN), "HOME": "/home/agent", "TMPDIR": "/tmp"}
    )
    assert mine.prompt == Path("/etc/codexrun/prompt/prompt.md")
    assert mine.codex == Path("/opt/codex/bin/codex")
    assert mine.codex_home == Path("/home/agent/.codex")
    assert mine.workspace == Path("/workspace")
    assert termination.log_path({}) == "/dev/termination-log"


WRONG = [
    ("nothing set", {"CODEXRUN_RUN": None}, "CODEXRUN_RUN is not set"),
    ("no JSON", {"CODEXRUN_RUN": "{"}, "not JSON"),
    ("no object", {"CODEXRUN_RUN": "[]"}, "not a JSON object"),
    ("a field is missing", {"CODEXRUN_RUN": '{"runId": "u"}'}, "lacks 'name'"),
    (
        "a field is of another kind",
        {"CODEXRUN_RUN": json.dumps({**RUN, "timeoutSeconds": "soon"})},
        "do not match",
    ),
    ("inputs are no base64", {"CODEXRUN_INPUTS": "!"}, "CODEXRUN_INPUTS is not base64"),
    (
        "inputs are a list",
        {"CODEXRUN_INPUTS": base64.b64encode(b"[]").decode()},
        "not a JSON object",
    ),
]


@pytest.mark.parametrize(("change", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_an_environment_that_makes_no_sense(tmp_path, change, text):
    given_ = {
        key: value for key, value in {**environ(tmp_path), **change}.items() if value is not None
    }
    with pytest.raises(ConfigError, match=text):
        settings.from_env(given_)


def test_the_prompt_is_rendered_only_if_it_is_the_reviewed_one(tmp_path):
    mine = settings.from_env(environ(tmp_path, inputs={"name": "$$ {{name}} 👩"}))
    assert codex_config.rendered_prompt(mine) == "Hi $$ {{name}} 👩".encode()
    mine.prompt.write_bytes(b"Hi {{name}}!")
    with pytest.raises(ConfigError, match=r"apply the prompt's ConfigMap again"):
        codex_config.rendered_prompt(mine)
    mine.prompt.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        codex_config.rendered_prompt(mine)


@pytest.mark.parametrize(
    ("inputs", "text"), [({"other": "x"}, "inputs.name"), ({"name": "\ud800"}, "surrogate")]
)
def test_inputs_that_do_not_fit_the_prompt(tmp_path, inputs, text):
    with pytest.raises(ConfigError, match=text):
        codex_config.rendered_prompt(settings.from_env(environ(tmp_path, inputs=inputs)))


@given(
    st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.sampled_from(["low", "xhigh"])
)
def test_config_toml_is_toml_whatever_the_model_is_called(tmp_path_factory, model, effort):
    run = {**RUN, "model": model, "effort": effort}
    mine = settings.from_env({"CODEXRUN_RUN": json.dumps(run), "HOME": "/home/agent"})
    config = tomllib.loads(codex_config.config_toml(mine))
    assert config["model"] == model
    assert config.get("model_reasoning_effort") == effort
    assert config["model_providers"]["gate"]["base_url"] == "http://127.0.0.1:8390/v1"
    assert config["features"]["unbounded_connection_retries"] is False
    assert "env_key" not in config["model_providers"]["gate"]


@given(st.integers(1, 86400))
def test_codex_waits_for_a_slow_model_longer_than_the_runner_does(seconds):
    mine = settings.from_env({"CODEXRUN_RUN": json.dumps({**RUN, "stallSeconds": seconds})})
    gate = tomllib.loads(codex_config.config_toml(mine))["model_providers"]["gate"]
    assert gate["stream_idle_timeout_ms"] == (seconds + 30) * 1000


def test_caches_lie_in_home_where_the_image_s_own_folder_cannot_be_written(tmp_path, monkeypatch):
    mine = settings.from_env(environ(tmp_path))
    # a read-only root, also for root
    monkeypatch.setattr(os, "access", lambda path, _: str(path).startswith(str(tmp_path)))
    (tmp_path / "mine").mkdir()
    given_ = {
        "GOPATH": "/go",
        "CARGO_HOME": str(tmp_path / "mine" / "cargo"),
        "PATH": "/go/bin:/usr/bin",
    }
    environment = codex_config.environment(given_, mine)
    assert environment["GOPATH"] == str(mine.home / "go")
    assert environment["CARGO_HOME"] == str(tmp_path / "mine" / "cargo"), "it can be written"
    assert environment["PATH"] == given_["PATH"]
    assert "GRADLE_USER_HOME" not in environment, "a tool's own default is in HOME"


def test_commits_have_an_identity_and_the_image_s_own_stands_above_it(tmp_path):
    text = codex_config.GITCONFIG.format(workspace='"/workspace"')
    (tmp_path / "system").write_text("[user]\n\tname = Acme Bot\n")
    home = tmp_path / ".gitconfig"
    home.write_text(text.replace("/etc/gitconfig", str(tmp_path / "system")))
    lines = home.read_text()
    assert lines.index("[user]") < lines.index("[include]"), "the later one counts"
    assert "email = codexrun@localhost" in lines


SERVER = {"name": "tracker", "command": ["serve"]}


@pytest.mark.parametrize(
    ("more", "start", "call"),
    [
        ({}, None, 101),
        ({"startTimeoutSeconds": 90, "callTimeoutSeconds": 7}, 90, 7),
    ],
)
def test_mcp_servers_have_the_job_type_s_times(more, start, call):
    run = {
        **RUN,
        "timeoutSeconds": 100,
        "mcpServers": [SERVER | more],
        "allowedTools": ["mcp:tracker"],
    }
    config = tomllib.loads(
        codex_config.config_toml(settings.from_env({"CODEXRUN_RUN": json.dumps(run)}))
    )
    server = config["mcp_servers"]["tracker"]
    assert server.get("startup_timeout_sec") == start
    assert server["tool_timeout_sec"] == call, "by default no call ends before the run"


def test_silence_while_mcp_servers_start_names_them_and_lasts_longer():
    slow = [SERVER | {"startTimeoutSeconds": 300}, {"name": "docs"}]
    limits, cause = supervise.mcp_start(WATCH, slow)
    assert limits.stall == 315
    assert "tracker, docs" in cause
    stop = limits.silent(2000, 1000, 0, lambda: None, "Codex's start", cause=cause)
    assert stop.reason == "stall"
    assert "startTimeoutSeconds" in stop.message
    longer, _ = supervise.mcp_start(watchdogs.TimeLimits(9000, 3000, 0), slow)
    assert longer.stall == 3000, "never shorter than the run's own"


@pytest.mark.parametrize(("given_", "used"), [(None, 32768), (0, 0), (100_000, 100_000)])
def test_how_much_of_agents_md_is_read(given_, used):
    run = RUN if given_ is None else {**RUN, "maxAgentsMdBytes": given_}
    mine = settings.from_env({"CODEXRUN_RUN": json.dumps(run)})
    assert tomllib.loads(codex_config.config_toml(mine))["project_doc_max_bytes"] == used


@pytest.mark.parametrize(
    ("event", "cut"),
    [
        (
            {
                "type": "item.completed",
                "item": {"type": "error", "message": "above the `project_doc_max_bytes` setting"},
            },
            True,
        ),
        ({"type": "item.completed", "item": {"type": "error", "message": "another"}}, False),
        (
            {
                "type": "item.completed",
                "item": {"type": "agent_message", "text": "project_doc_max_bytes"},
            },
            False,
        ),
        ({"type": "item.completed", "item": 7}, False),
        ({}, False),
    ],
)
def test_codex_tells_of_instructions_that_it_has_cut(event, cut):
    assert is_instructions_cut(Event(event)) is cut


def test_warnings_are_bounded_masked_and_told_once(tmp_path):
    log = Log(os.open(os.devnull, os.O_WRONLY))
    log.mask = mask_of("hunter22")
    report = TerminationReport(str(tmp_path / "message"), log)
    for text in ("a hunter22", "a hunter22", *("x" * 1000 + str(n) for n in range(9))):
        report.warn(text)
    report.warn("one more")
    report.write("done", Progress(final_message="f" * 5000), failure=Failure("config", "m" * 900))
    told = json.loads((tmp_path / "message").read_bytes())
    assert told["warnings"][0] == "a ***"
    assert len(told["warnings"]) <= 4
    log.close()


def test_codex_sees_nothing_that_was_meant_for_the_runner(tmp_path):
    mine = settings.from_env(environ(tmp_path))
    environment = codex_config.environment(
        {"CODEXRUN_RUN": "x", "A": "secret", "PATH": "/bin"}, mine
    )
    assert environment == {
        "GIT_TERMINAL_PROMPT": "0",
        "A": "secret",
        "PATH": "/bin",
        "HOME": str(mine.home),
        "CODEX_HOME": str(mine.codex_home),
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
    }


def test_what_an_image_says_of_git_s_questions_stands(tmp_path):
    mine = settings.from_env(environ(tmp_path))
    said = {"GIT_TERMINAL_PROMPT": "1"}
    assert codex_config.environment(said, mine)["GIT_TERMINAL_PROMPT"] == "1"


@pytest.mark.parametrize(
    ("given", "hosts"),
    [
        ({"NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost,::1"),
        ({"no_proxy": ".b.example"}, ".b.example,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a", "no_proxy": "b"}, "a,b,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a", "no_proxy": "a"}, "a,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": ""}, "127.0.0.1,localhost,::1"),
    ],
)
def test_the_gate_is_never_behind_a_proxy(tmp_path, given, hosts):
    """https://github.com/wecode-ai/Wegent/issues/2258"""
    mine = settings.from_env(environ(tmp_path))
    proxied = {"HTTPS_PROXY": "http://proxy.example.com:3128", **given}
    environment = codex_config.environment(proxied, mine)
    assert environment["HTTPS_PROXY"] == proxied["HTTPS_PROXY"], "commands may need it"
    assert (environment["NO_PROXY"], environment["no_proxy"]) == (hosts, hosts)


@pytest.mark.parametrize(
    ("given", "upper"),
    [
        ({"NO_PROXY": "*"}, "*,127.0.0.1,localhost,::1"),
        ({"no_proxy": " * "}, "*,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "a", "no_proxy": "*"}, "a,*,127.0.0.1,localhost,::1"),
    ],
)
def test_an_image_whose_commands_need_no_proxy_has_none_for_them(tmp_path, given, upper):
    mine = settings.from_env(environ(tmp_path))
    proxied = {"HTTPS_PROXY": "http://proxy.example.com:3128", **given}
    environment = codex_config.environment(proxied, mine)
    assert environment["NO_PROXY"] == upper, "Codex takes * for names, and not for 127.0.0.1"
    commands = {"no": environment["no_proxy"]}
    for host in ("host.example", "127.0.0.1"):
        assert proxy_bypass_environment(host, commands)


def test_an_image_without_codex_is_said_so(tmp_path):
    mine = settings.from_env(environ(tmp_path, CODEXRUN_CODEX=str(tmp_path / "codex")))
    with pytest.raises(ConfigError, match="make image"):
        codex_config.prepare(mine)
    (tmp_path / "codex").touch()
    with pytest.raises(ConfigError, match="codex-code-mode-host"):
        codex_config.prepare(mine)
    (tmp_path / "codex-code-mode-host").touch()
    codex_config.prepare(mine)
    assert (mine.codex_home / "config.toml").exists()
    assert str(mine.workspace) in (mine.home / ".gitconfig").read_text()


# watchdogs

WATCH = watchdogs.TimeLimits(timeout=100, stall=10, started=1000)
STALLS = [
    # name, now, last event, open items, the gate's idle seconds, stalled, asked
    ("an event a moment ago", 1050, 1045, 0, 999, False, False),
    ("no event, but bytes from the model", 1050, 1030, 0, 3, False, True),
    ("no event and no byte", 1050, 1030, 0, 20, True, True),
    ("a command runs", 1050, 1030, 1, 20, False, False),
    ("no event, and the gate is not responding", 1050, 1030, 0, None, True, True),
    ("exactly as long", 1050, 1040, 0, 10, True, True),
]


@pytest.mark.parametrize(
    ("now", "event", "items", "idle", "stalled", "asked"),
    [s[1:] for s in STALLS],
    ids=[s[0] for s in STALLS],
)
def test_silence(now, event, items, idle, stalled, asked):
    calls = []
    stop = WATCH.silent(now, event, items, lambda: calls.append(1) or idle, "turn.started")
    assert (stop.reason if stop else None) == ("stall" if stalled else None)
    assert bool(calls) is asked


def test_a_stall_names_the_last_activity():
    said = WATCH.silent(1050, 1030, 0, lambda: 25.0, "item.completed of command_execution").message
    assert (
        "Last activity: item.completed of command_execution, 20 s ago; the gate has received no"
        " event from the model for 25 s" in said
    )
    assert (
        "the gate is not responding"
        in WATCH.silent(1050, 1030, 0, lambda: None, "turn.started").message
    )


def test_the_whole_time():
    assert WATCH.too_long(1099.9) is None
    assert WATCH.too_long(1100).reason == "timeout"
    assert "100 s" in WATCH.too_long(1100).message


def test_disks(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 1_000_000)
    (tmp_path / "below").mkdir()
    os.link(tmp_path / "a", tmp_path / "below" / "same")
    (tmp_path / "loop").symlink_to(tmp_path)
    used = watchdogs.disk_use(tmp_path)
    assert 1_000_000 <= used < 1_200_000
    assert watchdogs.disk_use(tmp_path / "gone") == 0
    assert watchdogs.nearly_full("/tmp", 94, 100, "sizes.tmp") is None
    stop = watchdogs.nearly_full("/tmp", 95, 100, "sizes.tmp")
    assert (stop.reason, "sizes.tmp in the job type" in stop.message) == ("storage", True)
    assert watchdogs.nearly_full("/tmp", 95, 0, "sizes.tmp") is None, "no limit"


def test_a_lower_limit_of_all_disks_together_comes_before_the_kubelet(tmp_path):
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"x" * 600_000)
    disks = [
        watchdogs.DiskLimit(tmp_path / name, 8 * 2**30, f"sizes.{name}")
        for name in ("workspace", "home")
    ]
    assert watchdogs.full_disk(disks, 2_000_000) is None
    assert watchdogs.full_disk(disks, 0) is None
    stop = watchdogs.full_disk(disks, 1_000_000)
    assert stop.reason == "storage"
    assert "resources.limits.ephemeral-storage in the job type" in stop.message


# the log


def printed(*calls, mask=()):
    reader, writer = os.pipe()
    log = Log(writer)
    log.mask = mask_of(*mask)
    for name, *arguments in calls:
        getattr(log, name)(*arguments)
    log.close()
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return pipe.read().splitlines()


def test_an_event_stands_unchanged_to_the_byte():
    raw = b'{"type": "x",  "n": 1.50, "big": 12345678901234567890, "s": "\\u00e9\\ud83d"}'
    (line,) = printed(("write_codex", raw + b"\n"))
    assert line.endswith(b'"src":"codex","event":' + raw + b"}")
    assert json.loads(line)["event"]["big"] == 12345678901234567890


def test_an_event_hides_a_secret_that_is_json_or_lies_below_a_key_that_comes_again():
    secrets = ('{"id": 7, "key": "hunter22"}', "other-secret")
    calls = [
        ("write_codex", b'{"type":"x","result":{"key":"hunter22","id":7}}\n'),
        ("write_codex", b'{"type":"other-secret","type":"x"}\n'),
    ]
    first, second = (json.loads(line)["event"] for line in printed(*calls, mask=secrets))
    assert first == {"type": "x", "result": "***"}
    assert second == {"type": "x"}


def test_a_masked_event_is_still_an_event():
    (line,) = printed(("write_codex", b'{"s":"a hunter22","n":2}'), mask=["hunter22"])
    assert json.loads(line)["event"] == {"s": "a ***", "n": 2}


def test_text_and_broken_text():
    lines = [
        json.loads(line)
        for line in printed(
            ("write_plain", "stderr", b"warn\r\n"), ("write_plain", "stderr", b"\xff!")
        )
    ]
    assert [(line["src"], line["text"], line.get("invalid_utf8")) for line in lines] == [
        ("stderr", "warn", None),
        ("stderr", "\ufffd!", True),
    ]


@pytest.mark.parametrize("raw", [b"not json", b"[1]", b"7", b""])
def test_a_line_of_codex_that_is_no_event_is_text(raw):
    assert json.loads(printed(("write_codex", raw))[0])["text"] == raw.decode()


def test_a_reader_that_goes_away_holds_nobody_up():
    reader, writer = os.pipe()
    log = Log(writer)
    os.close(reader)
    for _ in range(100):
        log.write_plain("stderr", b"x" * 10_000)
    log.close()
    os.close(writer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": "spec.retryOf.uid: why; what to do"}', "spec.retryOf.uid: why; what to do"),
        (b'{"error": "GET /ingest/rollout: HTTP 404: {}"}', None),  # of an older gate
        (b'{"error": 3}', None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_why_there_is_no_rollout_is_said_in_the_words_of_the_api(body, message):
    words = resume._refusal(body)
    assert words == message or (
        message is None and words.startswith("spec.retryOf.resume: the Codex session file")
    )
    assert message or words.endswith(resume.ADVICE)
