"""``storage convert``: another backend for a stopped node."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from sadik_node.cli.common import EXIT_USAGE, fail, print_json, say
from sadik_node.cli.progress import Progress
from sadik_node.config import ConfigError, Settings, load_settings
from sadik_node.converting import Converted, convert
from sadik_node.errors import NodeError

__all__ = ["storage"]


@click.group()
def storage() -> None:
    """Work on the store of a node that is stopped.

    \b
    Example:
      sadik-node storage convert --to sqlite --data-dir /var/lib/sadik
    """


@storage.command("convert")
@click.option("--to", "target", metavar="BACKEND", required=True, help="The backend to have then.")
@click.option(
    "--from", "source", metavar="BACKEND", help="The backend it has; default: what is found."
)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SADIK_CONFIG",
    show_envvar=True,
    help="The node's configuration: its data_dir and storage.options.",
)
@click.option("--data-dir", metavar="DIR", help="The node's data directory, if not as configured.")
@click.option("--discard", is_flag=True, help="Remove the old store when the new one is in place.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def convert_store(
    *,
    target: str,
    source: str | None,
    file: Path | None,
    data_dir: str | None,
    discard: bool,
    as_json: bool,
) -> None:
    """Copy the store of a stopped node into another backend's, and put that in its place.

    The copy is compared with the store, row by row, before it counts. The old store is left beside
    the new one as store.BACKEND. Do not put it back once the node has run on the new one: convert
    again instead. Interrupted, it leaves the store as it was, or is finished by running it again.

    \b
    Example:
      sadik-node storage convert --from lmdb --to sqlite --data-dir /var/lib/sadik
      sadik-node storage convert --to rocksdb --config /etc/sadik/sadik.toml --discard
    """
    settings = _settings(file, data_dir)
    directory = settings.node.data_dir
    options = settings.storage.options if source in (None, settings.storage.backend) else {}
    try:
        with Progress("rows copied and compared", None) as progress:
            result = convert(
                directory,
                source=source,
                target=target,
                options=options,
                told=lambda rows, size: progress.advance(size, rows),
            )
    except NodeError as error:
        fail(str(error), error.exit_code)
    if discard:
        shutil.rmtree(result.left)
    _report(result, settings, discarded=discard, as_json=as_json)


def _settings(file: Path | None, data_dir: str | None) -> Settings:
    try:
        return load_settings(
            file, os.environ, {} if data_dir is None else {"node.data_dir": data_dir}
        )
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)


def _report(result: Converted, settings: Settings, *, discarded: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "from": result.source,
                "to": result.target,
                "rows": result.rows,
                "bytes": result.bytes,
                "blake3": result.digest,
                "old_store": None if discarded else str(result.left),
            }
        )
    else:
        done = "finished an interrupted conversion" if result.was_interrupted else "converted"
        click.echo(
            f"{done}: {result.rows} rows, {result.bytes} bytes, {result.source} to "
            f"{result.target}, compared by hash"
        )
        if not discarded:
            say(f"the old store is {result.left}; remove it when the node runs well")
    if settings.storage.backend != result.target:
        say(f'before you start the node, set storage.backend = "{result.target}"')
