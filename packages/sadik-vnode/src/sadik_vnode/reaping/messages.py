"""What nodes say to each other about what is gone, and about what is not theirs."""

from __future__ import annotations

from attrs import define

from sadik_vnode.messages import MESSAGES

__all__ = [
    "CoversAsked",
    "CoversTold",
    "GoneAsked",
    "GoneTold",
    "Reap",
    "Reaped",
    "StatesAsked",
    "StatesTold",
]

GoneItem = tuple[str, bytes, int, tuple[tuple[bytes, int], ...], object]
"""(bucket, key, epoch of its partition, live dots, plain context) of a record that is gone."""


@MESSAGES.message(160)
@define(slots=True)
class GoneAsked:
    """Do you hold these records exactly so, and are they gone by your clock too?"""

    request: int
    items: tuple[GoneItem, ...]


@MESSAGES.message(161)
@define(slots=True)
class GoneTold:
    """Which of them: True for each that is so on the sender's disk.

    It was read in reap generation ``generation`` of the life ``life``, a random number of one start
    of a node. Where only the context is wider here than in the question, it is in ``wider`` as
    (index, plain context): the asking side merges it, as this side merges what the question had.
    """

    request: int
    status: int
    generation: int
    life: int
    verdicts: tuple[bool, ...]
    wider: tuple[tuple[int, object], ...] = ()


@MESSAGES.message(162)
@define(slots=True)
class Reap:
    """These are proven: take them away where they are still so.

    Only in life ``life``, and only in generation ``generation`` or later.
    """

    request: int
    life: int
    generation: int
    items: tuple[GoneItem, ...]


@MESSAGES.message(163)
@define(slots=True)
class Reaped:
    """They are gone from the sender's disk, or were not so any more."""

    request: int
    status: int


@MESSAGES.message(164)
@define(slots=True)
class CoversAsked:
    """Do your records of these keys, which you own, cover these contexts?

    Items are (bucket, key, epoch of the partition, plain context).
    """

    request: int
    items: tuple[tuple[str, bytes, int, object], ...]


@MESSAGES.message(165)
@define(slots=True)
class CoversTold:
    """True for each that the sender's disk covers. Earlier versions append registers of later
    epochs without their phase, which nobody may believe; now a `RegistersTold` comes before.
    """

    request: int
    status: int
    verdicts: tuple[bool, ...]


@MESSAGES.message(166)
@define(slots=True)
class StatesAsked:
    """What do you know of these keys? Asked by one whose store was rolled back."""

    request: int
    items: tuple[tuple[str, bytes], ...]


@MESSAGES.message(167)
@define(slots=True)
class StatesTold:
    """(live dots, plain context) of each, from disk; NOT_READY from one who was rolled back too."""

    request: int
    status: int
    states: tuple[tuple[tuple[tuple[bytes, int], ...], object], ...]
