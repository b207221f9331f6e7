"""How fast the peers answer reads lately, and whether one more of them may be asked early.

A read that is slower than nearly all reads of the same peer were lately is hedged: one more replica
is asked (Dean and Barroso, "The Tail at Scale", CACM 2013). Were every read hedged because all are
slow, hedging would double the load just when there is too much of it; so early hedges are paid
from a credit that each read adds a little to. Without credit a read waits for the fixed interval.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sadik_machine import MILLISECOND, NodeId

__all__ = ["Latencies"]

_SAMPLES: Final = 128
_HIGH: Final = 121
"""The sample, of `_SAMPLES` sorted ones, that counts as high: the 95th percentile."""
_LEARN_EVERY: Final = 16
_FLOOR_NS: Final = 2 * MILLISECOND
"""A read is never hedged earlier: what takes less is noise of the scheduler."""
_CREDIT_PER_HEDGE: Final = 10
_CREDIT_MAX: Final = 10 * _CREDIT_PER_HEDGE


class _Peer:
    """The last samples of one peer, in a ring, and what was learnt from them."""

    __slots__ = ("high_ns", "next", "samples")

    def __init__(self) -> None:
        self.samples: list[int] = []
        self.next = 0
        self.high_ns = 0


class Latencies:
    """Times between a question and its answer, in nanoseconds, peer by peer."""

    __slots__ = ("_credit", "_peers")

    def __init__(self) -> None:
        self._peers: dict[NodeId, _Peer] = {}
        self._credit = _CREDIT_MAX

    def add(self, peer: NodeId, took_ns: int) -> None:
        """``peer`` took so long to answer."""
        known = self._peers.get(peer)
        if known is None:
            known = self._peers[peer] = _Peer()
        samples = known.samples
        if len(samples) < _SAMPLES:
            samples.append(took_ns)
        else:
            samples[known.next] = took_ns
        known.next = (known.next + 1) % _SAMPLES
        if known.next % _LEARN_EVERY == 0:
            known.high_ns = sorted(samples)[len(samples) * _HIGH // _SAMPLES]

    def high_ns(self, peer: NodeId) -> int | None:
        """What nearly all answers of ``peer`` were within lately; None while too few are known."""
        known = self._peers.get(peer)
        return known.high_ns or None if known is not None else None

    def hedge_after_ns(self, peers: Iterable[NodeId], latest_ns: int) -> int:
        """When to ask one more, if ``peers`` have not answered; at most ``latest_ns``.

        That is the earliest instant at which one of them is slower than it nearly always is.
        """
        if self._credit < _CREDIT_MAX:
            self._credit += 1
            if self._credit < _CREDIT_PER_HEDGE:
                return latest_ns
        earliest_ns = latest_ns
        for peer in peers:
            high_ns = self.high_ns(peer)
            if high_ns is not None and high_ns < earliest_ns:
                earliest_ns = high_ns
        return min(max(earliest_ns, _FLOOR_NS), latest_ns)

    def hedged(self) -> None:
        """An early hedge was sent: it is paid for."""
        self._credit = max(self._credit - _CREDIT_PER_HEDGE, 0)
