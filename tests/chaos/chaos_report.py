"""The report on a pass of scenarios: as text, as JSON, and as a page with timelines."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs
from chaos_record import Record, percentile_ms
from history_load import Operation

__all__ = ["write_report"]

_SLICE_S: Final = 0.25
_SLICES: Final = 100
_BARS_MAX: Final = 300
_WIDTH, _HEIGHT, _LEFT = 900, 120, 50
_COLOURS: Final = {
    "answered": "#2a78d6",
    "refused": "#eda100",
    "indeterminate": "#e34948",
    "no answer": "#898781",
}

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg text { fill: currentColor; }
.failed { color: #d03b3b; font-weight: 600; }
"""


def write_report(records: Sequence[Record], directory: Path) -> None:
    """Write ``report.txt``, ``report.json`` and ``report.html``."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.txt").write_text("\n".join(map(_text, records)), "utf-8")
    plain = [_plain(record) for record in records]
    (directory / "report.json").write_text(json.dumps(plain, indent=2) + "\n", "utf-8")
    (directory / "report.html").write_text(_page(records), "utf-8")


def _kind(status: int) -> str:
    if status == 0:
        return "no answer"
    if status == 504:
        return "indeterminate"
    return "answered" if status < 500 else "refused"


def _counts(record: Record) -> dict[str, int]:
    counted = Counter(_kind(each.status) for each in record.operations)
    return {kind: counted[kind] for kind in _COLOURS if counted[kind]}


def _text(record: Record) -> str:
    lines = [f"{record.name}: {record.outcome}", f"  {record.title}"]
    lines += [f"  {event.at:7.2f} s  {event.what}" for event in record.events]
    counts = ", ".join(f"{count} {kind}" for kind, count in _counts(record).items())
    if counts:
        lines.append(
            f"  requests: {counts}; p50 {percentile_ms(record.operations, 0.5):.1f} ms, "
            f"p99 {percentile_ms(record.operations, 0.99):.1f} ms"
        )
    lines += [f"  {'ok  ' if check.holds else 'FAIL'}  {check}" for check in record.checks]
    return "\n".join([*lines, ""])


def _plain(record: Record) -> dict[str, object]:
    return {
        "name": record.name,
        "title": record.title,
        "outcome": record.outcome,
        "events": [attrs.asdict(event) for event in record.events],
        "checks": [attrs.asdict(check) | {"holds": check.holds} for check in record.checks],
        "requests": _counts(record),
        "p50_ms": percentile_ms(record.operations, 0.5),
        "p99_ms": percentile_ms(record.operations, 0.99),
        "series": [attrs.asdict(series) for series in record.series],
    }


def _page(records: Iterable[Record]) -> str:
    body = "\n".join(map(_section, records))
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        f"<title>Faults on real processes</title><style>{_STYLE}</style>"
        f"<h1>Faults on real processes</h1>{body}</html>\n"
    )


def _section(record: Record) -> str:
    mark = " class=failed" if record.outcome != "passed" else ""
    rows = "".join(
        f"<tr{'' if check.holds else ' class=failed'}><td>{html.escape(check.what)}"
        f"<td>{check.figure:.6g} {html.escape(check.unit)}"
        f"<td>{'at most' if check.is_most else 'at least'} {check.bound:.6g}"
        for check in record.checks
    )
    events = "".join(
        f"<tr><td>{event.at:.2f} s<td>{html.escape(event.what)}" for event in record.events
    )
    return (
        f"<h2>{html.escape(record.name)} <small{mark}>{record.outcome}</small></h2>"
        f"<p>{html.escape(record.title)}</p>{_timeline(record)}{_latencies(record)}"
        f"{''.join(_line(series.what, series.unit, [series.points]) for series in record.series)}"
        f"<table><tr><th>checked<th>figure<th>bound{rows}</table>"
        f"<table><tr><th>at<th>what was done{events}</table>"
    )


def _timeline(record: Record) -> str:
    """Requests answered in each slice of time, by how they ended, and the events."""
    if not record.operations:
        return ""
    slices: dict[int, Counter[str]] = {}
    lasted = max(each.began + each.seconds for each in record.operations) - record.began
    slice_s = max(_SLICE_S, lasted / _BARS_MAX)
    for each in record.operations:
        at = int((each.began + each.seconds - record.began) / slice_s)
        slices.setdefault(at, Counter())[_kind(each.status)] += 1
    last = max(slices) + 1
    top = max(counts.total() for counts in slices.values())
    scale = (_WIDTH - _LEFT) / last
    parts = [f"<text x=0 y=12>{top / slice_s:.0f}/s</text><text x=0 y={_HEIGHT}>0</text>"]
    for at, counts in sorted(slices.items()):
        bottom = float(_HEIGHT)
        for kind, colour in _COLOURS.items():
            height = counts[kind] / top * (_HEIGHT - 10)
            bottom -= height
            if height:
                parts.append(
                    f"<rect x={_LEFT + at * scale:.1f} y={bottom:.1f} width={scale * 0.8:.2f} "
                    f"height={height:.1f} fill='{colour}'><title>{counts[kind]} {kind} at "
                    f"{at * slice_s:.2f} s</title></rect>"
                )
    for event in record.events:
        x = _LEFT + event.at / slice_s * scale
        parts.append(
            f"<line x1={x:.1f} x2={x:.1f} y1=0 y2={_HEIGHT} stroke=currentColor "
            f"stroke-dasharray=3><title>{html.escape(event.what)}</title></line>"
        )
    key = "".join(
        f"<rect x={_LEFT + n * 130} y={_HEIGHT + 8} width=10 height=10 fill='{colour}'></rect>"
        f"<text x={_LEFT + n * 130 + 15} y={_HEIGHT + 17}>{kind}</text>"
        for n, (kind, colour) in enumerate(_COLOURS.items())
    )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT + 24}' role=img "
        f"aria-label='requests over time'>{''.join(parts)}{key}</svg>"
    )


def _latencies(record: Record) -> str:
    """The median and the 99th percentile of what was answered in each of a hundred slices."""
    answered = [each for each in record.operations if each.status]
    if not answered:
        return ""
    lasted = max(each.began + each.seconds for each in answered) - record.began
    slices: dict[int, list[Operation]] = {}
    for each in answered:
        at = int((each.began + each.seconds - record.began) / lasted * _SLICES)
        slices.setdefault(at, []).append(each)
    lines = [
        [(at * lasted / _SLICES, percentile_ms(some, part)) for at, some in sorted(slices.items())]
        for part in (0.5, 0.99)
    ]
    return _line("latency, in the middle and at the 99th percentile", "ms", lines)


def _line(what: str, unit: str, lines: Sequence[Sequence[tuple[float, float]]]) -> str:
    """Lines over time, on one scale that begins at 0."""
    points = [point for line in lines for point in line]
    if not points:
        return ""
    right = max(at for at, _ in points) or 1.0
    top = max(value for _, value in points) or 1.0

    def place(at: float, value: float) -> str:
        x = _LEFT + at / right * (_WIDTH - _LEFT)
        return f"{x:.1f},{_HEIGHT - value / top * (_HEIGHT - 10):.1f}"

    drawn = "".join(
        f"<polyline fill=none stroke='{colour}' stroke-width=1.5 "
        f"points='{' '.join(place(*point) for point in line)}'></polyline>"
        for line, colour in zip(lines, _COLOURS.values(), strict=False)
    )
    label = html.escape(f"{what}, {unit}")
    return (
        f"<p>{label}</p><svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img aria-label='{label}'>"
        f"<text x=0 y=12>{top:.4g}</text><text x=0 y={_HEIGHT}>0</text>{drawn}</svg>"
    )
