"""How the page shows what an agent said at the end."""

import json

import pytest

from codexrun_api.console.view.transcript import MAX_UNFOLDED_CHARACTERS, final_message


@pytest.mark.parametrize(
    ("message", "shown", "is_json"),
    [
        ("Done.", "Done.", False),
        ('{"findings":[{"line":3}]}', '{\n  "findings": [\n    {\n      "line": 3\n', True),
        (" [1,2]", "[\n  1,\n  2\n]", True),
        ("42", "42", False),
        ("[link](https://example.com)", "[link](https://example.com)", False),
        ("{" * 5000, "{{{", False),
        ("[" * 500 + "]" * 500, "[[[", False),
    ],
)
def test_json_is_laid_out(message: str, shown: str, is_json: bool) -> None:
    view = final_message(message)
    assert view.text.startswith(shown)
    assert view.is_json is is_json


@pytest.mark.parametrize(
    ("message", "folded"),
    [
        ("short", False),
        ("x" * (MAX_UNFOLDED_CHARACTERS + 1), True),
        ("\n" * 100, True),
        (json.dumps(list(range(100))), True),
    ],
)
def test_what_is_long_is_folded(message: str, folded: bool) -> None:
    assert final_message(message).folded is folded
