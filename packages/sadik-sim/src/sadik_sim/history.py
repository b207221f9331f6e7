"""The history of a run, and the rules by which it is judged.

Every write carries a unique value and records which values its context covered. When faults have
stopped and everything is quiet, a write is *alive* if it is among the final siblings, or is
a delete, or if a write that saw it is alive. **Lost** is what was acknowledged and is not alive;
**resurrected** is what is among the siblings though an acknowledged write saw it; a write that
was refused as "not applied" must never be seen, and neither must a value that nobody wrote.
Both passes are linear in the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define

__all__ = ["Verdict", "Write", "judge"]


@define(slots=True)
class Write:
    """One write. ``value`` None is a delete; ``saw`` are the values that its context covered.

    ``outcome`` is ``unanswered``, ``acked``, ``refused`` (not applied), ``indeterminate``, or
    ``nothing`` (a delete that found nothing).
    """

    key: bytes
    value: bytes | None
    saw: tuple[bytes, ...]
    outcome: str = "unanswered"


@define(slots=True)
class Verdict:
    """What broke the rules; all empty is well."""

    lost: list[Write]
    resurrected: list[bytes]
    refused_but_seen: list[bytes]
    never_written: list[bytes]

    @property
    def is_clean(self) -> bool:
        """Whether no rule was broken."""
        return not (self.lost or self.resurrected or self.refused_but_seen or self.never_written)


def judge(writes: Sequence[Write], key: bytes, final: Iterable[bytes]) -> Verdict:
    """Judge one key by its ``final`` siblings. ``writes`` are in the order in which they began."""
    mine = [write for write in writes if write.key == key]
    siblings = dict.fromkeys(final)
    alive = dict(siblings)
    for write in reversed(mine):
        # A write saw only what began before it, so one pass backwards suffices.
        is_alive = write.value is None or write.value in alive
        if is_alive and write.outcome != "refused":
            alive.update(dict.fromkeys(write.saw))
    covered = {value: None for w in mine if w.outcome == "acked" for value in w.saw}
    refused = {w.value: None for w in mine if w.outcome == "refused"}
    written = {w.value: None for w in mine}
    return Verdict(
        lost=[w for w in mine if w.outcome == "acked" and w.value and w.value not in alive],
        resurrected=[value for value in siblings if value in covered],
        refused_but_seen=[value for value in siblings if value in refused],
        never_written=[value for value in siblings if value not in written],
    )
