"""The prediction follows the WARS model, and what it says can be checked by hand."""

import random
from collections.abc import Sequence

import pytest

from sadik_machine import MILLISECOND
from sadik_sim.study import Setting
from sadik_sim.study.durations import Durations
from sadik_sim.study.pbs import Model, Prediction, predict

SAMPLES = 4000


def fixed(ms: int) -> Durations:
    return (ms * MILLISECOND,)


def model(
    between: Durations,
    *,
    sync: Durations = (MILLISECOND,),
    owners: Sequence[int] = (0, 1, 2),
    entries: Sequence[int] = (0, 1, 2),
    is_forwarded: bool = False,
) -> Model:
    """One key; clients at each entry equally; the same distribution between any two nodes."""
    return Model(
        weights=[1],
        owners=[owners],
        entries=[[(1, f"site {entry}", [entry]) for entry in entries]],
        delays=[[between] * 4 for _ in range(4)],
        syncs=sync,
        is_forwarded=is_forwarded,
    )


def predicted(model: Model, r: int, w: int, pr: int = 0, pw: int = 0) -> Prediction:
    return predict(model, Setting(3, r, w, pr, pw), SAMPLES, random.Random(1))


def test_r_and_w_of_one_are_fast_and_stale_for_one_message() -> None:
    prediction = predicted(model(fixed(10)), r=1, w=1)
    assert set(prediction.writes["site 1"]) == {1 * MILLISECOND}
    assert set(prediction.reads["site 1"]) == {0}
    # A third of the readers asks the writer's own node; the others' nodes hear in 10 ms.
    assert prediction.visibility(0) == pytest.approx(1 / 3, abs=0.03)
    assert prediction.visibility(10 * MILLISECOND - 1) == pytest.approx(1 / 3, abs=0.03)
    assert prediction.visibility(10 * MILLISECOND) == 1


def test_overlapping_quorums_are_never_stale() -> None:
    spread: Durations = tuple(range(1, 100 * MILLISECOND, MILLISECOND))
    for r, w in ((2, 2), (1, 3), (3, 1)):
        assert predicted(model(spread, sync=spread), r, w).visibility(0) == 1
    for r, w in ((1, 1), (1, 2), (2, 1)):
        assert predicted(model(spread, sync=spread), r, w).visibility(0) < 1


def test_a_quorum_write_takes_a_round_trip_and_two_syncs() -> None:
    prediction = predicted(model(fixed(10), sync=fixed(3)), r=2, w=2)
    assert set(prediction.writes["site 0"]) == {(3 + 10 + 3 + 10) * MILLISECOND}
    assert set(prediction.reads["site 0"]) == {20 * MILLISECOND}


def test_a_forwarded_write_takes_a_round_trip_more_unless_it_enters_at_the_first_owner() -> None:
    prediction = predicted(model(fixed(10), is_forwarded=True), r=1, w=1)
    assert set(prediction.writes["site 0"]) == {1 * MILLISECOND}
    assert set(prediction.writes["site 2"]) == {21 * MILLISECOND}


def test_who_is_no_owner_asks_the_first_owner() -> None:
    prediction = predicted(model(fixed(10), entries=(3,)), r=1, w=1)
    assert set(prediction.writes["site 3"]) == {21 * MILLISECOND}
    assert set(prediction.reads["site 3"]) == {20 * MILLISECOND}
    assert prediction.visibility(0) == 1, "the first owner is the writer's coordinator and hears"


def test_pr_and_pw_ask_for_more_owners() -> None:
    assert predicted(model(fixed(10)), 1, 1, pr=2, pw=2).visibility(0) == 1


def test_the_chance_of_an_old_read_is_that_of_the_race_between_two_messages() -> None:
    # One owner writes, another reads at once, as many ms away as a die shows, 0 to 9: fresh when
    # the write's message and sync are overtaken by nothing, so only where it took no time.
    die = tuple(ms * MILLISECOND for ms in range(10))
    prediction = predicted(model(die, sync=fixed(0), entries=(0, 1), owners=(0, 1)), r=1, w=1)
    for ms in range(10):
        # Half of the readers are where the writer is.
        expected = 0.5 + 0.5 * (ms + 1) / 10
        assert prediction.visibility(ms * MILLISECOND) == pytest.approx(expected, abs=0.03)


def test_one_seed_gives_one_prediction() -> None:
    one, other = (predicted(model(fixed(10)), 1, 1) for _ in range(2))
    assert one == other
