"""Dots: the name of one version, for ever.

A dot is (actor, counter): the counter-th event of one actor. An actor is the place that makes
dots of a key in sequence, so no dot is ever made twice and a dot names one value for ever
(Preguiça, Baquero, Almeida et al. 2012, "Efficient Causality Tracking in Distributed Storage
Systems with Dotted Version Vectors"). Dots are plain tuples: they are made and compared on every
read and write, they sort by actor and then counter, and they are dictionary keys.
"""

from typing import Final, TypeAlias

Actor: TypeAlias = bytes
"""Who makes dots: 1 to `ACTOR_BYTES_MAX` opaque bytes."""

Dot: TypeAlias = tuple[bytes, int]
"""(actor, counter); counters run 1, 2, 3 ... within an actor."""

ACTOR_BYTES_MAX: Final = 12
COUNTER_MAX: Final = 2**63 - 1


class DotError(ValueError):
    """What was given is not a dot; the message says why."""


def check_actor(actor: object) -> Actor:
    """Return ``actor`` if it is 1 to `ACTOR_BYTES_MAX` bytes, else raise `DotError`."""
    if type(actor) is not bytes:
        raise DotError(f"an actor is bytes, not {type(actor).__name__}")
    if not 1 <= len(actor) <= ACTOR_BYTES_MAX:
        raise DotError(f"an actor has 1 to {ACTOR_BYTES_MAX} bytes, not {len(actor)}")
    return actor


def check_counter(counter: object) -> int:
    """Return ``counter`` if it is an integer of 1 to `COUNTER_MAX`, else raise `DotError`."""
    # Not isinstance: True is an int, but it is no counter, and it encodes differently.
    if type(counter) is not int:
        raise DotError(f"a counter is an integer, not {type(counter).__name__}")
    if not 1 <= counter <= COUNTER_MAX:
        raise DotError("a counter is at least 1 and below 2**63")
    return counter


def dot_from_plain(plain: object) -> Dot:
    """Read a decoded ``[actor, counter]`` (a list or a tuple) as a dot, trusting nothing.

    Raises `DotError` for any other shape. The plain form of a dot is the dot itself: CBOR writes
    a tuple as a list.
    """
    if not isinstance(plain, (list, tuple)) or len(plain) != 2:
        raise DotError("a dot is a pair of actor and counter")
    actor, counter = plain
    return (check_actor(actor), check_counter(counter))
