"""Background work has half of the time when nobody is served, 15 % when nobody minds, and
little when clients have to wait.
"""

import pytest

from sadik_machine import MILLISECOND, SECOND
from sadik_vnode.admission import Admission

UNIT = 10 * MILLISECOND
WHILE_SERVING = pytest.approx(UNIT * 85 / 15, abs=1)


def serve(admission: Admission, now: int, took_ns: int, windows: int) -> int:
    """Serve requests that take so long for some windows; the time then."""
    for _ in range(windows * 10):
        now += 11 * MILLISECOND
        admission.served(now, took_ns)
    return now


def test_idle_it_waits_as_long_as_it_worked() -> None:
    assert Admission().pause_ns(SECOND, UNIT) == UNIT


def test_it_waits_nearly_six_times_as_long_as_it_worked_from_when_clients_are_served() -> None:
    admission = Admission()
    now = serve(admission, 90 * 86_400 * SECOND, 2 * MILLISECOND, 2)
    assert admission.pause_ns(now, UNIT) == WHILE_SERVING
    now = serve(admission, now, 2 * MILLISECOND, 20)
    assert admission.pause_ns(now, UNIT) == WHILE_SERVING


def test_when_the_clients_have_gone_it_has_its_half_again_within_seconds() -> None:
    admission = Admission()
    now = serve(admission, 0, 2 * MILLISECOND, 20)
    assert admission.pause_ns(now + 3 * SECOND, UNIT) == UNIT


def test_it_yields_within_a_second_when_requests_get_slower_and_comes_back() -> None:
    admission = Admission()
    now = serve(admission, 90 * 86_400 * SECOND, 2 * MILLISECOND, 20)
    assert admission.pause_ns(now, UNIT) == WHILE_SERVING
    now = serve(admission, now, 20 * MILLISECOND, 8)
    assert admission.share <= 0.03
    assert admission.pause_ns(now, UNIT) > 30 * UNIT
    now = serve(admission, now, 2 * MILLISECOND, 40)
    assert admission.pause_ns(now, UNIT) == WHILE_SERVING


def test_it_never_stops_for_good() -> None:
    admission = Admission()
    now = serve(admission, 0, MILLISECOND, 3)
    now = serve(admission, now, SECOND, 100)
    assert admission.share > 0
    assert admission.pause_ns(now, 60 * SECOND) <= 5 * SECOND


def test_a_load_that_is_here_to_stay_becomes_the_usual() -> None:
    admission = Admission()
    now = serve(admission, 0, 2 * MILLISECOND, 20)
    serve(admission, now, 8 * MILLISECOND, 400)
    assert admission.share == 0.15


def test_noise_is_not_taken_for_load() -> None:
    admission = Admission()
    now = serve(admission, 0, MILLISECOND // 4, 20)
    serve(admission, now, MILLISECOND, 20)
    assert admission.share == 0.15


def test_a_unit_that_took_no_time_on_the_clock_still_costs_a_pause() -> None:
    assert Admission().pause_ns(0, 0) > 0
