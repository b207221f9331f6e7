"""An SVG under way: boxes, lines and words, light or dark as the reader's page is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

__all__ = ["COLOURS", "Drawing"]

COLOURS = {"n1": "#2f6fb0", "n2": "#c4632d", "n3": "#4c8c3f", "n4": "#8756a8", "n5": "#b23a5b",
           "n6": "#3c8f8c"}  # fmt: skip
"""Of nodes, and of the lines of charts."""

_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #222 }
.small { font-size: 12px; fill: #555 } .bold { font-weight: 600 }
.mid { text-anchor: middle } .white { fill: #fff } .end { text-anchor: end }
.line { stroke: #555; stroke-width: 1.5; fill: none } .faint { stroke: #bbb }
.dash { stroke-dasharray: 5 4 } .box { fill: #f4f4f1; stroke: #888 } .gone { fill: #ddd }
.mark { fill: #b23a5b } .page { fill: #fff } .wire { stroke: #999; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #e8e8e8 } .small { fill: #b5b5b5 } .page { fill: #1b1b1d } .white { fill: #fff }
  .line { stroke: #b5b5b5 } .faint { stroke: #555 } .box { fill: #2a2a2d; stroke: #777 }
  .gone { fill: #3a3a3d }
}
"""


class Drawing:
    """An SVG under way; coordinates from the top left."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">\n'
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
            'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>\n'
            f'<rect class="page" width="{width}" height="{height}" rx="8"/>\n'
        )
        self._parts: list[str] = []

    def text(self, x: float, y: float, words: str, kind: str = "") -> None:
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>')

    def box(
        self, x: float, y: float, w: float, h: float, fill: str = "", kind: str = "box"
    ) -> None:
        colour = f' style="fill:{fill}"' if fill else ""
        self._parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="6" '
            f'class="{kind}"{colour}/>'
        )

    def line(
        self, x1: float, y1: float, x2: float, y2: float, kind: str = "", *, tip: bool = False
    ) -> None:
        end = ' marker-end="url(#tip)"' if tip else ""
        self._parts.append(
            f'<path d="M{x1:.1f} {y1:.1f} {x2:.1f} {y2:.1f}" class="line {kind}"{end}/>'
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        """A line of a chart, with a dot at each point."""
        steps = " ".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self._parts.append(
            f'<path d="M{steps}" style="stroke:{colour};stroke-width:2" fill="none"/>'
        )
        self._parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{colour}"/>' for x, y in points
        ]

    def arc(self, x: float, y: float, inner: float, outer: float, begin: float, end: float,
            fill: str) -> None:  # fmt: skip
        def at(radius: float, turn: float) -> str:
            angle = 2 * math.pi * (turn - 0.25)
            return f"{x + radius * math.cos(angle):.2f} {y + radius * math.sin(angle):.2f}"

        self._parts.append(
            f'<path d="M{at(outer, begin)} A{outer} {outer} 0 0 1 {at(outer, end)} '
            f'L{at(inner, end)} A{inner} {inner} 0 0 0 {at(inner, begin)} Z" '
            f'style="fill:{fill}" stroke="#fff" stroke-width="1"/>'
        )

    def node(self, x: float, y: float, name: str, note: str = "", *, is_gone: bool = False) -> None:
        fill = "" if is_gone else COLOURS.get(name, "")
        self.box(x, y, 90, 40, fill, "box gone" if is_gone else "box")
        self.text(x + 45, y + 25, name, "mid bold white" if fill else "mid bold")
        if note:
            self.text(x + 45, y + 58, note, "mid small")

    def svg(self) -> str:
        return self._head + "\n".join(self._parts) + "\n</svg>\n"
