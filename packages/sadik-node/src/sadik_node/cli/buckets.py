"""``bucket show|set|reset|list``: what requests on a bucket use where they say nothing."""

from __future__ import annotations

import click

from sadik_node.cli.common import (
    Session,
    check_bucket,
    client_options,
    print_json,
    print_table,
    say,
)

__all__ = ["bucket"]


@click.group()
def bucket() -> None:
    """Show and set the properties of buckets.

    \b
    Example:
      sadik-node bucket set notes w=all blind_writes=sibling
    """


@bucket.command()
@click.argument("name", metavar="BUCKET", callback=check_bucket)
@client_options
def show(*, session: Session, name: str) -> None:
    """Show the properties of BUCKET.

    \b
    Example:
      sadik-node bucket show notes
    """
    with session.asking() as client:
        found = client.get_bucket(name)
    _print_properties(session, found)


@bucket.command("set")
@click.argument("name", metavar="BUCKET", callback=check_bucket)
@click.argument("changes", metavar="PROPERTY=VALUE...", nargs=-1, required=True)
@client_options
def set_properties(*, session: Session, name: str, changes: tuple[str, ...]) -> None:
    """Set properties of BUCKET: r w pr pw dw conflict blind_writes ttl_seconds value_bytes.

    Those not named stay as they are. `null` takes a value away.

    \b
    Example:
      sadik-node bucket set notes w=all
      sadik-node bucket set photos value_bytes=33554432
    """
    wanted = dict(_change(each) for each in changes)
    with session.asking() as client:
        found = client.set_bucket(name, wanted)
    _print_properties(session, found)


@bucket.command()
@click.argument("name", metavar="BUCKET", callback=check_bucket)
@client_options
def reset(*, session: Session, name: str) -> None:
    """Give BUCKET the default properties again; its data stay.

    \b
    Example:
      sadik-node bucket reset notes
    """
    with session.asking() as client:
        client.reset_bucket(name)


@bucket.command("list")
@client_options
def list_buckets(*, session: Session) -> None:
    """List the buckets that have properties of their own.

    \b
    Example:
      sadik-node bucket list
    """
    with session.asking() as client:
        found = client.list_buckets()
    if session.as_json:
        print_json({"buckets": found})
        return
    if not found:
        say("every bucket has the default properties; buckets need not be made")
    for each in found:
        click.echo(each["bucket"])


def _print_properties(session: Session, found: dict[str, object]) -> None:
    if session.as_json:
        print_json(found)
    else:
        print_table(("property", "value"), list(found.items()))


def _change(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not PROPERTY=VALUE", param_hint="PROPERTY=VALUE")
    if value == "null":
        return name, None
    return name, int(value) if value.isascii() and value.isdigit() else value
