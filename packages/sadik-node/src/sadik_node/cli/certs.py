"""``certs``: a small certificate authority for the nodes of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from sadik_node.certificate_expiry import days_left, expiry_of
from sadik_node.cli.common import EXIT_FAILED, EXIT_USAGE, fail, print_json, say
from sadik_node.settings_rules import NAME_PATTERN

__all__ = ["certs"]

T = TypeVar("T")

_DIRECTORY = click.argument("directory", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def certs() -> None:
    """Make certificates for the nodes of a cluster.

    The authority lives in one directory, best on a machine that runs no node; each node gets
    ca.crt and its own two files, as [tls.peer] names them.

    \b
    Example:
      sadik-node certs init pki
      sadik-node certs issue pki n1 --host n1.example --host 10.0.0.1
    """


@certs.command()
@_DIRECTORY
@click.option("--name", metavar="NAME", default="Sadik cluster", help="What it is called.")
@click.option("--days", type=click.IntRange(1, 36500), default=3650, show_default=True,
              help="How long it is valid.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init(*, directory: Path, name: str, days: int, as_json: bool) -> None:
    """Make an authority in DIRECTORY: ca.crt, which all nodes get, and ca.key, which none does.

    \b
    Example:
      sadik-node certs init pki --name "orders cluster"
    """
    from_authority(lambda module: module.init(directory, name, days))
    if as_json:
        print_json({"ca": str(directory / "ca.crt"), "ca_key": str(directory / "ca.key")})
        return
    click.echo(f"{directory / 'ca.crt'}: for every node, as tls.peer.ca")
    click.echo(f"{directory / 'ca.key'}: keep it; whoever has it can let nodes into the cluster")


@certs.command()
@_DIRECTORY
@click.argument("name")
@click.option("--host", "hosts", metavar="HOST", multiple=True,
              help="A host name or address beside NAME; may be given again.")  # fmt: skip
@click.option("--days", type=click.IntRange(1, 36500), default=365, show_default=True,
              help="How long it is valid.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def issue(*, directory: Path, name: str, hosts: tuple[str, ...], days: int, as_json: bool) -> None:
    """Make a certificate for the node NAME (its node.name), with a new key, by DIRECTORY's
    authority.

    Running nodes read replaced files by themselves, within a second or so.

    \b
    Example:
      sadik-node certs issue pki n1 --host n1.example
    """
    if not NAME_PATTERN.fullmatch(name) or name == "ca":
        fail(f"{name!r} is no node's name: 1 to 64 characters of A-Z a-z 0-9 . _ -, and not ca",
             EXIT_USAGE)  # fmt: skip
    cert, key = from_authority(lambda module: module.issue(directory, name, hosts, days))
    left = days_left(expiry_of(cert) or 0, time.time())
    if left < days - 1:
        say(f"it ends in {left} days, with its authority: bring in a new one (docs/security.md)")
    if as_json:
        print_json({"cert": str(cert), "key": str(key)})
        return
    click.echo(f"{cert}: as tls.peer.cert of {name}")
    click.echo(f"{key}: as tls.peer.key of {name}, on its machine and nowhere else")


def from_authority(act: Callable[..., T]) -> T:
    """What ``act`` makes of the module of authorities, which needs an extra."""
    try:
        from sadik_node import certificates  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        fail(
            f"{error}: certificates are made with the library cryptography; "
            'pip install "sadik-node[certs]"',
            EXIT_FAILED,
        )
    try:
        return act(certificates)
    except certificates.AuthorityError as error:
        fail(str(error), EXIT_FAILED)
