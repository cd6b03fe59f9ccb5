"""The table of values in the chart's README: every value, its default, and its comment."""

import pytest
from chart_values import BEGIN, CHART, END, README, page, table

VALUES = """# A head, which is nobody's.

# The name.
# In two lines | with a pipe.
name: ""
api:
  # Whether: it is there.
  enabled: true
  # Of its container.
  resources:
    requests: {cpu: 1}
  items:
    # Of a list.
    - a: 1
"""


def test_a_value_has_the_comment_right_above_it() -> None:
    text = VALUES.replace("  items:\n    # Of a list.\n    - a: 1\n", "")
    assert table(text).splitlines()[2:] == [
        '| `name` | `""` | The name. In two lines \\| with a pipe. |',
        "| `api.enabled` | `true` | Whether: it is there. |",
        '| `api.resources` | `{"requests": {"cpu": 1}}` | Of its container. |',
    ]


def test_a_value_without_a_comment_is_named() -> None:
    with pytest.raises(SystemExit, match=r"values\.yaml: api\.items has no comment"):
        table(VALUES)


def test_the_rest_of_the_page_stays() -> None:
    old = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    made = page(old, "# What it is.\nname: 1\n")
    assert made.startswith(f"before\n{BEGIN}\n\n| value |")
    assert made.endswith(f"| `name` | `1` | What it is. |\n\n{END}\nafter\n")
    assert page(made, "# What it is.\nname: 1\n") == made


def test_the_charts_own_table_is_up_to_date() -> None:
    text = README.read_text()
    assert page(text, (CHART / "values.yaml").read_text()) == text
