"""``plan``, ``transfers``, ``leave`` and ``remove``: changing who belongs to the cluster."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote, urlencode

import click

from sadik_node.cli.common import (
    Session,
    client_options,
    fail_answered,
    print_json,
    print_table,
    say,
)
from sadik_node.cli.movement import Movement
from sadik_node.cli.progress import Progress

__all__ = ["leave", "plan", "remove", "transfers"]

_POLL_S = 0.5


@click.command()
@click.option("--join", multiple=True, metavar="NAME[:ZONE[:WEIGHT]]", help="A node that joins.")
@click.option("--leave", "leaving", multiple=True, metavar="NAME", help="A member that leaves.")
@click.option("--remove", multiple=True, metavar="NAME", help="A dead member that is removed.")
@client_options
def plan(
    *, session: Session, join: tuple[str, ...], leaving: tuple[str, ...], remove: tuple[str, ...]
) -> None:
    """Show what a change of members would move, without moving it.

    \b
    Example:
      sadik-node plan --join n4:zone-b
      sadik-node plan --leave n2 --json
    """
    query = urlencode(
        [("join", n) for n in join] + [("leave", n) for n in leaving]
        + [("remove", n) for n in remove]
    )  # fmt: skip
    with session.asking() as client:
        answer = client.request("GET", f"/v1/plan?{query}")
    if answer.status != 200:
        fail_answered(answer.complaint, answer.status)
    _show_plan(session, answer.json())


@click.command()
@click.option("--wait", is_flag=True, help="Show progress until nothing moves any more.")
@client_options
def transfers(*, session: Session, wait: bool) -> None:
    """Show which partitions move, how far they are, and why one does not go on.

    \b
    Example:
      sadik-node transfers
      sadik-node transfers --wait
    """
    movement = Movement()
    found = _look(session, movement)
    if wait:
        with Progress("moved", None) as progress:
            while found["transfers"]:
                progress.show(movement.bytes_done, movement.bytes_total, str(movement))
                time.sleep(_POLL_S)
                found = _look(session, movement)
    if session.as_json:
        print_json(found)
    elif not found["transfers"]:
        say("nothing moves: the ring is where it should be")
    else:
        columns = ("partition", "from", "to", "bytes_done", "bytes_total", "state", "reason")
        rows = [[each[column] for column in columns] for each in found["transfers"]]
        print_table(columns, rows)
        say(f"there already: {movement}")


def _look(session: Session, movement: Movement) -> dict[str, Any]:
    """Ask what moves, and count it."""
    with session.asking() as client:
        found = client.transfers()
    movement.look(time.monotonic(), found["transfers"])
    return found


@click.command()
@click.argument("name", required=False)
@client_options
def leave(*, session: Session, name: str | None) -> None:
    """Have a node leave: the one asked, or another by its NAME. Waits until it is gone.

    It serves until its last partition is safe, then its process ends by itself.

    \b
    Example:
      sadik-node leave --node http://127.0.0.1:7090
    """
    with session.asking() as client:
        members = client.members()["members"]
    called = name or next(member["name"] for member in members if member["self"])
    with session.asking() as client:
        answer = client.request("POST", f"/v1/members/{quote(called)}/leave", body=b"")
    if answer.status != 202:
        fail_answered(answer.complaint, answer.status)
    planned = answer.json()
    _show_plan(session, planned)
    others = [each for each in members if each["name"] != called and each["state"] == "up"]
    watch = session.at(others[0]) if others else session
    movement = Movement()
    with Progress(f"moved from {called}", None) as progress:
        while True:
            with watch.asking() as client:
                found = client.members()["members"]
            states = [member["state"] for member in found if member["name"] == called]
            if all(state == "left" for state in states):
                break
            _look(watch, movement)
            progress.show(movement.bytes_done, movement.bytes_total, str(movement))
            time.sleep(_POLL_S)
    if not session.as_json:
        say(f"{called} has left")


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Without the word of a majority of the members.")
@client_options
def remove(*, session: Session, name: str, force: bool) -> None:
    """Remove a dead node: its data are brought to others from the replicas that survive.

    A majority of the members has to find it dead, too. Use --force only where a majority
    is lost for good, and be sure that NAME is dead and stays so.

    \b
    Example:
      sadik-node remove n3
    """
    query = "?force=true" if force else ""
    with session.asking() as client:
        answer = client.request("POST", f"/v1/members/{quote(name)}/remove{query}", body=b"")
    if answer.status != 202:
        fail_answered(answer.complaint, answer.status)
    _show_plan(session, answer.json())


def _show_plan(session: Session, found: dict[str, Any]) -> None:
    if session.as_json:
        print_json(found)
        return
    moves = found["moves"]
    say(f"{len(moves)} replicas move; {found['moves_min']} is the least that can be")
    columns = ("name", "partitions_now", "partitions_then")
    print_table(columns, [[node[column] for column in columns] for node in found["nodes"]])
