"""The heap of events: virtual time goes from event to event and never back."""

from sadik_sim.events import Events


def test_events_happen_in_time_order_and_ties_in_the_order_they_were_set() -> None:
    events, seen = Events(100), []
    events.at(300, lambda: seen.append(("c", events.now)))
    events.at(200, lambda: seen.append(("a", events.now)))
    events.after(100, lambda: seen.append(("b", events.now)))
    events.run_until(1000)
    assert seen == [("a", 200), ("b", 200), ("c", 300)]
    assert events.now == 1000
    assert events.happened == 3


def test_what_is_due_in_the_past_happens_now() -> None:
    events, seen = Events(500), []
    events.at(1, lambda: seen.append(events.now))
    events.run_until(500)
    assert seen == [500]


def test_events_may_set_events_and_those_beyond_the_end_wait() -> None:
    events, seen = Events(0), []

    def again() -> None:
        seen.append(events.now)
        events.after(10, again)

    again()
    events.run_until(35)
    assert seen == [0, 10, 20, 30]
    events.run_until(40)
    assert seen == [0, 10, 20, 30, 40]
    assert events.happened == 4


def test_what_is_to_be_done_comes_with_its_arguments() -> None:
    events = Events(0)
    seen: list[int] = []
    events.at(10, seen.extend, (1, 2))
    events.after(5, seen.append, 0)
    events.run_until(10)
    assert seen == [0, 1, 2]


def test_a_series_happens_item_by_item_among_other_events() -> None:
    events = Events(0)
    seen: list[str] = []
    events.at_each([(10, "a"), (20, "b"), (20, "c"), (40, "d")], seen.append)
    events.at(20, seen.append, "other")
    events.run_until(30)
    assert seen == ["a", "other", "b", "c"]
    assert events.happened == 4
    events.run_until(40)
    assert seen == ["a", "other", "b", "c", "d"]


def test_waiting_for_a_condition_stops_as_soon_as_it_ceases() -> None:
    events, seen = Events(0), []
    for when in (10, 20, 30):
        events.at(when, lambda: seen.append(events.now))
    assert events.run_while(lambda: len(seen) < 2, 100)
    assert events.now == 20
    assert not events.run_while(lambda: len(seen) < 9, 100)
    assert events.now == 100
