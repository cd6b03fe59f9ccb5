"""How deeply may a value be nested? One bound and one sentence for every door."""

from typing import Any

MAX_LEVELS = 32  # of a run's inputs and of an agent's output; the outermost object is the first
TOO_DEEP = f"nested more than {MAX_LEVELS} levels deep; reduce the nesting"

# Of what is shown and kept of an object all the same: pydantic serializes 255 levels, PyYAML writes
# about 300, and an answer or a view adds some around it.
MAX_SHOWN_LEVELS = 100


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and objects are nested more than `levels` deep in `value`; a bare text
    or number has none.

    Neither recursion nor the number of paths matters: a value whose parts are shared (YAML's
    aliases) costs no more than its distinct parts.
    """
    layer = _containers([value])
    for _ in range(levels):
        if not layer:
            return False
        layer = _containers(part for parent in layer for part in _parts(parent))
    return bool(layer)


def nesting_problem(value: Any) -> str | None:
    """Return what is wrong with the nesting of inputs or of an output, and how to mend it; None if
    it is fine."""
    return TOO_DEEP if is_deeper(value, MAX_LEVELS) else None


def cut(value: Any, levels: int = MAX_SHOWN_LEVELS) -> Any:
    """Return `value` with null for what is nested deeper than `levels`; the value itself if nothing
    is."""
    return _cut(value, levels) if is_deeper(value, levels) else value


def _cut(value: Any, levels: int) -> Any:
    if not isinstance(value, dict | list):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [_cut(part, levels - 1) for part in value]
    return {key: _cut(part, levels - 1) for key, part in value.items()}


def _parts(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _containers(values: Any) -> list[Any]:
    return list({id(value): value for value in values if isinstance(value, dict | list)}.values())
