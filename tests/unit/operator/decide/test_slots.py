"""Who gets a slot: priority, then age; never more than there are."""

from builders import NOON
from hypothesis import given
from hypothesis import strategies as st

from codexrun_operator.decide.slots import QueueKey, RunQueue, Slots, may_start, next_to_start

places = st.builds(
    QueueKey,
    minus_priority=st.integers(-3, 3),
    created=st.integers(0, 3).map(lambda minutes: NOON.timestamp() + 60 * minutes),
    uid=st.text("abcdef", min_size=1, max_size=4),
)
queues = st.lists(places, max_size=8, unique_by=lambda queue_key: queue_key.uid)


def queue_key(uid: str, *, priority: int = 0, minute: int = 0) -> QueueKey:
    return QueueKey(-priority, NOON.timestamp() + 60 * minute, uid)


def queue_of(waiting: list[QueueKey]) -> RunQueue:
    queue = RunQueue()
    for key in waiting:
        queue.put(key)
    return queue


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


@given(queues, st.integers(0, 9), st.integers(0, 9), st.data())
def test_exactly_the_best_start_of_those_who_may(
    waiting: list[QueueKey], limit: int, holders: int, data: st.DataObject
) -> None:
    slots = Slots(limit=limit, holders=holders)
    queue = queue_of(waiting)
    uids = [key.uid for key in waiting]
    without = data.draw(st.sets(st.sampled_from([*uids, "nobody"])))
    starting = [key for key in waiting if may_start(key, queue, slots, without)]
    eligible = [key for key in sorted(waiting) if key.uid not in without]
    assert sorted(starting) == next_to_start(queue, slots, without) == eligible[: slots.free]


@given(queues, places, st.integers(0, 4))
def test_it_does_not_matter_whether_one_is_in_the_line_already(
    waiting: list[QueueKey], newcomer: QueueKey, limit: int
) -> None:
    others = [p for p in waiting if p.uid != newcomer.uid]
    slots = Slots(limit=limit, holders=0)
    with_it = queue_of([*others, newcomer])
    assert may_start(newcomer, queue_of(others), slots) == may_start(newcomer, with_it, slots)


@given(st.lists(st.tuples(st.booleans(), places), max_size=30))
def test_the_queue_is_sorted_and_has_each_run_once_whatever_comes_and_goes(
    changes: list[tuple[bool, QueueKey]],
) -> None:
    queue = RunQueue()
    model: dict[str, QueueKey] = {}
    for put, key in changes:
        if put:
            moved = key.uid in model and model[key.uid] != key
            assert queue.put(key) is moved
            model[key.uid] = key
        else:
            assert queue.remove(key.uid) is (model.pop(key.uid, None) is not None)
        assert list(queue) == sorted(model.values())
        assert (len(queue), key.uid in queue) == (len(model), key.uid in model)
