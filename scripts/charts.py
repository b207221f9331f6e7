"""Draws the charts of docs/scale.md from what `make bench-scale` measured, as it is stored in
``benchmarks/figures/scale.json``: the same figures, the same pictures.

Both axes of a chart are logarithmic, so a line that rises by one decade in one is what grows in
proportion, and a flat one is what does not grow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from drawing import COLOURS, Drawing

__all__ = ["FIGURES", "charts"]

FIGURES = Path(__file__).resolve().parents[1] / "benchmarks" / "figures" / "scale.json"

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 350
_PANEL_WIDTH, _PANEL_HEIGHT = 270, 170
_TOP, _LEFTS = 62, (62, 428)
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


class Panel:
    """One chart of a picture, with its axes; ``lines`` by name, each as (x, y) above 0."""

    def __init__(self, title: str, across: str, lines: Mapping[str, Points]) -> None:
        self.title = title
        self.across = across
        self.lines = {name: points for name, points in lines.items() if points}
        self._xs = sorted({x for points in self.lines.values() for x, _ in points})
        ys = [y for points in self.lines.values() for _, y in points]
        self._low = math.floor(math.log10(min(ys)))
        self._high = max(math.ceil(math.log10(max(ys))), self._low + 1)

    def draw(self, drawing: Drawing, left: float) -> None:
        """Draw it with its left edge there."""
        drawing.text(left + _PANEL_WIDTH / 2, _TOP - 16, self.title, "mid bold")
        for decade in range(self._low, self._high + 1):
            y = self._y(10**decade)
            drawing.line(left, y, left + _PANEL_WIDTH, y, "faint")
            drawing.text(left - 6, y + 4, _short(10.0**decade), "end small")
        for x in self._ticks():
            drawing.text(left + self._x(x), _TOP + _PANEL_HEIGHT + 18, _short(x), "mid small")
        bottom = _TOP + _PANEL_HEIGHT
        drawing.text(left + _PANEL_WIDTH / 2, bottom + 36, self.across, "mid small")
        for colour, points in zip(COLOURS.values(), self.lines.values(), strict=False):
            places = [(left + self._x(x), self._y(y)) for x, y in points]
            drawing.path(places, colour)
        self._legend(drawing, left, bottom + 58)

    def _legend(self, drawing: Drawing, left: float, y: float) -> None:
        width = (_PANEL_WIDTH + 20) / 2
        for number, (colour, name) in enumerate(zip(COLOURS.values(), self.lines, strict=False)):
            x = left - 20 + width * (number % 2)
            below = y + 18 * (number // 2)
            drawing.path([(x, below - 4), (x + 16, below - 4)], colour)
            drawing.text(x + 22, below, name, "small")

    def _ticks(self) -> list[float]:
        """What was measured, but for what would stand on top of its neighbour."""
        shown: list[float] = []
        for x in self._xs:
            if not shown or self._x(x) - self._x(shown[-1]) >= 34:
                shown.append(x)
        return shown

    def _x(self, x: float) -> float:
        first, last = math.log10(self._xs[0]), math.log10(self._xs[-1])
        return _PANEL_WIDTH * (math.log10(x) - first) / (last - first)

    def _y(self, y: float) -> float:
        share = (math.log10(y) - self._low) / (self._high - self._low)
        return _TOP + _PANEL_HEIGHT * (1 - share)


def charts() -> Iterator[tuple[str, str]]:
    """File name and text of each."""
    found = {name: part["figures"] for name, part in json.loads(FIGURES.read_text("utf-8")).items()}
    yield "scale-requests.svg", _requests(found["nodes"])
    yield "scale-idle.svg", _idle(found["nodes"])
    yield "scale-keys.svg", _keys(found["keys"])
    parts = ["engine", "codec", "store"]
    yield "scale-values.svg", _by(found["values"], "value_bytes", parts, "bytes of the value")
    # A commit's time does not depend on so few bytes, and varies more than these do.
    parts = ["engine", "codec"]
    yield "scale-siblings.svg", _by(found["siblings"], "siblings", parts, "siblings of 100 B")


def _requests(rows: Sequence[dict[str, Any]]) -> str:
    def lines(figure: str) -> dict[str, Points]:
        return {
            name: [(row["nodes"], row["requests"][kind][figure]) for row in rows]
            for name, kind in (("put, W=2", "put"), ("get, R=2", "get"))
        }

    return _picture(
        "What a request costs, by nodes",
        Panel("engines' µs a request", "nodes", lines("us")),
        Panel("messages a request", "nodes", lines("messages")),
    )


def _idle(rows: Sequence[dict[str, Any]]) -> str:
    def lines(figure: str) -> dict[str, Points]:
        return {
            name: [(row["nodes"], row[when][machine][figure]) for row in rows]
            for name, when, machine in (
                ("membership", "idle", "membership"),
                ("engine", "idle", "engine"),
                ("engine, reaping", "reaping", "engine"),
            )
        }

    return _picture(
        "What a node does when nobody asks anything, by nodes",
        Panel("µs of a second, a node", "nodes", lines("us")),
        Panel("messages a second, a node", "nodes", lines("messages")),
    )


def _keys(rows: Sequence[dict[str, Any]]) -> str:
    sizes = rows[0]["put_us"]
    times: dict[str, Points] = {
        f"put, by {size}": [(row["keys"], row["put_us"][size]) for row in rows] for size in sizes
    }
    written: dict[str, Points] = {
        f"by {size}": [(row["keys"], row["written_bytes"][size]) for row in rows] for size in sizes
    }
    times["get"] = [(row["keys"], row["get_us"]) for row in rows]
    return _picture(
        "What a node's store costs, by keys",
        Panel("µs a key", "keys", times),
        Panel("bytes written for an update", "keys", written),
    )


def _by(rows: Sequence[dict[str, Any]], size: str, parts: Sequence[str], across: str) -> str:
    def total(figures: dict[str, float]) -> float:
        return sum(figures[part] for part in parts)

    return _picture(
        f"What a put and a get cost, by {across}",
        Panel(
            f"µs: {', '.join(parts)}",
            across,
            {kind: [(row[size], total(row[kind])) for row in rows] for kind in ("put", "get")},
        ),
        Panel(
            "bytes",
            across,
            {
                "put, sent": [(row[size], row["put"]["bytes"]) for row in rows],
                "get, sent": [(row[size], row["get"]["bytes"]) for row in rows],
                "put, stored": [(row[size], row["put"]["stored_bytes"]) for row in rows],
            },
        ),
    )


def _picture(title: str, *panels: Panel) -> str:
    drawing = Drawing(_WIDTH, _HEIGHT, title)
    drawing.text(_WIDTH / 2, 24, title, "mid bold")
    for left, panel in zip(_LEFTS, panels, strict=True):
        panel.draw(drawing, left)
    return drawing.svg()


def _short(number: float) -> str:
    for size, prefix in _PREFIXES:
        if number >= size:
            units = number / size
            return f"{units:.0f}{prefix}" if units >= 10 else f"{units:.2g}{prefix}"
    return f"{number:g}"
