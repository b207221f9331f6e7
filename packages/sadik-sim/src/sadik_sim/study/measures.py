"""What a study reports of each setting, as plain rows for tables, files and plots.

Statistics come after the simulation, so they may use floating point. Percentiles are nearest
ranks of successful requests. A request belongs to the phase in which it began.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import frozen

from sadik_machine import MILLISECOND, SECOND
from sadik_sim.study.clients import Answer
from sadik_sim.study.pbs import Prediction
from sadik_sim.study.runner import Observation
from sadik_sim.study.spec import Phase, Setting, Study

__all__ = ["BEHIND_SHOWN_MAX", "SettingReport", "percentile", "report_of"]

PERCENTS: Final = (50, 95, 99)
BEHIND_SHOWN_MAX: Final = 5
BINS: Final = 10
"""Into how many equal steps of a study's probe time t-visibility is divided."""

Row = dict[str, object]


@frozen
class SettingReport:
    """The rows of one setting. Each table has the same columns in every setting."""

    setting: Setting
    latency: list[Row]
    availability: list[Row]
    over_time: list[Row]
    visibility: list[Row]
    versions: list[Row]
    siblings: list[Row]
    cost: Row


@frozen
class _Runs:
    """The answers of one setting under all seeds, each with what was predicted in its run."""

    study: Study
    observations: Sequence[Observation]

    def answers(self, phase: Phase) -> Iterable[tuple[Answer, Prediction]]:
        for observation in self.observations:
            for answer in observation.answers:
                if phase.begin_ns <= answer.began_ns < phase.end_ns:
                    yield answer, observation.prediction


def report_of(study: Study, observations: Sequence[Observation]) -> list[SettingReport]:
    """One report a setting, in the study's order."""
    reports = []
    for setting in dict.fromkeys(study.settings):
        runs = _Runs(study, [o for o in observations if o.setting == setting])
        reports.append(
            SettingReport(
                setting,
                latency=_each_phase(runs, _latency),
                availability=_each_phase(runs, _availability),
                over_time=_over_time(runs),
                visibility=_each_phase(runs, _visibility),
                versions=_each_phase(runs, _versions),
                siblings=_each_phase(runs, _siblings),
                cost=_cost(runs),
            )
        )
    return reports


