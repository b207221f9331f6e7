"""``repair``: compare replicas now, partition by partition, and mend what differs."""

from __future__ import annotations

from collections.abc import Iterable

import click

from sadik_node.cli.common import Session, client_options, fail, fail_answered, print_json, say
from sadik_node.cli.progress import Progress

__all__ = ["repair"]

_TIMEOUT_S = 60.0
_COUNTS = ("compared", "differing", "differences", "repaired")


@click.command()
@click.option("--partition", type=click.IntRange(0, 4095), help="Only this one; default all.")
@client_options
def repair(*, session: Session, partition: int | None) -> None:
    """Compare the replicas of partitions now, and bring owners up to date that have less.

    It runs in the background all the time; this is for who does not want to wait, for instance
    when a node has come back. What is equal costs next to nothing.

    \b
    Example:
      sadik-node repair
      sadik-node repair --partition 17
    """
    with session.asking() as client:
        count = client.ring()["partitions"] if partition is None else 1
    numbers: Iterable[int] = range(count) if partition is None else (partition,)
    total = dict.fromkeys(_COUNTS, 0)
    unreachable: dict[str, None] = {}
    unfinished: list[int] = []
    with Progress("repair", count) as progress:
        for number in numbers:
            with session.asking() as client:
                answer = client.request(
                    "POST", f"/v1/repair?partition={number}", body=b"", timeout_s=_TIMEOUT_S
                )
            if answer.status not in (200, 202):
                fail_answered(f"partition {number}: {answer.complaint}", answer.status)
            found = answer.json()
            for name in _COUNTS:
                total[name] += found[name]
            unreachable.update(dict.fromkeys(found["unreachable"]))
            if not found["finished"]:
                unfinished.append(number)
            progress.advance()
    if session.as_json:
        print_json(
            {
                "partitions": count,
                **total,
                "unreachable": sorted(unreachable),
                "unfinished": unfinished,
            }
        )
    else:
        say(
            f"{total['compared']} replicas compared in {count} partitions: {total['differing']} "
            f"differed, in {total['differences']} records; {total['repaired']} records sent"
        )
    if unfinished:
        say(f"still at work in {len(unfinished)} partitions: ask again")
    if unreachable:
        fail(
            f"not compared with: {' '.join(sorted(unreachable))}\n"
            "  see why with `sadik-node members`, and run repair again when they are back"
        )
