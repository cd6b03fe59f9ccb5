"""Who gets a slot: priority, then age; never more than there are."""

from datetime import timedelta

from builders import NOON
from hypothesis import given
from hypothesis import strategies as st

from codexrun_operator.decide.slots import QueueKey, Slots, may_start, next_to_start

places = st.builds(
    QueueKey,
    minus_priority=st.integers(-3, 3),
    created=st.integers(0, 3).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    uid=st.text("abcdef", min_size=1, max_size=4),
)
queues = st.lists(places, max_size=8, unique_by=lambda queue_key: queue_key.uid)


def queue_key(uid: str, *, priority: int = 0, minute: int = 0) -> QueueKey:
    return QueueKey(-priority, NOON + timedelta(minutes=minute), uid)


def test_higher_priority_first_then_the_older_one_then_the_uid() -> None:
    line = [
        queue_key("c", minute=1),
        queue_key("b"),
        queue_key("a"),
        queue_key("z", priority=1, minute=9),
    ]
    assert [p.uid for p in sorted(line)] == ["z", "a", "b", "c"]


def test_no_slots_are_free_while_suspended_or_over_the_limit() -> None:
    assert Slots(limit=3, holders=1).free == 2
    assert Slots(limit=3, holders=5).free == 0
    assert Slots(limit=3, holders=0, suspended=True).free == 0


@given(queues, st.integers(0, 9), st.integers(0, 9))
def test_exactly_the_best_start(waiting: list[QueueKey], limit: int, holders: int) -> None:
    slots = Slots(limit=limit, holders=holders)
    starting = [p for p in waiting if may_start(p, waiting, slots)]
    assert sorted(starting) == next_to_start(waiting, slots) == sorted(waiting)[: slots.free]


@given(queues, places, st.integers(0, 4))
def test_it_does_not_matter_whether_one_is_in_the_line_already(
    waiting: list[QueueKey], newcomer: QueueKey, limit: int
) -> None:
    others = [p for p in waiting if p.uid != newcomer.uid]
    slots = Slots(limit=limit, holders=0)
    assert may_start(newcomer, others, slots) == may_start(newcomer, [*others, newcomer], slots)
