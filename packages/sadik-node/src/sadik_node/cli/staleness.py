"""``staleness``: how long a write takes to reach its replicas, and what that means for R and W.

Coordinators measure it all the time (``sadik_write_copy_seconds``), so the advice is of this very
cluster, its disks, its network and its load, and needs no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from sadik_node.cli.common import Session, client_options, print_json, print_table, say
from sadik_node.cli.scrapes import ClusterScrapes, Scrape, quantile

__all__ = ["advice", "staleness"]

_COPIES = ("first", "majority", "last")
_SHARES = (0.5, 0.9, 0.99, 0.999)
_WAYS = {"hint": "hints", "anti_entropy": "anti-entropy"}
_QUORUMS = ("one", "quorum", "all")
_COPY_OF = dict(zip(_QUORUMS, _COPIES, strict=True))

Buckets = dict[float, float]


@click.command()
@client_options
def staleness(*, session: Session) -> None:
    """Show how long after a write its replicas had it, and what each R and W costs and misses.

    Of all writes since the nodes started, as their coordinators measured them, from the making of
    a write to an owner's word that it is on its disk. Times are bounds of histogram buckets.

    A setting with R + W above the replicas sees every acknowledged write (with sloppy=false, also
    while nodes are away). With less a read may miss a write for as long as the last replica takes.

    \b
    Example:
      sadik-node staleness
      sadik-node staleness --json
    """
    scrapes = ClusterScrapes(session)
    try:
        found = [scrape for _, scrape in scrapes.take() if scrape is not None]
    finally:
        scrapes.close()
    with session.asking() as client:
        replicas = int(client.ring()["replicas"])
    copies = {copy: _summed(found, "sadik_write_copy_seconds", copy=(copy,)) for copy in _COPIES}
    late = {way: _summed(found, "sadik_late_copy_age_seconds", by=(way,)) for way in _WAYS}
    if session.as_json:
        print_json(_document(copies, late, replicas))
    else:
        _show(copies, late, replicas)


def advice(copies: dict[str, Buckets], replicas: int) -> Iterator[dict[str, Any]]:
    """For each R and W: what a write waits for, and for how long a read may miss it.

    ``misses_for_s`` is 0 where it never does; times are None where nothing was measured or they lie
    above the last bound.
    """
    for w in _QUORUMS:
        for r in _QUORUMS:
            sees = _count(r, replicas) + _count(w, replicas) > replicas
            yield {
                "r": r,
                "w": w,
                "write_p99_s": _finite(quantile(copies[_COPY_OF[w]], 0.99)),
                "misses_for_s": 0.0 if sees else _finite(quantile(copies["last"], 0.99)),
            }


def _count(word: str, replicas: int) -> int:
    return {"one": 1, "quorum": replicas // 2 + 1, "all": replicas}[word]


def _summed(scrapes: list[Scrape], name: str, **labels: tuple[str, ...]) -> Buckets:
    total: Buckets = {}
    for scrape in scrapes:
        for bound, count in scrape.buckets(name, **labels).items():
            total[bound] = total.get(bound, 0.0) + count
    return total


def _whole(buckets: Buckets) -> int:
    return int(buckets.get(float("inf"), 0))


def _finite(bound: float | None) -> float | None:
    return None if bound in (None, float("inf")) else bound


def _document(
    copies: dict[str, Buckets], late: dict[str, Buckets], replicas: int
) -> dict[str, object]:
    def figures(buckets: Buckets) -> dict[str, object]:
        found: dict[str, object] = {"count": _whole(buckets)}
        for share in _SHARES:
            found[f"p{100 * share:g}_s"] = _finite(quantile(buckets, share))
        return found

    return {
        "replicas": replicas,
        "copies": {copy: figures(buckets) for copy, buckets in copies.items()},
        "late": {way: figures(buckets) for way, buckets in late.items()},
        "settings": list(advice(copies, replicas)),
    }


def _show(copies: dict[str, Buckets], late: dict[str, Buckets], replicas: int) -> None:
    whole, everywhere = _whole(copies["first"]), _whole(copies["last"])
    if not whole:
        say("no write was measured yet: write something, and ask again")
        return
    say(f"{whole} writes, {everywhere} of them acknowledged by every owner at once")
    titles = ("copy", *(f"p{100 * share:g}" for share in _SHARES))
    print_table(
        titles,
        [(copy, *(_time(quantile(copies[copy], s)) for s in _SHARES)) for copy in _COPIES],
    )
    for way, word in _WAYS.items():
        if _whole(late[way]):
            say(
                f"{_whole(late[way])} came later, by {word}: half of them within "
                f"{_time(quantile(late[way], 0.5))} of the write, nearly all within "
                f"{_time(quantile(late[way], 0.99))}"
            )
    click.echo("")
    rows = []
    for each in advice(copies, replicas):
        waits = _time(each["write_p99_s"])
        misses = each["misses_for_s"]
        told = "sees it" if misses == 0 else f"may miss it for {_time(misses)} (99 of 100 writes)"
        rows.append((each["r"], each["w"], waits, told))
    print_table(("r", "w", "a write waits (p99)", "a read after the answer"), rows)
    say(
        f"with {replicas} replicas; reads and writes with sloppy=false. While an owner is away, "
        "one that misses a write goes on missing it until the owner is back and has its hints."
    )


def _time(seconds: float | None) -> str:
    if seconds is None or seconds == float("inf"):
        return "longer" if seconds is not None else "-"
    if seconds < 1:
        return f"{1e3 * seconds:g} ms"
    return f"{seconds:g} s"
