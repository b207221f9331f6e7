"""The picture of a preference list: who holds what, who is behind and why, what waits."""

from __future__ import annotations

from typing import Any

from sadik_node.cli.explanation import explanation

OLD, NEW = "00112233aabbccdd:7:1", "00112233aabbccdd:7:2"


def version(dot: str, **more: object) -> dict[str, Any]:
    return {"dot": dot, "bytes": 5, "deleted": False, "time": "2026-01-01T00:00:00.000Z", **more}


def replica(node: str, state: str, *dots: str, why: str = "") -> dict[str, Any]:
    return {"node": node, "state": state, "behind": state in ("behind", "missing"), "why": why,
            "owner": True,
            "versions": [version(dot, replaced=dot == OLD) for dot in dots]}  # fmt: skip


def test_the_picture_says_who_holds_what_and_what_waits() -> None:
    found = {
        "bucket": "notes", "key": "a%20b", "partition": 17, "epoch": 3,
        "owners": ["n1", "n2", "n3", "n4"], "fallbacks": ["n5", "n6"],
        "replicas": [
            replica("n1", "ok", NEW),
            replica("n2", "behind", OLD, why="it missed a write; 1 hints of this key wait"),
            replica("n3", "unreachable", why="it is down"),
            replica("n4", "missing", why="it missed a write"),
            replica("n5", "ok", NEW),
        ],
        "hints": [{"on": "n5", "for": "n3"}],
    }  # fmt: skip
    assert list(explanation(found)) == [
        "notes/a%20b",
        "partition 17, epoch 3",
        "",
        "owners:",
        "   1  n1  ok           B",
        "   2  n2  behind       A",
        "          lacks B; A is outdated",
        "          it missed a write; 1 hints of this key wait",
        "   3  n3  unreachable  ?",
        "          it is down",
        "   4  n4  missing      -",
        "          lacks B",
        "          it missed a write",
        "",
        "fallbacks:",
        "   5  n5  ok           B",
        "   6  n6  holds nothing",
        "",
        "versions:",
        f"  A  {OLD}  5 bytes, written 2026-01-01T00:00:00.000Z, replaced",
        f"  B  {NEW}  5 bytes, written 2026-01-01T00:00:00.000Z",
        "",
        "waiting:",
        "  a hint on n5, to bring n3 up to date",
    ]


def test_it_fits_80_columns_whatever_the_names_and_reasons_are() -> None:
    long = "n" * 64
    found = {
        "bucket": "b" * 64, "key": "%00" * 400, "partition": 4095, "owners": [long],
        "fallbacks": [], "hints": [{"on": long, "for": long}],
        "replicas": [replica(long, "behind", *[f"{n:016x}:{n}:1" for n in range(60)],
                             why="words " * 60)],
    }  # fmt: skip
    lines = list(explanation(found))
    names = [line for line in lines if long in line and "behind" in line]
    assert all(len(line) <= 80 for line in lines if line not in names)
    assert "fallbacks: none" in lines
