"""``version``: what is installed here."""

from __future__ import annotations

import platform
from importlib.metadata import version as installed_version

import click

from sadik_node.cli.common import print_json

__all__ = ["version"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(*, as_json: bool) -> None:
    """Show the version of this command and of the Python that runs it.

    \b
    Example:
      sadik-node version
    """
    found = {"version": installed_version("sadik-node"), "python": platform.python_version()}
    if as_json:
        print_json(found)
    else:
        click.echo(f"sadik-node {found['version']} (Python {found['python']})")
