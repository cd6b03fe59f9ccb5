"""A folder of prompts is proven as a whole, and each problem names file, field and way out."""

import json
from pathlib import Path
from typing import Any

import pytest

from codexrun_core.prompts import index as prompts
from codexrun_core.prompts.index import FolderError, PromptIndex

TEXT = "Say hello to {{name}}.\n"
ROOT = Path(__file__).parents[3]


def entry(version: str = "v1", text: str | bytes = TEXT, **changes: Any) -> dict[str, Any]:
    data = text.encode() if isinstance(text, str) else text
    fields = {
        "version": version,
        "path": f"hello/{version}.md",
        "checksum": f"sha256:{prompts.sha256_of(data)}",
        "owner": "team",
        "updated_at": "2026-11-24",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def folder(tmp_path: Path, index: Any, **texts: str | bytes) -> Path:
    """A folder with that index; texts are hello/<version>.md, v1 there from the start."""
    (tmp_path / "hello").mkdir()
    for version, text in ({"v1": TEXT} | texts).items():
        (tmp_path / f"hello/{version}.md").write_bytes(
            text.encode() if isinstance(text, str) else text
        )
    (tmp_path / "index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    return tmp_path


def problems(path: Path) -> str:
    with pytest.raises(FolderError) as caught:
        prompts.load(path)
    return str(caught.value)


def test_a_good_folder(tmp_path: Path) -> None:
    index = prompts.load(
        folder(tmp_path, {"hello": [entry(), entry("v2", "Hi {{name}}")]}, v2="Hi {{name}}")
    )
    assert [(v.name, v.version, v.text) for v in index.all()] == [
        ("hello", "v1", TEXT),
        ("hello", "v2", "Hi {{name}}"),
    ]
    assert index.find("hello", "v2").config_map_name == "prompt-hello-v2"
    assert index.find("hello", "v1").sha256 == prompts.sha256_of(TEXT.encode())


def test_our_own_folder_is_good() -> None:
    assert [version.config_map_name for version in prompts.load(ROOT / "prompts").all()] == [
        "prompt-code-review-v1",
        "prompt-code-review-v2",
        "prompt-fix-failing-test-v1",
        "prompt-hello-v1",
        "prompt-release-notes-v1",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "no newline at the end",
        "\r\nDOS\r\n",
        "  leading and trailing  \n\n\n",
        "\ufeffmarked",
        "tab\there",
        "🦊 \u2028 é",
        "a" * 131_072,
    ],
    ids=["no-newline", "crlf", "spaces", "bom", "tab", "unicode", "largest"],
)
def test_any_text_is_taken_as_it_is(tmp_path: Path, text: str) -> None:
    index = prompts.load(folder(tmp_path, {"hello": [entry(text=text)]}, v1=text))
    assert index.find("hello", "v1").text == text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1"}, 'hello[0].version: "1" is not valid; write "v1"'),
        ({"version": "v0"}, 'hello[0].version: "v0" is not valid'),
        ({"version": "v01"}, 'hello[0].version: "v01" is not valid'),
        ({"version": None}, "hello[0].version: missing; write"),
        ({"version": 1}, "hello[0].version: 1 is not valid"),
        ({"checksum": "0" * 64}, "hello[0].checksum: "),
        ({"checksum": None}, "hello[0].checksum: missing; write"),
        (
            {"path": "../secret"},
            'hello[0].path: "../secret" is not valid; give the path of the text file',
        ),
        ({"path": "/etc/passwd"}, 'hello[0].path: "/etc/passwd" is not valid'),
        ({"path": "a\0b"}, "hello[0].path: "),
        ({"path": ""}, "hello[0].path: "),
        ({"path": "hello\\v1.md"}, "hello[0].path: "),
        (
            {"path": "hello/v9.md"},
            "hello[0].path: hello/v9.md cannot be read (No such file or directory); add the file",
        ),
        ({"path": "hello"}, "hello[0].path: hello cannot be read (Is a directory)"),
        ({"owner": " "}, "hello[0].owner: "),
        ({"owner": "a\nb"}, "hello[0].owner: "),
        (
            {"updated_at": "24.11.2026"},
            'hello[0].updated_at: "24.11.2026" is not valid; write the date as "YYYY-MM-DD"',
        ),
        ({"updated_at": "2026-02-30"}, "hello[0].updated_at: "),
        (
            {"update_at": "2026-11-24"},
            "hello[0].update_at: unknown field; use one of version, path",
        ),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert f"prompts/index.json: {said}" in problems(
        folder(tmp_path, {"hello": [entry(**changes)]})
    )


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "prompts/index.json: not valid JSON: "),
        ('{"hello": [], "hello": []}', '"hello" appears twice'),
        ("[]", "prompts/index.json: must be an object whose keys are prompt names"),
        ({"hello": []}, "prompts/index.json: hello: must be a list with at least one version"),
        (
            {"hello": ["v1"]},
            "prompts/index.json: hello[0]: must be an object with the fields version, path",
        ),
        (
            {"Hello": [entry()]},
            'prompts/index.json: "Hello" is not a valid name for a prompt; use at most 63',
        ),
        ({"h" * 64: [entry()]}, "is not a valid name for a prompt"),
        ({"-hello": [entry()]}, "is not a valid name for a prompt"),
        (
            {"hello": [entry(), entry()]},
            'hello[1].version: "v1" appears twice; remove one of the entries',
        ),
        (
            {"hello": [entry("v2", path="hello/v1.md"), entry()]},
            'hello[1].version: "v1" comes after a higher version',
        ),
        (
            {"hello": [entry()], "hi": [entry()]},
            "hello/v1.md is used by hello v1 and hi v1; give each version its own file",
        ),
    ],
    ids=[
        "broken",
        "twice",
        "list",
        "empty",
        "no-object",
        "capital",
        "long",
        "hyphen",
        "version",
        "order",
        "shared",
    ],
)
def test_a_wrong_index_is_explained(tmp_path: Path, index: Any, said: str) -> None:
    assert said in problems(folder(tmp_path, index))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b" \n", "hello/v1.md is empty; write the prompt into it"),
        (
            b"a" * 131_073,
            "hello/v1.md is 131073 bytes long, more than the 131072 bytes allowed; shorten it",
        ),
        (b"caf\xe9", "hello/v1.md is not UTF-8 (byte 3); save it as UTF-8"),
        (b"a\0b", "hello/v1.md contains a NUL character"),
    ],
    ids=["empty", "long", "latin1", "nul"],
)
def test_a_text_that_cannot_be_a_prompt(tmp_path: Path, text: bytes, said: str) -> None:
    assert said in problems(folder(tmp_path, {"hello": [entry(text=text)]}, v1=text))


