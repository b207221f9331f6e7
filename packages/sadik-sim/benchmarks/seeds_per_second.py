"""How many seeds one core runs in a second, beside a plain loop measured in the same minute.

A seed is 5 nodes, 30 virtual seconds and 1,000 client operations under faults. Machines and their
load differ, so the figure that compares from day to day is the last one: how many turns of a plain
loop (a tuple made and put into a dictionary) one seed costs.

    python benchmarks/seeds_per_second.py [SEEDS]
"""

from __future__ import annotations

import sys
import time

from sadik_sim.plan import Options, draw_plan
from sadik_sim.run import execute

_TURNS = 1_000_000


def loop_seconds() -> float:
    """CPU seconds of a million turns of a plain loop."""
    began = time.process_time()
    table: dict[int, tuple[int, float]] = {}
    for turn in range(_TURNS):
        table[turn & 1023] = (turn, began)
    return time.process_time() - began


def main(seeds: int) -> None:
    plans = [draw_plan(seed, Options()) for seed in range(seeds)]
    loops = [loop_seconds() for _ in range(3)]
    began, events, operations = time.process_time(), 0, 0
    for plan in plans:
        result = execute(plan)
        assert not result.invariant, f"seed {plan.seed} ended early: {result.detail}"
        events += result.events
        operations += sum(n for name, n in result.counts.items() if not name.endswith("left out"))
    spent = time.process_time() - began
    loops += [loop_seconds() for _ in range(3)]
    loop = sorted(loops)[len(loops) // 2]
    print(f"{seeds / spent:.2f} seeds/s of one core's time")
    print(f"{events / spent:,.0f} events/s, {operations // seeds} requests a seed")
    print(f"one seed costs {spent / seeds / loop:.2f} million turns of a plain loop")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
