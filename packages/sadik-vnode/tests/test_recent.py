"""What was met lately: the last value of a key or none, within the bound."""

from __future__ import annotations

import weakref

from hypothesis import given
from hypothesis import strategies as st

from sadik_vnode.recent import Recent

BOUND = 20
STEPS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 99), st.integers(0, BOUND // 2)))


@given(STEPS)
def test_it_knows_the_last_value_of_a_key_or_none(steps: list[tuple[int, int, int]]) -> None:
    recent: Recent[int, int] = Recent(BOUND)
    last: dict[int, int] = {}
    for key, value, size in steps:
        if value % 5:
            recent.put(key, value, size)
            last[key] = value
            assert recent.get(key) == value
        else:
            recent.drop(key)
            last.pop(key, None)
        assert all(recent.get(each) in (None, last.get(each)) for each in range(8))


def test_it_keeps_within_its_bound() -> None:
    recent: Recent[int, int] = Recent(BOUND)
    for key in range(100):
        recent.put(key, key)
    known = [key for key in range(100) if recent.get(key) is not None]
    assert BOUND // 2 <= len(known) <= BOUND
    assert known == list(range(known[0], 100))


class Value:
    """Something that can be watched until it is freed."""


def test_what_is_forgotten_is_freed_a_little_at_a_time_and_before_more_is_forgotten() -> None:
    recent: Recent[int, Value] = Recent(200)
    watched: list[weakref.ref[Value]] = []
    freed_by_one_put = []
    for key in range(1000):
        before = sum(each() is None for each in watched)
        value = Value()
        watched.append(weakref.ref(value))
        recent.put(key, value)
        freed_by_one_put.append(sum(each() is None for each in watched) - before)
    assert max(freed_by_one_put) <= 4
    assert sum(freed_by_one_put) >= 1000 - 300
    recent.clear()
    assert sum(each() is not None for each in watched) == 1  # the last, which has a name here
