"""The collector of cycles looks at what is young, and once an hour at everything."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from sadik_node.collector import collecting_the_young, look_at_all


class Thing:
    """Something that can be watched going, alone or in a cycle with itself."""

    def __init__(self) -> None:
        self.me: Thing | None = None


@pytest.fixture(autouse=True)
def young() -> Iterator[None]:
    before, callbacks = gc.get_threshold(), list(gc.callbacks)
    with collecting_the_young():
        yield
    assert gc.get_threshold() == before
    assert gc.callbacks == callbacks
    assert not gc.get_freeze_count()


def make(count: int) -> list[list[int]]:
    """So many objects that the collector knows of."""
    return [[number] for number in range(count)]


def test_what_is_remembered_is_set_aside_and_not_looked_at_again() -> None:
    frozen = gc.get_freeze_count()
    looks: list[int] = []
    gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
    try:
        kept = make(100_000)
    finally:
        gc.callbacks.pop()
    assert len(looks) > 40, "it looks often"
    assert max(looks) == 1, "and never at everything"
    assert gc.get_freeze_count() - frozen > 80_000
    assert len(kept) == 100_000


def test_what_was_set_aside_goes_with_its_last_reference() -> None:
    thing = Thing()
    gone = weakref.ref(thing)
    gc.collect(1)
    del thing
    assert gone() is None


def test_garbage_in_cycles_goes_while_it_is_young() -> None:
    thing = Thing()
    thing.me = thing
    gone = weakref.ref(thing)
    del thing
    kept = make(3_000)
    assert gone() is None
    assert kept


async def test_garbage_in_cycles_that_was_set_aside_goes_within_the_hour(
    autojump_clock: trio.testing.MockClock,
) -> None:
    thing = Thing()
    thing.me = thing
    gone = weakref.ref(thing)
    gc.collect(1)
    del thing
    gc.collect()
    assert gone() is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look_at_all)
        await trio.sleep(3601)
        nursery.cancel_scope.cancel()
    assert gone() is None
