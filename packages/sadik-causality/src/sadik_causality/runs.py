"""Runs: a set of positive integers as the places where membership changes.

The set {1, 2, 3, 7} is the tuple ``(1, 4, 7, 8)``: half-open runs [1, 4) and [7, 8), one after
the other. The numbers rise strictly, so runs never touch and each set has exactly one tuple.
A number is in the set if an odd count of boundaries lies at or below it.

The history of one actor is such a set. Storing boundaries and not members keeps a long history
with a few holes small, and an attacker cannot send a few bytes that unfold to many.
"""

from bisect import bisect_right
from typing import TypeAlias

Runs: TypeAlias = tuple[int, ...]

NOTHING: Runs = ()


def contains(runs: Runs, number: int) -> bool:
    """Whether ``number`` is in the set. O(log n)."""
    return bool(bisect_right(runs, number) & 1)


def includes(runs: Runs, other: Runs) -> bool:
    """Whether every member of ``other`` is in ``runs``."""
    if not other or runs == other:
        return True
    for index in range(0, len(other), 2):
        after = bisect_right(runs, other[index])
        if not after & 1 or runs[after] < other[index + 1]:
            return False
    return True


def union(runs: Runs, other: Runs) -> Runs:
    """The members of either."""
    if not runs:
        return other
    if not other:
        return runs
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    pairs.extend(zip(other[::2], other[1::2], strict=True))
    pairs.sort()
    merged: list[int] = []
    for start, end in pairs:
        if not merged or start > merged[-1]:
            merged.append(start)
            merged.append(end)
        elif end > merged[-1]:
            merged[-1] = end
    return tuple(merged)


def difference(runs: Runs, other: Runs) -> Runs:
    """The members of ``runs`` that ``other`` lacks."""
    if not runs or not other:
        return runs
    left: list[int] = []
    hole = 0  # index into other: the first of its runs that may still cut
    for index in range(0, len(runs), 2):
        start, end = runs[index], runs[index + 1]
        while hole < len(other) and other[hole + 1] <= start:
            hole += 2
        cut = hole
        while cut < len(other) and other[cut] < end:
            if other[cut] > start:
                left.append(start)
                left.append(other[cut])
            start = other[cut + 1]
            cut += 2
        if start < end:
            left.append(start)
            left.append(end)
    return tuple(left)
