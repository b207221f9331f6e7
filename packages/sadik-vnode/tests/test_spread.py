"""How long after a write its copies are there, as its coordinator measures it."""

from __future__ import annotations

from sadik_machine import MILLISECOND, SECOND
from sadik_vnode.spread import AGE_BOUNDS, SPREAD_BOUNDS, Durations, Spread, newest
from sadik_vnode.version import Version, tombstone, version_of

TIMESTAMP = 1_700_000_000_000 << 16


def counted(durations: Durations) -> int:
    return sum(durations.counts)


def test_first_majority_and_last_are_told_apart() -> None:
    spread = Spread()
    for copies, took_ms in ((1, 1), (2, 3), (3, 40)):
        spread.copied(copies, 3, took_ms * MILLISECOND)
    assert spread.first.sum == 0.001
    assert spread.majority.sum == 0.003
    assert spread.last.sum == 0.04
    assert [counted(d) for d in (spread.first, spread.majority, spread.last)] == [1, 1, 1]


def test_one_owner_is_first_majority_and_last() -> None:
    spread = Spread()
    spread.copied(1, 1, 2 * MILLISECOND)
    assert spread.first.sum == spread.majority.sum == spread.last.sum == 0.002


def test_a_write_that_an_owner_missed_has_no_last_copy() -> None:
    spread = Spread()
    spread.copied(1, 3, MILLISECOND)
    spread.copied(2, 3, MILLISECOND)
    assert counted(spread.last) == 0


def test_bounds_are_inclusive_and_all_beyond_the_last_has_a_bucket() -> None:
    durations = Durations(SPREAD_BOUNDS)
    for took in (0, SECOND // 2000, 5 * SECOND, 6 * SECOND, -1):
        durations.add(took)
    assert durations.counts[0] == 3, "what a clock put back makes negative counts as nothing"
    assert durations.counts[-2:] == [1, 1]
    assert len(durations.counts) == len(SPREAD_BOUNDS) + 1
    assert list(AGE_BOUNDS) == sorted(set(AGE_BOUNDS))


def test_the_newest_version_is_the_one_written_last_a_delete_too() -> None:
    older = version_of(b"v", TIMESTAMP, None, (), None)
    deleted = tombstone(TIMESTAMP + (5 << 16))
    assert newest([older, deleted]) - newest([older]) == 5 * MILLISECOND
    assert newest([]) == 0
    assert newest([Version(b"damaged", b"", 0)]) == 0
