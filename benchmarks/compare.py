"""Tell change from noise between two files that ``bench.py --json`` wrote.

``python benchmarks/compare.py [BEFORE.json] AFTER.json``. Without BEFORE it is the newest of the
stored baselines that is of the same kind of machine (`baseline`). Where both files have etcd beside
Sadik, the ratios of the pairs are compared, for a machine that was slower on one day was slower for
both; else the rates, which says less. A row has changed if a rank test over all runs (Mann and
Whitney, 1947; exact, two-sided) would find such an order by chance in fewer than one of twenty
comparisons, and the medians are at least 5% apart. Exits with 1 if any row became slower.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from attrs import frozen
from baseline import BASELINES, newest

__all__ = ["Comparison", "chance", "compare"]

_CHANCE = 0.05
_LEAST = 0.05
_EXACT_MAX = 20


@frozen
class Comparison:
    """One row in both files."""

    name: str
    what: str
    """``ratio`` to etcd, or rate ``/s``."""
    before: float
    after: float
    chance: float
    """Of so clear an order if nothing had changed."""

    @property
    def change(self) -> float:
        """By what share the median grew."""
        return self.after / self.before - 1

    @property
    def verdict(self) -> str:
        """What may be said."""
        if self.chance >= _CHANCE or abs(self.change) < _LEAST:
            return "no change that can be told from noise"
        return "faster" if self.change > 0 else "slower"


def chance(before: Sequence[float], after: Sequence[float]) -> float:
    """The probability (two-sided) that two samples of one distribution are ordered as clearly.

    Raises:
        ValueError: a sample is empty, or there are too many values to count every order.
    """
    both = [*before, *after]
    if not before or not after or len(both) > _EXACT_MAX:
        raise ValueError(f"needs 1 to {_EXACT_MAX} values in all, got {len(both)}")
    ordered = sorted(both)
    # Equal values share the mean of their ranks; twice that is an integer.
    rank = {value: 2 * ordered.index(value) + ordered.count(value) for value in both}
    ranks = [rank[value] for value in both]
    middle = sum(ranks) * len(before) / len(both)
    seen = abs(sum(ranks[: len(before)]) - middle)
    orders = list(combinations(ranks, len(before)))
    return sum(abs(sum(order) - middle) >= seen - 1e-9 for order in orders) / len(orders)


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[Comparison]:
    """Every row that both have."""
    earlier = {(row["case"], row["connections"]): row for row in before["rows"]}
    found = []
    for row in after["rows"]:
        was = earlier.get((row["case"], row["connections"]))
        if was is None:
            continue
        what = "ratio" if was["ratios"] and row["ratios"] else "/s"
        old, new = _figures(was, what), _figures(row, what)
        name = f"{row['case']}, {row['connections']} connections"
        found.append(
            Comparison(name, what, statistics.median(old), statistics.median(new), chance(old, new))
        )
    return found


def _figures(row: dict[str, Any], what: str) -> list[float]:
    if what == "ratio":
        return [float(ratio) for ratio in row["ratios"]]
    return [float(run["per_second"]) for run in row["runs"]["sadik"]]


def main(arguments: Sequence[str], baselines: Path = BASELINES) -> int:
    """Tell every row; 1 if one became slower, 2 if the files cannot be compared."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    after = json.loads(Path(arguments[-1]).read_text("utf-8"))
    earlier = Path(arguments[0]) if len(arguments) == 2 else newest(after, baselines)
    if earlier is None:
        print(
            f"there is no baseline of {after['about'].get('kind', 'this kind of machine')} "
            "from another commit: name a file to compare with",
            file=sys.stderr,
        )
        return 2
    before = json.loads(earlier.read_text("utf-8"))
    print(f"before: {before['about']} ({earlier.name})\nafter:  {after['about']}")
    rows = compare(before, after)
    if not rows:
        print("the two files have no row in common", file=sys.stderr)
        return 2
    for row in rows:
        print(
            f"{row.name:<30} {row.what:>5} {row.before:>9,.2f} -> {row.after:>9,.2f} "
            f"({row.change:+.0%}, chance {row.chance:.3f})  {row.verdict}"
        )
    return 1 if any(row.verdict == "slower" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