def test_a_changed_text_names_the_next_free_version(tmp_path: Path) -> None:
    said = problems(folder(tmp_path, {"hello": [entry(), entry("v2")]}, v1="changed", v2=TEXT))
    assert f"hello/v1.md has sha256:{prompts.sha256_of(b'changed')}, but the index says" in said
    assert (
        "a published version never changes: restore the file and add the new text as v3, or correct"
        " the checksum" in said
    )


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "prompts"
    inside.mkdir()
    folder(inside, {"hello": [entry()]})
    (inside / "hello/v1.md").unlink()
    (tmp_path / "secret").write_text(TEXT)
    (inside / "hello/v1.md").symlink_to(tmp_path / "secret")
    assert "hello[0].path: hello/v1.md points outside the prompts directory" in problems(inside)


def test_no_index_at_all(tmp_path: Path) -> None:
    assert problems(tmp_path).startswith("prompts/index.json: not found; create it")


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    said = problems(
        folder(tmp_path, {"hello": [entry(owner=""), entry("v2", owner=None)], "X": []})
    )
    assert len(said.splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("hallo", "v1", 'prompt "hallo" is not in the index; add it there, or use one of: hello'),
        (
            "hello",
            "v7",
            'prompt "hello" has no version "v7"; add it to the index, or use one of: v1',
        ),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    tmp_path: Path, name: str, version: str, said: str
) -> None:
    index: PromptIndex = prompts.load(folder(tmp_path, {"hello": [entry()]}))
    with pytest.raises(LookupError, match="index") as caught:
        index.find(name, version)
    assert str(caught.value) == said