def percentile(ascending: Sequence[int], percent: int) -> int:
    """The nearest rank: the least value that ``percent`` of all do not exceed."""
    return ascending[max(-(-len(ascending) * percent // 100) - 1, 0)]


def _each_phase(runs: _Runs, make: Callable[[_Runs, Phase], list[Row]]) -> list[Row]:
    return [
        {"phase": phase.name, **row} for phase in runs.study.phases for row in make(runs, phase)
    ]


def _fresh(pairs: Iterable[tuple[Answer, Prediction]]) -> list[tuple[Answer, Prediction]]:
    """The reads that could be stale: of keys that were written before."""
    return [
        (answer, prediction)
        for answer, prediction in pairs
        if answer.is_read and answer.outcome == "ok" and answer.age_ns is not None
    ]


def _latency(runs: _Runs, phase: Phase) -> list[Row]:
    rows = []
    for site in runs.study.sites:
        for kind in ("read", "write"):
            took = sorted(
                answer.took_ns
                for answer, _ in runs.answers(phase)
                if answer.outcome == "ok"
                and answer.site == site.name
                and answer.is_read == (kind == "read")
            )
            row: Row = {"site": site.name, "kind": kind, "count": len(took)}
            for percent in PERCENTS:
                row[f"p{percent}_ms"] = _ms(percentile(took, percent)) if took else None
            rows.append(row | _predicted_latency(runs, phase, site.name, kind))
    return rows


def _predicted_latency(runs: _Runs, phase: Phase, site: str, kind: str) -> Row:
    draws: list[int] = []
    if phase.is_calm:
        for observation in runs.observations:
            prediction = observation.prediction
            by_site = prediction.reads if kind == "read" else prediction.writes
            draws += by_site.get(site, [])
    draws.sort()
    return {
        f"predicted_p{percent}_ms": _ms(percentile(draws, percent)) if draws else None
        for percent in PERCENTS
    }


def _availability(runs: _Runs, phase: Phase) -> list[Row]:
    rows: list[Row] = []
    for site in runs.study.sites:
        for kind in ("read", "write"):
            outcomes = [
                answer.outcome
                for answer, _ in runs.answers(phase)
                if answer.site == site.name and answer.is_read == (kind == "read")
            ]
            ok = outcomes.count("ok")
            rows.append(
                {
                    "site": site.name,
                    "kind": kind,
                    "asked": len(outcomes),
                    "ok": ok,
                    "refused": outcomes.count("refused"),
                    "unknown": len(outcomes) - ok - outcomes.count("refused"),
                    "share": ok / len(outcomes) if outcomes else None,
                }
            )
    return rows


def _over_time(runs: _Runs) -> list[Row]:
    """Availability second by second."""
    counts: dict[tuple[str, bool, int], list[int]] = {}
    for observation in runs.observations:
        for answer in observation.answers:
            if answer.began_ns < runs.study.length_ns:
                place = (answer.site, answer.is_read, answer.began_ns // SECOND)
                count = counts.setdefault(place, [0, 0])
                count[0] += 1
                count[1] += answer.outcome == "ok"
    rows: list[Row] = [
        {
            "site": site,
            "kind": "read" if is_read else "write",
            "second": second,
            "asked": asked,
            "ok": ok,
        }
        for (site, is_read, second), (asked, ok) in sorted(counts.items())
    ]
    return rows


def _visibility(runs: _Runs, phase: Phase) -> list[Row]:
    """t-visibility: of reads that began t after an acknowledgement, how many were fresh.

    What was predicted is the mean over the same reads, each at its own t, so the width of a bin
    does not matter; None where something is wrong in the cluster, for the model knows no faults.
    """
    step = max(runs.study.workload.probe_ns // BINS, 1)
    bounds = [step * number for number in range(BINS + 1)]
    bins: list[list[tuple[Answer, Prediction]]] = [[] for _ in bounds]
    for pair in _fresh(runs.answers(phase)):
        assert pair[0].age_ns is not None, "a read that could be stale has an age"
        bins[bisect_right(bounds, pair[0].age_ns) - 1].append(pair)
    rows: list[Row] = []
    for number, reads in enumerate(bins):
        fresh = sum(answer.behind == 0 for answer, _ in reads)
        predicted = sum(p.visibility(a.age_ns or 0) for a, p in reads)
        end = bounds[number + 1] if number < BINS else None
        rows.append(
            {
                "from_ms": _ms(bounds[number]),
                "to_ms": None if end is None else _ms(end),
                "reads": len(reads),
                "fresh": fresh,
                "share": fresh / len(reads) if reads else None,
                "predicted": predicted / len(reads) if reads and phase.is_calm else None,
            }
        )
    return rows


def _versions(runs: _Runs, phase: Phase) -> list[Row]:
    """k-staleness: how many reads were at most so many versions behind."""
    behind = [answer.behind for answer, _ in _fresh(runs.answers(phase))]
    return [
        {
            "behind": most,
            "reads": len(behind),
            "at_most": sum(b <= most for b in behind),
            "share": sum(b <= most for b in behind) / len(behind) if behind else None,
        }
        for most in range(BEHIND_SHOWN_MAX + 1)
    ]


def _siblings(runs: _Runs, phase: Phase) -> list[Row]:
    shown = [answer.siblings for answer, _ in _fresh(runs.answers(phase))]
    return [
        {
            "reads": len(shown),
            "mean": sum(shown) / len(shown) if shown else None,
            "most": max(shown, default=None),
            "share_with_siblings": sum(n > 1 for n in shown) / len(shown) if shown else None,
        }
    ]


def _cost(runs: _Runs) -> Row:
    costs = [observation.cost for observation in runs.observations]
    asked = sum(len(observation.answers) for observation in runs.observations) or 1
    messages = sum(cost.messages for cost in costs)
    row: Row = {
        "operations": asked,
        "messages_per_operation": messages / asked,
        "bytes_per_operation": sum(cost.bytes for cost in costs) / asked,
        "repair_messages": sum(cost.repair_messages for cost in costs),
        "repair_bytes": sum(cost.repair_bytes for cost in costs),
        "repair_bytes_per_operation": sum(cost.repair_bytes for cost in costs) / asked,
        "gossip_messages": sum(cost.gossip_messages for cost in costs),
    }
    for observation in runs.observations:
        for name, count in observation.counters.items():
            known = row.get(name, 0)
            assert isinstance(known, int)
            row[name] = known + count
    return row


def _ms(duration_ns: int) -> float:
    return duration_ns / MILLISECOND
