"""Draws the pictures of the ideas and of what things cost, ``docs/pictures/*.svg``; `make pictures`
renews them.

Where a picture shows a placement it is one that the code makes: the ring and the preference list
are claimed, the key's partition is hashed, and the trees are hash trees.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path

from charts import charts
from drawing import COLOURS, Drawing
from sadik_hashing import (
    Claimant,
    HashTree,
    Partitions,
    PreferenceTable,
    claim,
    record_hash,
    token_of,
)

__all__ = ["TARGET", "pictures"]

TARGET = Path(__file__).resolve().parents[1] / "docs" / "pictures"

_PARTITIONS = 32
_BUCKET, _KEY = "carts", b"ada"
_NODES = [Claimant(id=f"n{i}".encode(), zone=f"zone {'abc'[(i - 1) % 3]}") for i in range(1, 7)]
_ZONES = {node.id.decode(): node.zone for node in _NODES}


def pictures() -> Iterator[tuple[str, str]]:
    """File name and text of each."""
    yield "ring.svg", _ring()
    yield "preference-list.svg", _preference_list()
    yield "write.svg", _write()
    yield "sloppy-quorum.svg", _sloppy_quorum()
    yield "siblings.svg", _siblings()
    yield "anti-entropy.svg", _anti_entropy()
    yield from charts()


def _placed() -> tuple[list[list[str]], int, list[str]]:
    """The owners of every partition, the key's partition, and its preference list."""
    ring = claim(_NODES, partitions=_PARTITIONS, replicas=3)
    partition = Partitions(_PARTITIONS).of_key(_BUCKET, _KEY)
    lists = PreferenceTable(ring, _NODES)
    return (
        [[node.decode() for node in owners] for owners in ring],
        partition,
        [node.decode() for node in lists[partition]],
    )


def _ring() -> str:
    owners, partition, _ = _placed()
    drawing = Drawing(640, 400, "The ring: partitions, each with three owners")
    x, y = 210, 205
    for number, names in enumerate(owners):
        begin, end = number / _PARTITIONS, (number + 1) / _PARTITIONS
        for place, name in enumerate(names):
            drawing.arc(x, y, 118 - 24 * place, 140 - 24 * place, begin, end, COLOURS[name])
    angle = 2 * math.pi * ((partition + 0.5) / _PARTITIONS - 0.25)
    drawing.line(x + 176 * math.cos(angle), y + 176 * math.sin(angle),
                 x + 144 * math.cos(angle), y + 144 * math.sin(angle), tip=True)  # fmt: skip
    drawing.text(x, y - 8, f"{_BUCKET}/{_KEY.decode()}", "mid bold")
    token = token_of(_BUCKET, _KEY)
    drawing.text(x, y + 10, f"token {token >> 48:04x}…", "mid small")
    drawing.text(x, y + 28, f"partition {partition}", "mid small")
    drawing.text(420, 60, "Outer band: first owner,", "small")
    drawing.text(420, 78, "then second and third.", "small")
    for index, (name, zone) in enumerate(_ZONES.items()):
        drawing.box(420, 100 + 30 * index, 20, 20, COLOURS[name])
        drawing.text(450, 115 + 30 * index, f"{name}, {zone}")
    drawing.text(420, 310, f"Partition {partition} is owned by", "small")
    drawing.text(420, 330, ", ".join(owners[partition]), "bold")
    return drawing.svg()


def _preference_list() -> str:
    owners, partition, preferred = _placed()
    drawing = Drawing(700, 190, "A preference list: owners, then fallbacks")
    drawing.text(
        20, 34, f"Preference list of {_BUCKET}/{_KEY.decode()} (partition {partition})", "bold"
    )
    count = len(owners[partition])
    for place, name in enumerate(preferred):
        x = 20 + 112 * place
        drawing.node(x, 70, name, _ZONES[name])
        drawing.text(x + 45, 62, str(place + 1), "mid small")
        if place + 1 < len(preferred):
            drawing.line(x + 92, 90, x + 110, 90, tip=True)
    drawing.line(20, 145, 20 + 112 * count - 22, 145)
    drawing.text(20 + 112 * count / 2 - 11, 168, "owners", "mid")
    drawing.line(20 + 112 * count, 145, 112 * len(preferred), 145, "faint")
    drawing.text((20 + 112 * count + 112 * len(preferred)) / 2, 168, "fallbacks", "mid")
    return drawing.svg()


def _lanes(drawing: Drawing, names: list[str], height: int, gone: str = "") -> dict[str, float]:
    lanes: dict[str, float] = {}
    for index, name in enumerate(names):
        x = 30 + 160 * index
        lanes[name] = x + 45
        drawing.node(x, 20, name, is_gone=name == gone)
        drawing.line(x + 45, 62, x + 45, height - 20, "faint dash" if name == gone else "faint")
    return lanes


def _arrow(drawing: Drawing, lanes: dict[str, float], way: tuple[str, str], y: float, words: str,
           kind: str = "") -> None:  # fmt: skip
    begin, end = lanes[way[0]], lanes[way[1]]
    lean = 4 if end > begin else -4
    drawing.line(begin, y, end - lean, y + 16, kind, tip=True)
    drawing.text((begin + end) / 2, y - 2, words, "mid small")


