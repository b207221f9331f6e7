"""``config check``: judge a configuration file before a node has to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sadik_node.cli.common import EXIT_USAGE, print_json, say
from sadik_node.config import ConfigError, load_settings

__all__ = ["config"]


@click.group()
def config() -> None:
    """Check a configuration file.

    \b
    Example:
      sadik-node config check /etc/sadik/sadik.toml
    """


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(*, file: Path, as_json: bool) -> None:
    """Read FILE as `serve --config FILE` would in this environment, and name all that is wrong.

    Variables such as SADIK_LISTEN__HTTP count, as they would for `serve`. Exit code 2 if anything
    is wrong.

    \b
    Example:
      sadik-node config check /etc/sadik/sadik.toml
    """
    try:
        load_settings(file, os.environ)
    except ConfigError as error:
        if as_json:
            print_json(
                {
                    "ok": False,
                    "findings": [
                        {"key": each.key, "source": each.source, "problem": each.problem}
                        for each in error.findings
                    ],
                }
            )
        else:
            say(str(error))
        sys.exit(EXIT_USAGE)
    if as_json:
        print_json({"ok": True, "findings": []})
    else:
        click.echo(f"{file}: nothing is wrong with it")
