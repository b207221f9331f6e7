"""The command ``sadik-balance``: how even placement is, and what a join or a departure moves.

It runs the claim solver on made-up clusters of several sizes; nothing is contacted.
"""

import argparse
import sys
from collections.abc import Sequence

from sadik_hashing.claim import claim
from sadik_hashing.claimant import Assignment, Claimant
from sadik_hashing.plan import balance_of, minimum_moves, moves
from sadik_hashing.tokens import Partitions

_NODES = (3, 5, 10, 30, 100)
_HEADINGS = (
    "nodes", "zones", "slots mean", "max", "mean/max", "firsts mean", "max", "mean/max",
    "zones each", "join moves", "least", "leave moves", "least",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code, 0. Wrong usage exits with 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        Partitions(options.partitions)
    except ValueError as error:
        parser.error(str(error))
    rows = [_row(count, options) for count in options.nodes]
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
    for row in (_HEADINGS, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sadik-balance",
        description="Show how evenly partitions spread over clusters of equal nodes (replica "
        "slots and first owners per node; mean/max of 1 is perfect), how many zones the owners of "
        "each partition lie in, and how many slots move when a node joins or leaves, beside the "
        "least that any such plan would move.",
        epilog="example: sadik-balance --partitions 256 --zones 3 --nodes 3 6 9",
    )
    parser.add_argument(
        "--partitions", type=int, default=1024, help="a power of two, 8 to 4096 (%(default)s)"
    )
    parser.add_argument(
        "--replicas", type=_positive, default=3, help="owners per partition (%(default)s)"
    )
    parser.add_argument(
        "--zones", type=_positive, default=1, help="zones that nodes take turns in (%(default)s)"
    )
    parser.add_argument(
        "--nodes",
        type=_positive,
        nargs="+",
        default=_NODES,
        metavar="N",
        help=f"sizes of cluster to show ({' '.join(map(str, _NODES))})",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _cluster(count: int, zones: int) -> list[Claimant]:
    return [
        Claimant(id=f"node-{number}".encode(), zone=f"zone-{number % zones}")
        for number in range(count)
    ]


def _row(count: int, options: argparse.Namespace) -> tuple[str, ...]:
    nodes = _cluster(count, options.zones)
    present = claim(nodes, options.partitions, options.replicas)
    balance = balance_of(present, nodes)
    return (
        str(count),
        str(min(count, options.zones)),
        f"{balance.replica.mean:.1f}",
        f"{balance.replica.most:.0f}",
        f"{balance.replica.efficiency:.3f}",
        f"{balance.first.mean:.1f}",
        f"{balance.first.most:.0f}",
        f"{balance.first.efficiency:.3f}",
        f"{balance.zones_min}-{balance.zones_max}",
        *_change(present, _cluster(count + 1, options.zones), options),
        *(_change(present, nodes[:-1], options) if count > 1 else ("-", "-")),
    )


def _change(
    present: Assignment, nodes: Sequence[Claimant], options: argparse.Namespace
) -> tuple[str, str]:
    """Return how many slots a change to these nodes moves, and the least that it must."""
    after = claim(nodes, options.partitions, options.replicas, present)
    moved = sum(move.receiver is not None for move in moves(present, after))
    return str(moved), str(minimum_moves(nodes, options.partitions, options.replicas, present))
