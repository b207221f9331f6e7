"""``serve``: one node in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sadik_node.cli.common import EXIT_USAGE, fail
from sadik_node.config import ConfigError, Settings, load_settings

__all__ = ["serve"]


@click.command()
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    envvar="SADIK_CONFIG",
    show_envvar=True,
    help="A TOML file.",
)
@click.option("--name", metavar="NAME", help="The node's name; default: the host name.")
@click.option("--data-dir", metavar="DIR", help="Where its data are; made if not there.")
@click.option("--http", metavar="ADDR", help="Where clients reach it; default 127.0.0.1:7070.")
@click.option("--peer", metavar="ADDR", help="Where nodes reach it; default 127.0.0.1:7071.")
@click.option("--admin", metavar="ADDR", help="Where operators alone reach it; default: --http.")
@click.option("--advertise", metavar="ADDR", help="What nodes dial, if it differs from --peer.")
@click.option("--advertise-http", metavar="ADDR", help="What clients dial, if not --http.")
@click.option("--advertise-admin", metavar="ADDR", help="What operators dial, if not --admin.")
@click.option(
    "--join",
    metavar="ADDR",
    multiple=True,
    help="A member's peer address; may be given again. Without: a new cluster of one.",
)
@click.option("--zone", metavar="ZONE", help="What fails together; replicas avoid sharing one.")
@click.option(
    "--insecure",
    is_flag=True,
    default=None,
    help="Listen beyond loopback though nothing protects the traffic.",
)
def serve(
    *,
    file: Path | None,
    name: str | None,
    data_dir: str | None,
    http: str | None,
    peer: str | None,
    admin: str | None,
    advertise: str | None,
    advertise_http: str | None,
    advertise_admin: str | None,
    join: tuple[str, ...],
    zone: str | None,
    insecure: bool | None,
) -> None:
    """Run one node until SIGTERM or Ctrl-C.

    A flag overrides a variable (SADIK_LISTEN__HTTP), that the file, that the default. On a data
    directory that has been used the node comes back as who it was, and --join is ignored.

    \b
    Example:
      sadik-node serve --name n1 --data-dir ./n1
      sadik-node serve --name n2 --data-dir ./n2 --http 127.0.0.1:7080 \\
          --peer 127.0.0.1:7081 --join 127.0.0.1:7071
    """
    flags: dict[str, object] = {
        "node.name": name,
        "node.data_dir": data_dir,
        "listen.http": http,
        "listen.peer": peer,
        "listen.admin": admin,
        "listen.advertise": advertise,
        "listen.advertise_http": advertise_http,
        "listen.advertise_admin": advertise_admin,
        "cluster.join": list(join) or None,
        "node.zone": zone,
        "listen.insecure": insecure,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        settings = load_settings(file, os.environ, given)
    except ConfigError as error:
        fail(str(error), EXIT_USAGE)
    sys.exit(_run(settings))


def _run(settings: Settings) -> int:
    # Here and not above, so that a configuration is refused without waiting for trio.
    from sadik_node.serve import run  # noqa: PLC0415 - see above

    return run(settings)
