"""What a store of one kind knows, whatever order lists, events and answers come in."""

from hypothesis import given
from hypothesis import strategies as st

from codexrun_operator.watch.store import DELETED_VERSION, Store

UIDS = "abc"


def test_an_older_state_changes_nothing() -> None:
    store: Store[str] = Store()
    assert store.apply("a", 5, "new")
    assert not store.apply("a", 5, "the same again")
    assert not store.apply("a", 4, "old")
    assert store == {"a": "new"}


def test_what_was_forgotten_comes_back_with_later_news_only() -> None:
    store: Store[str] = Store()
    store.apply("a", 5, "live")
    assert store.forget("a", 7) == "live"
    assert not store.apply("a", 7, "late")
    assert store.apply("a", 8, "live again")
    store.forget("a", DELETED_VERSION)
    assert not store.apply("a", 10**12, "late")


def test_a_list_takes_away_what_it_lacks_and_is_not_younger() -> None:
    store: Store[str] = Store()
    for uid, version in (("a", 5), ("b", 10), ("c", 11)):
        store.apply(uid, version, uid)
    assert store.unlisted({"a"}, 10) == ["b"]


def test_tombstones_are_bounded_and_the_oldest_go_first() -> None:
    store: Store[str] = Store(max_tombstones=2)
    for uid, version in (("a", 5), ("b", DELETED_VERSION), ("a", 3), ("c", 1)):
        store.forget(uid, version)
    assert store.tombstones == 2
    assert not store.is_news("a", 5)
    assert store.is_news("b", 1)


# -- any order -----------------------------------------------------------------------------------

# A history of three objects: at each version one of them changes or is deleted.
histories = st.lists(st.tuples(st.sampled_from(UIDS), st.booleans()), min_size=1, max_size=12)


def states(history: list[tuple[str, bool]]) -> list[dict[str, int]]:
    """uid -> version of its last change, of what is there, as of each version from 0 on. A uid that
    was deleted does not come back."""
    now: dict[str, int] = {}
    deleted: set[str] = set()
    result = [dict(now)]
    for version, (uid, there) in enumerate(history, start=1):
        if there and uid not in deleted:
            now[uid] = version
        elif uid in now:
            del now[uid]
            deleted.add(uid)
        result.append(dict(now))
    return result


@given(history=histories, data=st.data())
def test_in_whatever_order_it_is_told_the_last_list_makes_it_true(
    history: list[tuple[str, bool]], data: st.DataObject
) -> None:
    """Events and lists of any age come in any order; then one list of now."""
    truth = states(history)
    store: Store[int] = Store()

    def tell(version: int) -> None:
        for uid, changed in truth[version].items():
            store.apply(uid, changed, changed)
        for uid in store.unlisted(truth[version], version):
            store.forget(uid, version)

    ages = st.integers(0, len(history))
    for version in data.draw(st.lists(ages, max_size=8)):
        if data.draw(st.booleans()):
            tell(version)
        elif version:
            uid = history[version - 1][0]
            if uid in truth[version]:
                store.apply(uid, truth[version][uid], truth[version][uid])
            else:
                store.forget(uid, version)
        for uid, known in store.items():
            assert any(state.get(uid) == known for state in truth)
    tell(len(history))
    assert store == truth[-1]


@given(history=histories, data=st.data())
def test_what_a_newer_list_has_shown_an_older_one_does_not_take_back(
    history: list[tuple[str, bool]], data: st.DataObject
) -> None:
    truth = states(history)
    store: Store[int] = Store()
    now = len(history)
    for version in (now, data.draw(st.integers(0, now))):
        for uid, changed in truth[version].items():
            store.apply(uid, changed, changed)
        for uid in store.unlisted(truth[version], version):
            store.forget(uid, version)
        if version == now:
            for uid in truth[0].keys() | set(UIDS) - truth[now].keys():
                store.forget(uid, now)
    assert store == truth[-1]


def test_what_the_apiserver_names_as_there_is_there_whatever_a_list_lacked() -> None:
    store: Store[str] = Store()
    store.apply("a", 5, "old")
    store.forget("a", 9)
    assert store.revive("a", 6, "new")
    assert dict(store) == {"a": "new"}
    assert not store.revive("a", 5, "older")
    assert dict(store) == {"a": "new"}