def _write() -> str:
    _, _, preferred = _placed()
    one, two, three = preferred[:3]
    drawing = Drawing(660, 350, "A write at W = 2 of three owners")
    lanes = _lanes(drawing, ["client", one, two, three], 350)
    _arrow(drawing, lanes, ("client", one), 84, "PUT")
    _note(drawing, lanes[one], 112, f"dot {one}:1 on disk")
    _arrow(drawing, lanes, (one, two), 140, "version")
    _arrow(drawing, lanes, (one, three), 162, "version")
    _note(drawing, lanes[two], 170, "on disk")
    _arrow(drawing, lanes, (two, one), 198, "acknowledged")
    _arrow(drawing, lanes, (one, "client"), 226, "204, context")
    _note(drawing, lanes[three], 250, "on disk")
    _arrow(drawing, lanes, (three, one), 276, "acknowledged")
    drawing.text(30, 330, "Answered at two distinct owners; the third follows.", "small")
    return drawing.svg()


def _note(drawing: Drawing, x: float, y: float, words: str) -> None:
    drawing.box(x - 52, y - 8, 104, 22)
    drawing.text(x, y + 7, words, "mid small")


def _sloppy_quorum() -> str:
    _, _, preferred = _placed()
    one, two, _, fallback = preferred[:4]
    drawing = Drawing(
        660, 360, "A sloppy quorum: a fallback keeps a hint for an owner that is down"
    )
    lanes = _lanes(drawing, ["client", one, two, fallback], 370, gone=two)
    drawing.text(lanes[two], 78, "down", "mid small")
    _arrow(drawing, lanes, ("client", one), 90, "PUT")
    _note(drawing, lanes[one], 116, "on disk")
    _arrow(drawing, lanes, (one, fallback), 144, f"version, for {two}")
    _note(drawing, lanes[fallback], 172, "with a hint")
    _arrow(drawing, lanes, (fallback, one), 198, "acknowledged")
    _arrow(drawing, lanes, (one, "client"), 222, "204")
    drawing.text(lanes[two] - 10, 276, "back again", "end small")
    _arrow(drawing, lanes, (fallback, two), 262, "the record")
    _note(drawing, lanes[two], 290, "on disk")
    _arrow(drawing, lanes, (two, fallback), 320, "acknowledged")
    drawing.text(lanes[fallback] + 8, 350, "the hint goes", "small")
    return drawing.svg()


def _siblings() -> str:
    drawing = Drawing(660, 250, "Siblings, and how they are resolved")

    def version(x: float, y: float, value: str, dot: str) -> None:
        drawing.box(x, y, 140, 44)
        drawing.text(x + 70, y + 20, value, "mid bold")
        drawing.text(x + 70, y + 36, dot, "mid small")

    version(20, 100, "milk", "n1:1")
    version(260, 40, "milk, bread", "n1:2, saw n1:1")
    version(260, 160, "milk, eggs", "n2:1, saw n1:1")
    version(500, 100, "milk, bread, eggs", "n1:3, saw both")
    drawing.line(160, 115, 256, 68, tip=True)
    drawing.line(160, 130, 256, 178, tip=True)
    drawing.line(400, 68, 496, 115, tip=True)
    drawing.line(400, 178, 496, 130, tip=True)
    drawing.text(330, 128, "siblings: a read shows both", "mid small")
    drawing.text(90, 168, "read by two", "mid small")
    drawing.text(570, 168, "replaces both", "mid small")
    return drawing.svg()


def _anti_entropy() -> str:
    drawing = Drawing(660, 330, "Two hash trees that differ in one leaf")
    mine, theirs = HashTree(), HashTree()
    names = [b"a", b"b", b"c", b"d"]
    for tree in (mine, theirs):
        for name in names[: 4 if tree is mine else 3]:
            leaf = tree.leaf_of(token_of(_BUCKET, name))
            tree.replace(leaf, None, record_hash(_BUCKET.encode() + b"\0" + name, [(b"n1", 1)]))
    differing = mine.differing_middles(theirs.packed_middles())
    assert len(differing) == 1, "one record is missing, in one branch"
    assert mine.leaf_of(token_of(_BUCKET, names[3])) in mine.differing_leaves(
        differing[0], theirs.packed_leaves(differing[0])
    )
    for x, title in ((10, "n1 holds a, b, c, d"), (348, "n2 holds a, b, c")):
        drawing.text(x + 145, 32, title, "mid bold")
        _tree(drawing, x)
    for y, words in ((70, "1  roots differ"), (150, "2  one middle"), (230, "3  one leaf")):
        drawing.text(322, y, words.split("  ")[0], "mid bold")
    drawing.text(330, 316, "1 roots differ, 2 so does one branch, 3 and in it one leaf: d is sent.",
                 "mid small")  # fmt: skip
    return drawing.svg()


def _tree(drawing: Drawing, x: float) -> None:
    def knot(cx: float, cy: float, *, differs: bool) -> None:
        drawing.box(cx - 24, cy - 14, 48, 28, "#b23a5b" if differs else "")

    middles = [(x + 50, 145), (x + 145, 145), (x + 240, 145)]
    leaves = [(x + 130, 225), (x + 190, 225), (x + 250, 225)]
    for cx, cy in middles:
        drawing.line(x + 145, 80, cx, cy - 14, "faint")
    for cx, cy in leaves:
        drawing.line(x + 240, 160, cx, cy - 14, "faint")
    knot(x + 145, 66, differs=True)
    for index, (cx, cy) in enumerate(middles):
        knot(cx, cy, differs=index == 2)
    for index, (cx, cy) in enumerate(leaves):
        knot(cx, cy, differs=index == 1)
    drawing.text(x + 190, 262, "d", "mid bold")


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, text in pictures():
        (TARGET / name).write_text(text, "utf-8")
    sys.exit(0)
