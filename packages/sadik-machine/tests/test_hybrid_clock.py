"""The hybrid clock: never back, close to the wall, and dragged along by nobody."""

from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import (
    AHEAD_MAX_NS,
    MILLISECOND,
    SECOND,
    HybridClock,
    timestamp_wall_ns,
)

WALL = 1_700_000_000 * SECOND


def stamp(wall_ns: int, counter: int = 0) -> int:
    """The timestamp that a clock elsewhere makes at ``wall_ns``."""
    return (wall_ns // MILLISECOND << 16) + counter


def clock_at(now: int, wall_ns: int) -> HybridClock:
    clock = HybridClock()
    clock.set_wall(now, wall_ns)
    return clock


def test_a_timestamp_stands_for_the_wall_time_at_which_it_was_made() -> None:
    clock = clock_at(5, WALL)
    assert timestamp_wall_ns(clock.tick(5)) == WALL
    assert timestamp_wall_ns(clock.tick(5 + 7 * MILLISECOND)) == WALL + 7 * MILLISECOND


def test_timestamps_of_one_millisecond_differ_by_their_counter() -> None:
    clock = clock_at(0, WALL)
    ticks = [clock.tick(0) for _ in range(1000)]
    assert ticks == list(range(ticks[0], ticks[0] + 1000))
    assert timestamp_wall_ns(ticks[-1]) == WALL


def test_the_monotonic_clock_carries_the_wall_on_between_readings() -> None:
    clock = clock_at(100, WALL)
    assert clock.wall_ns(100 + SECOND) == WALL + SECOND


def test_the_wall_clock_shown_is_never_the_hybrid_one() -> None:
    clock = clock_at(0, WALL)
    clock.adopt(0, stamp(WALL + 30 * SECOND))
    assert clock.wall_ns(0) == WALL


def test_a_wall_clock_set_back_does_not_take_timestamps_back() -> None:
    clock = clock_at(0, WALL)
    before = clock.tick(0)
    clock.set_wall(0, WALL - 3600 * SECOND)
    assert clock.tick(0) == before + 1


def test_a_wall_clock_before_the_epoch_makes_timestamps_still() -> None:
    clock = clock_at(0, -WALL)
    assert [clock.tick(0), clock.tick(0)] == [1, 2]


def test_what_was_adopted_is_passed() -> None:
    clock = clock_at(0, WALL)
    remote = stamp(WALL + 10 * SECOND, 3)
    assert clock.adopt(0, remote)
    assert clock.tick(0) == remote + 1


def test_an_old_timestamp_changes_nothing() -> None:
    clock = clock_at(0, WALL)
    before = clock.tick(0)
    assert clock.adopt(0, stamp(WALL - 3600 * SECOND))
    assert clock.tick(0) == before + 1


def test_sixty_seconds_ahead_is_adopted_and_a_millisecond_more_is_not() -> None:
    clock = clock_at(0, WALL)
    assert AHEAD_MAX_NS == 60 * SECOND
    assert clock.adopt(0, stamp(WALL + AHEAD_MAX_NS, 0xFFFF))
    assert clock.refused_count == 0
    last = clock.tick(0)
    assert not clock.adopt(0, stamp(WALL + AHEAD_MAX_NS + MILLISECOND))
    assert clock.tick(0) == last + 1
    assert clock.refused_count == 1


def test_refused_timestamps_are_counted_with_the_greatest_lead() -> None:
    clock = clock_at(0, WALL)
    year = 365 * 86400 * SECOND
    for lead in (90 * SECOND, year, 2 * AHEAD_MAX_NS):
        assert not clock.adopt(0, stamp(WALL + lead))
    assert clock.refused_count == 3
    assert clock.ahead_ns == year


EVENTS = st.one_of(
    st.tuples(st.just("tick"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 10 * SECOND)),
    st.tuples(st.just("set"), st.integers(-2 * WALL, 2 * WALL)),
    st.tuples(st.just("adopt"), st.integers(-(1 << 64), 1 << 64)),
    st.tuples(st.just("near"), st.integers(-120 * SECOND, 120 * SECOND)),
)


@given(st.lists(EVENTS, max_size=60))
def test_timestamps_grow_whatever_happens_and_lead_the_wall_by_sixty_seconds_at_most(
    events: list[tuple[str, int]],
) -> None:
    now = 0
    clock = clock_at(now, WALL)
    greatest_wall = WALL
    ticks = 0
    last = 0
    for what, number in events:
        if what == "wait":
            now += number
        elif what == "set":
            clock.set_wall(now, number)
        elif what == "tick":
            made = clock.tick(now)
            assert made > last
            last = made
            ticks += 1
        else:
            remote = number if what == "adopt" else stamp(clock.wall_ns(now) + number)
            if clock.adopt(now, remote):
                assert timestamp_wall_ns(remote) <= clock.wall_ns(now) + AHEAD_MAX_NS
                last = max(last, remote)
            else:
                assert timestamp_wall_ns(remote) > clock.wall_ns(now) + AHEAD_MAX_NS
        greatest_wall = max(greatest_wall, clock.wall_ns(now))
        assert last <= stamp(greatest_wall + AHEAD_MAX_NS) + 0xFFFF + ticks
    assert clock.tick(now) > last
