"""Pictures of a study, as PNG and SVG. Needs matplotlib: the extra ``study``.

Figures are drawn without pyplot, so nothing global is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from sadik_machine import SECOND
from sadik_sim.study.measures import BEHIND_SHOWN_MAX, SettingReport
from sadik_sim.study.spec import Study

__all__ = ["draw"]

_DPI: Final = 80
_COLOURS: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d31",
    "#7f7f7f", "#9467bd",
)  # fmt: skip
_SVG: Final = {"Date": None, "Creator": "sadik-sim"}


def draw(study: Study, reports: Sequence[SettingReport], directory: Path) -> list[Path]:
    """Draw all that the study has something to show for; the files."""
    pictures: dict[str, Callable[[Study, Sequence[SettingReport]], Figure]] = {
        "latency": _latency,
        "visibility": _visibility,
        "versions": _versions,
        "availability": _availability,
        "repair": _repair,
    }
    written: list[Path] = []
    for name, make in pictures.items():
        figure = make(study, reports)
        FigureCanvasAgg(figure)
        figure.savefig(directory / f"{name}.png", dpi=_DPI, metadata={"Software": "sadik-sim"})
        FigureCanvasSVG(figure)
        figure.savefig(directory / f"{name}.svg", metadata=_SVG)
        written += [directory / f"{name}.png", directory / f"{name}.svg"]
    return written


def _figure(study: Study, title: str, width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(f"{study.title}: {title}", fontsize=11)
    return figure


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _of(rows: Sequence[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def _latency(study: Study, reports: Sequence[SettingReport]) -> Figure:
    """Median to 99th percentile by site and phase, measured, and predicted where it is calm."""
    title = "latency by the client's site\n● p50   | p95   ▸ p99   x predicted p50 and p99"
    phases = study.phases
    figure = _figure(study, title, 9.5, 1.4 + len(phases) * (0.5 + 0.27 * len(reports)))
    rows = figure.subplots(len(phases), 2, sharey=True, sharex="col", squeeze=False)
    for axes, phase in zip(rows, phases, strict=True):
        for axis, kind in zip(axes, ("read", "write"), strict=True):
            _spans(axis, study, reports, phase.name, kind)
            axis.set_title(f"{kind}s, {phase.name}", fontsize=9)
            axis.grid(axis="x", alpha=0.3)
        axes[0].set_yticks(range(len(reports)), [r.setting.label for r in reports], fontsize=8)
    for axis in rows[-1]:
        axis.set_xlim(left=0)
        axis.set_xlabel("ms")
    rows[0][0].set_ylim(len(reports) - 0.5, -0.5)
    _legend_of_sites(figure, rows[0][0], study)
    return figure


def _spans(
    axis: Axes, study: Study, reports: Sequence[SettingReport], phase: str, kind: str
) -> None:
    for number, site in enumerate(study.sites):
        for place, report in enumerate(reports):
            row = _of(report.latency, phase=phase, kind=kind, site=site.name)[0]
            if row["p50_ms"] is None:
                continue
            height = place + (number - (len(study.sites) - 1) / 2) * 0.22
            colour = _colour(number)
            axis.plot([row["p50_ms"], row["p99_ms"]], [height] * 2, "-", color=colour, lw=2)
            axis.plot([row["p50_ms"]], [height], "o", color=colour, ms=4)
            axis.plot([row["p95_ms"]], [height], "|", color=colour, ms=8)
            axis.plot([row["p99_ms"]], [height], ">", color=colour, ms=4)
            if row["predicted_p50_ms"] is not None:
                predicted = [row["predicted_p50_ms"], row["predicted_p99_ms"]]
                axis.plot(predicted, [height] * 2, "x", color="black", ms=4, mew=0.8)


def _legend_of_sites(figure: Figure, axis: Axes, study: Study) -> None:
    handles = [
        axis.plot([], [], "o-", ms=4, color=_colour(number), label=site.name)[0]
        for number, site in enumerate(study.sites)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=9, frameon=False)


def _visibility(study: Study, reports: Sequence[SettingReport]) -> Figure:
    """t-visibility in the first phase: measured as dots, predicted as lines."""
    figure = _figure(study, "t-visibility", 8, 4.6)
    axis: Axes = figure.subplots()
    phase = study.phases[0].name
    for number, report in enumerate(reports):
        rows = [row for row in _of(report.visibility, phase=phase) if row["to_ms"] is not None]
        rows = [row for row in rows if row["reads"]]
        middles = [(row["from_ms"] + row["to_ms"]) / 2 for row in rows]
        shares = [100 * row["share"] for row in rows]
        axis.plot(middles, shares, "o", color=_colour(number), ms=4, label=report.setting.label)
        if all(row["predicted"] is not None for row in rows):
            predicted = [100 * row["predicted"] for row in rows]
            axis.plot(middles, predicted, "-", color=_colour(number), lw=1)
    axis.set_xlabel("read begins t ms after the write was acknowledged (● measured, — predicted)")
    axis.set_ylabel("reads that return it or a later one, %")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower right")
    return figure


def _versions(study: Study, reports: Sequence[SettingReport]) -> Figure:
    """k-staleness by phase."""
    phases = study.phases
    figure = _figure(study, "versions behind", 3.2 * len(phases) + 2, 3.8)
    axes = figure.subplots(1, len(phases), sharey=True, squeeze=False)[0]
    for axis, phase in zip(axes, phases, strict=True):
        for number, report in enumerate(reports):
            rows = [row for row in _of(report.versions, phase=phase.name) if row["reads"]]
            axis.plot(
                [row["behind"] for row in rows], [100 * row["share"] for row in rows], "o-",
                color=_colour(number), ms=3, lw=1, label=report.setting.label,
            )  # fmt: skip
        axis.set_title(phase.name, fontsize=9)
        axis.set_xticks(range(BEHIND_SHOWN_MAX + 1))
        axis.set_xlabel("at most k versions behind")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("reads, %")
    axes[-1].legend(fontsize=7, loc="lower right")
    return figure


def _availability(study: Study, reports: Sequence[SettingReport]) -> Figure:
    """Writes answered, over time, one strip a setting; phases with an incident are shaded."""
    figure = _figure(study, "writes that were answered, %", 9, 1.4 + 0.75 * len(reports))
    axes = figure.subplots(len(reports), 1, sharex=True, squeeze=False)[:, 0]
    width = max(study.length_ns // SECOND // 60, 1)
    for axis, report in zip(axes, reports, strict=True):
        for number, site in enumerate(study.sites):
            seconds, shares = _shares(_of(report.over_time, site=site.name, kind="write"), width)
            apart = 2 * (number - (len(study.sites) - 1) / 2)
            axis.plot(seconds, [share + apart for share in shares], "-",
                      color=_colour(number), lw=1.4)  # fmt: skip
        for incident in study.incidents:
            begin = incident.at_ns / SECOND
            end = min(begin + incident.for_ns / SECOND, study.length_ns / SECOND)
            axis.axvspan(begin, end, color="#999999", alpha=0.25, lw=0)
        axis.set_ylim(-8, 108)
        axis.set_yticks([0, 50, 100])
        axis.tick_params(labelsize=7)
        axis.set_title(report.setting.label, fontsize=8, loc="left", pad=2)
    axes[-1].set_xlabel("seconds (shaded: something is wrong)")
    _legend_of_sites(figure, axes[-1], study)
    return figure


def _shares(rows: Sequence[dict[str, Any]], width: int) -> tuple[list[float], list[float]]:
    """Percent answered in stretches of ``width`` seconds."""
    counts: dict[int, list[int]] = {}
    for row in rows:
        count = counts.setdefault(row["second"] // width, [0, 0])
        count[0] += row["asked"]
        count[1] += row["ok"]
    places = sorted(counts)
    return (
        [(place + 0.5) * width for place in places],
        [100 * counts[place][1] / counts[place][0] for place in places],
    )


def _repair(study: Study, reports: Sequence[SettingReport]) -> Figure:
    """What each operation costs, and how many siblings reads show."""
    figure = _figure(study, "cost, repair and siblings", 9.5, 1.8 + 0.32 * len(reports))
    axes = figure.subplots(1, 3, sharey=True)
    places = range(len(reports))
    costs: list[Any] = [report.cost for report in reports]
    axes[0].barh(places, [cost["messages_per_operation"] for cost in costs], color=_colour(0))
    axes[0].set_xlabel("messages per operation")
    axes[1].barh(places, [cost["repair_bytes_per_operation"] for cost in costs], color=_colour(1))
    axes[1].set_xlabel("repair bytes per operation")
    for number, phase in enumerate(study.phases):
        rows = [_of(report.siblings, phase=phase.name)[0] for report in reports]
        shares = [100 * (row["share_with_siblings"] or 0) for row in rows]
        heights = [place + (number - (len(study.phases) - 1) / 2) * 0.22 for place in places]
        axes[2].barh(heights, shares, height=0.2, color=_colour(number + 2), label=phase.name)
    axes[2].set_xlabel("reads that show siblings, %")
    figure.legend(loc="outside lower right", ncols=6, fontsize=8, frameon=False)
    axes[0].set_yticks(places, [report.setting.label for report in reports])
    axes[0].invert_yaxis()
    return figure
