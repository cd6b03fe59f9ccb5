"""Values that an apiserver, an agent or a caller may send, and that no schema of ours bounds."""

from typing import Any

from hypothesis import strategies as st

LEVELS = (1, 31, 32, 33, 40, 99, 101, 256, 260, 1_500, 9_990)


def nested(levels: int, innermost: Any = "text") -> Any:
    """`innermost` within so many containers, lists and objects by turns."""
    value = innermost
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**62, max_value=2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        [
            "",
            "\ud800",
            "\0",
            "Paused",
            "2026-11-24T12:00:00Z",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59Z",
        ]
    )
)
DEEP = st.builds(nested, st.sampled_from(LEVELS), SCALARS)
JSON = st.recursive(
    SCALARS | DEEP,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
