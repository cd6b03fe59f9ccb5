"""A gate that cannot start says so where the operator reads it: it would be restarted for ever."""

import json
from pathlib import Path
from typing import Any

import pytest

from codexrun_pod.gate.__main__ import main
from codexrun_pod.termination import SIZE

CONFIG = {
    "runId": "u",
    "jobType": "hello",
    "attempt": 1,
    "upstreamURL": "https://model.example/v1",
    "port": 8390,
    "models": ["gpt-5.5"],
}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (None, "CODEXRUN_GATE"),
        ("no JSON", "CODEXRUN_GATE"),
        (CONFIG | {"models": None}, "CODEXRUN_GATE"),
        ({"runId": "u"}, "'jobType' is missing"),
        (CONFIG | {"caBundle": True}, "model.caBundle"),
        (CONFIG | {"runId": "u" * 9_000, "port": "x" * 9_000}, "CODEXRUN_GATE"),
    ],
    ids=["absent", "no JSON", "a null", "a field short", "a CA that is none", "long"],
)
def test_what_it_was_given_is_named_in_its_termination_message(
    config: Any,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_text("-----BEGIN CERTIFICATE-----\nno certificate\n")
    told = tmp_path / "termination-log"
    monkeypatch.setenv("CODEXRUN_TERMINATION_LOG", str(told))
    monkeypatch.setenv("CODEXRUN_GATE_CA", str(authority))
    monkeypatch.delenv("CODEXRUN_GATE", raising=False)
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        monkeypatch.setenv("CODEXRUN_GATE", text)
    assert main() == 2
    message = told.read_bytes()
    assert len(message) == SIZE
    report = json.loads(message)
    assert (report["src"], report["failure"]["class"]) == ("gate", "config")
    assert named in report["failure"]["message"]
    assert json.loads(capfdbinary.readouterr().out)["text"] == "gate.misconfigured"
