"""Shrinking: of a run that broke an invariant, the least that still breaks it.

Delta debugging (Zeller and Hildebrandt, 2002) over what a plan is made of: first the time after
the failure goes, then nodes, whole groups of faults and operations, then single ones, limits and
the faults of the network. A smaller plan is taken if it breaks the same invariant. Since workload,
network, disks and boots draw from streams of their own, what is left mostly happens as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs
from attrs import define

from sadik_machine import SECOND
from sadik_sim.network import NetworkFaults
from sadik_sim.plan import Plan
from sadik_sim.run import RunResult, execute

__all__ = ["Shrinker", "reduce_list", "shrink"]

T = TypeVar("T")


@define
class Shrinker:
    """Tries smaller plans until its budget of runs is spent.

    ``run`` carries a plan out; ``tried`` is called after each attempt with what is kept so far.
    """

    plan: Plan
    invariant: str
    run: Callable[[Plan], RunResult] = execute
    runs_max: int = 400
    tried: Callable[[Shrinker], None] | None = None
    runs: int = 0
    result: RunResult | None = None

    def keeps(self, plan: Plan) -> bool:
        """Try ``plan``; keep it if it breaks the same invariant."""
        if self.runs >= self.runs_max or plan == self.plan:
            return False
        self.runs += 1
        result = self.run(plan)
        fails = result.invariant == self.invariant
        if fails:
            self.plan, self.result = plan, result
        if self.tried is not None:
            self.tried(self)
        return fails

    def shrink(self) -> Plan:
        """The least plan found."""
        before = None
        while before != self.plan and self.runs < self.runs_max:
            before = self.plan
            self._cut_time()
            self._drop_nodes()
            self.reduce("faults")
            self.reduce("operations")
            self.reduce("limits")
            self._calm_network()
            self._shorten_faults()
        return self.plan

    def reduce(self, name: str) -> None:
        """Drop what is not needed of one of the plan's sequences."""
        reduce_list(
            getattr(self.plan, name),
            lambda items: self.keeps(_with(self.plan, name, tuple(items))),
        )

    def _cut_time(self) -> None:
        """Nothing after the failure matters, and mostly not the rest of the time either."""
        plan = self.plan
        if self.result is not None and self.result.at_ns < plan.options.seconds * SECOND:
            at_ns = self.result.at_ns
            plan = attrs.evolve(
                plan,
                faults=tuple(f for f in plan.faults if f.at_ns <= at_ns),
                operations=tuple(o for o in plan.operations if o.at_ns <= at_ns),
                options=attrs.evolve(plan.options, seconds=at_ns // SECOND + 1),
            )
            self.keeps(plan)
        seconds = self.plan.options.seconds
        while seconds > 1:
            seconds //= 2
            options = attrs.evolve(self.plan.options, seconds=seconds)
            end = seconds * SECOND
            shorter = attrs.evolve(
                self.plan,
                options=options,
                faults=tuple(f for f in self.plan.faults if f.at_ns < end),
                operations=tuple(o for o in self.plan.operations if o.at_ns < end),
            )
            if not self.keeps(shorter):
                return

    def _drop_nodes(self) -> None:
        """The last node goes, with the faults that name it, as long as there are replicas."""
        while self.plan.options.nodes > max(self.plan.options.replicas, 1):
            name = f"n{self.plan.options.nodes}"
            fewer = attrs.evolve(
                self.plan,
                options=attrs.evolve(self.plan.options, nodes=self.plan.options.nodes - 1),
                faults=tuple(f for f in self.plan.faults if name not in f.nodes),
            )
            if not self.keeps(fewer):
                return

    def _calm_network(self) -> None:
        if self.keeps(attrs.evolve(self.plan, network=NetworkFaults())):
            return
        for field in attrs.fields(NetworkFaults):
            network = attrs.evolve(self.plan.network, **{field.name: 0})
            self.keeps(attrs.evolve(self.plan, network=network))

    def _shorten_faults(self) -> None:
        for index, fault in enumerate(self.plan.faults):
            duration_ns = fault.duration_ns
            while duration_ns > SECOND // 20:
                duration_ns //= 2
                faults = list(self.plan.faults)
                faults[index] = attrs.evolve(fault, duration_ns=duration_ns)
                if not self.keeps(attrs.evolve(self.plan, faults=tuple(faults))):
                    break


def _with(plan: Plan, name: str, items: tuple[Any, ...]) -> Plan:
    changes: dict[str, Any] = {name: items}
    return attrs.evolve(plan, **changes)


def reduce_list(items: Sequence[T], keeps: Callable[[list[T]], bool]) -> list[T]:
    """The items without which ``keeps`` is not true any more, by delta debugging.

    ``keeps`` is asked with shorter and shorter lists and says whether the shorter one will do.
    """
    kept = list(items)
    if kept and keeps([]):
        return []
    size = (len(kept) + 1) // 2
    while kept:
        index = 0
        has_dropped = False
        while index < len(kept):
            shorter = kept[:index] + kept[index + size :]
            if len(shorter) < len(kept) and (shorter or len(kept) > 1) and keeps(shorter):
                kept, has_dropped = shorter, True
            else:
                index += size
        if size == 1:
            if not has_dropped:
                return kept
        else:
            size = (size + 1) // 2
    return kept


def shrink(
    plan: Plan, *, runs_max: int = 400, tried: Callable[[Shrinker], None] | None = None
) -> tuple[Plan, RunResult]:
    """The least plan that breaks the invariant that ``plan`` breaks, and how it ends.

    Raises:
        ValueError: ``plan`` breaks none.
    """
    result = execute(plan)
    if not result.invariant:
        raise ValueError("this run breaks no invariant")
    shrinker = Shrinker(plan, result.invariant, runs_max=runs_max, tried=tried, result=result)
    shrinker.shrink()
    assert shrinker.result is not None
    return shrinker.plan, shrinker.result
