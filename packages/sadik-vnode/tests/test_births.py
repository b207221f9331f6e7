"""Births: no actor is ever drawn twice, whatever of the batches was lost in a crash."""

from __future__ import annotations

import random

from sadik_vnode.births import BIRTH_BLOCK, Births
from sadik_vnode.keyspace import BIRTHS_ROW

INSTANCE = b"instance"


def test_an_actor_is_the_instance_and_a_birth() -> None:
    actor, _ = Births(INSTANCE, None).draw()
    assert actor[:8] == INSTANCE
    assert len(actor) == 12


def test_the_first_birth_of_a_block_carries_its_reservation_and_the_others_nothing() -> None:
    births = Births(INSTANCE, None)
    rows = [births.draw()[1] for _ in range(2 * BIRTH_BLOCK + 1)]
    assert [index for index, row in enumerate(rows) if row] == [0, BIRTH_BLOCK, 2 * BIRTH_BLOCK]
    assert all(len(row) == 1 and row[0][0] == BIRTHS_ROW for row in rows if row)


def test_a_start_goes_on_beyond_all_that_was_reserved() -> None:
    births = Births(INSTANCE, None)
    drawn = [births.draw() for _ in range(10)]
    [(_, saved)] = drawn[0][1]
    again = Births(INSTANCE, saved)
    actors = [actor for actor, _ in drawn] + [again.draw()[0] for _ in range(10)]
    assert len(dict.fromkeys(actors)) == 20


def test_another_instance_is_told_apart() -> None:
    births = Births(INSTANCE, None)
    actor, _ = births.draw()
    assert births.is_of_this_instance(actor)
    assert not births.is_of_this_instance(Births(b"another!", None).draw()[0])
    assert not births.is_of_this_instance(b"")


def test_over_crashes_and_failed_batches_no_birth_that_reached_the_disk_is_drawn_twice() -> None:
    """Batches become durable in order; a failed one takes all later ones with it."""
    source = random.Random(3)
    for _ in range(300):
        saved: bytes | None = None
        durable: dict[bytes, None] = {}
        for _boot in range(4):
            births = Births(INSTANCE, saved)
            queue: list[tuple[bytes, list[tuple[bytes, bytes | None]]]] = []
            for _ in range(source.randrange(40)):
                what = source.randrange(10)
                if what < 6:
                    queue.append(births.draw())
                elif what < 9 and queue:
                    actor, rows = queue.pop(0)
                    for _, value in rows:
                        saved = value
                    assert actor not in durable
                    durable[actor] = None
                elif what == 9 and queue:
                    queue.clear()
                    births.reservation_failed()
                if source.randrange(8) == 0:
                    # As if a block were nearly used up.
                    births._next = max(births._next, births._reserved - source.randrange(3))
            # A crash: what is still queued is lost.
        assert durable
        assert all(
            int.from_bytes(actor[8:], "big") < int.from_bytes(saved or b"", "big")
            for actor in durable
        )
