"""``status``, ``members``, ``ring``, ``hints`` and ``explain``: what a node knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from sadik_node.cli.common import (
    KeyParameter,
    Session,
    check_bucket,
    client_options,
    percent_option,
    print_json,
    print_table,
    read_key,
    say,
)
from sadik_node.cli.explanation import explanation

__all__ = ["explain", "hints", "members", "ring", "status"]


@click.command()
@client_options
def status(*, session: Session) -> None:
    """Show how the node is, and how it sees its cluster.

    \b
    Example:
      sadik-node status
      sadik-node status --node http://127.0.0.1:7080 --json
    """
    with session.asking() as client:
        found = client.status()
    if session.as_json:
        print_json(found)
    else:
        print_table(("what", "value"), list(_flat(found)))


@click.command()
@client_options
def members(*, session: Session) -> None:
    """Show the members of the cluster as the node sees them.

    \b
    Example:
      sadik-node members
    """
    with session.asking() as client:
        found = client.members()
    if session.as_json:
        print_json(found)
        return
    columns = ("name", "state", "http", "peer", "zone", "id")
    rows = [[member.get(column) for column in columns] for member in found["members"]]
    print_table(columns, rows)


@click.command()
@click.option("--partitions", is_flag=True, help="Show the owners of each partition.")
@client_options
def ring(*, session: Session, partitions: bool) -> None:
    """Show who owns what: for each node how many partitions, and of how many it is first owner.

    \b
    Example:
      sadik-node ring
      sadik-node ring --partitions
    """
    with session.asking() as client:
        found = client.ring()
    if session.as_json:
        print_json(found)
        return
    owners: list[list[str]] = found["owners"]
    say(f"epoch {found['epoch']}, {found['partitions']} partitions, {found['replicas']} replicas")
    if partitions:
        rows = [(number, " ".join(names)) for number, names in enumerate(owners)]
        print_table(("partition", "owners"), rows)
        return
    replicas = Counter(name for names in owners for name in names)
    firsts = Counter(names[0] for names in owners if names)
    print_table(
        ("node", "partitions", "first owner of"),
        [(name, replicas[name], firsts[name]) for name in sorted(replicas)],
    )


@click.command()
@client_options
def hints(*, session: Session) -> None:
    """Show the notes that wait for nodes that were away: what they still have to be sent.

    \b
    Example:
      sadik-node hints
    """
    with session.asking() as client:
        found = client.hints()
    if session.as_json:
        print_json(found)
        return
    say(f"{found['total']} hints wait, {found['bytes']} bytes")
    waiting: dict[str, int] = found["by_node"]
    if waiting:
        print_table(("for", "hints"), sorted(waiting.items()))


@click.command()
@click.argument("bucket", callback=check_bucket)
@click.argument("key", type=KeyParameter())
@percent_option
@client_options
def explain(*, session: Session, bucket: str, key: bytes, percent: bool) -> None:
    """Show KEY's preference list: who holds which versions, who is behind and why, what waits.

    \b
    Example:
      sadik-node explain notes hello
    """
    key = read_key(key, percent=percent)
    with session.asking() as client:
        found = client.explain(bucket, key)
    if session.as_json:
        print_json(found)
        return
    for line in explanation(found):
        click.echo(line)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _flat(each, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, " ".join(str(each) for each in value)
    else:
        yield name, value
