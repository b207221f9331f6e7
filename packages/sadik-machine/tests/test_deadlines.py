"""Deadlines: what a dictionary sorted by hand would do, faster and within bounded memory."""

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import Deadlines


class Twin:
    """The same promise, kept in the plainest way."""

    def __init__(self) -> None:
        self.at: dict[int, tuple[int, int]] = {}
        self.count = 0

    def set(self, key: int, at: int) -> None:
        self.count += 1
        self.at[key] = (at, self.count)

    def first(self) -> int | None:
        return min((at for at, _ in self.at.values()), default=None)

    def due(self, now: int) -> list[int]:
        keys = sorted((k for k in self.at if self.at[k][0] <= now), key=lambda k: self.at[k])
        for key in keys:
            del self.at[key]
        return keys


KEYS = st.integers(0, 20)
INSTANTS = st.integers(0, 50)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, INSTANTS),
        st.tuples(st.just("drop"), KEYS, st.just(0)),
        st.tuples(st.just("due"), st.just(0), INSTANTS),
        st.tuples(st.just("many"), st.integers(1, 60), INSTANTS),
    ),
    max_size=200,
)


@given(OPERATIONS)
def test_deadlines_do_what_the_naive_twin_does(operations: list[tuple[str, int, int]]) -> None:
    deadlines: Deadlines[int] = Deadlines()
    twin = Twin()
    for what, key, at in operations:
        if what == "set":
            deadlines.set(key, at)
            twin.set(key, at)
        elif what == "many":
            for other in range(key):
                deadlines.set(other, at)
                twin.set(other, at)
        elif what == "drop":
            deadlines.drop(key)
            twin.at.pop(key, None)
        else:
            assert deadlines.due(at) == twin.due(at)
        assert len(deadlines) == len(twin.at)
        assert (key in deadlines) == (key in twin.at)
        assert deadlines.first == twin.first()
    assert deadlines.due(50) == twin.due(50)


def test_keys_of_one_instant_come_in_the_order_they_were_set() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key in ("b", "a", "c"):
        deadlines.set(key, 7)
    deadlines.set("b", 7)
    assert deadlines.due(7) == ["a", "c", "b"]


def test_keys_need_not_be_comparable() -> None:
    deadlines: Deadlines[object] = Deadlines()
    keys = [object(), None, "x", b"x"]
    for key in keys:
        deadlines.set(key, 1)
    assert deadlines.due(1) == keys


def test_a_key_whose_time_has_come_is_taken_out_once() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 5)
    assert deadlines.due(4) == []
    assert deadlines.due(5) == ["a"]
    assert deadlines.due(5) == []
    assert deadlines.first is None


def test_what_is_done_for_one_key_may_drop_or_move_the_next() -> None:
    deadlines: Deadlines[str] = Deadlines()
    for key in ("first", "dropped", "moved", "set again", "last"):
        deadlines.set(key, 1)
    came = []
    for key in deadlines.each_due(5):
        came.append(key)
        if key == "first":
            deadlines.drop("dropped")
            deadlines.set("moved", 9)
            deadlines.set("set again", 2)
            deadlines.set("new", 0)
    assert came == ["first", "last"]
    assert deadlines.due(5) == ["new", "set again"]
    assert deadlines.due(9) == ["moved"]
    assert deadlines.first is None
    assert not len(deadlines)


def test_moving_a_deadline_later_or_earlier_replaces_it() -> None:
    deadlines: Deadlines[str] = Deadlines()
    deadlines.set("a", 5)
    deadlines.set("a", 9)
    assert deadlines.first == 9
    assert deadlines.due(8) == []
    deadlines.set("a", 2)
    assert deadlines.due(8) == ["a"]
    assert deadlines.due(100) == []


class Request:
    """Something that a deadline waits for, and that should go when its answer came."""


def test_what_was_dropped_is_soon_let_go_even_if_nothing_is_set_any_more() -> None:
    deadlines: Deadlines[Request] = Deadlines()
    kept = [Request() for _ in range(100)]
    for key in kept:
        deadlines.set(key, 1)
    answered = [Request() for _ in range(10_000)]
    refs = [weakref.ref(key) for key in answered]
    for key in answered:
        deadlines.set(key, 10)
    for key in answered:
        deadlines.drop(key)
    del key
    answered.clear()
    gc.collect()
    alive = sum(ref() is not None for ref in refs)
    assert len(deadlines) == len(kept)
    assert alive <= len(kept)


def test_setting_one_key_for_ever_keeps_little() -> None:
    deadlines: Deadlines[Request] = Deadlines()
    key = Request()
    before = len(gc.get_referrers(key))
    for at in range(100_000):
        deadlines.set(key, at)
    assert len(gc.get_referrers(key)) - before < 200
    assert deadlines.due(100_000) == [key]
