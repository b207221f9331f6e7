"""``secret``: the secret that the nodes of a cluster share, in a file."""

from __future__ import annotations

import os
import secrets as system_secrets
from pathlib import Path

import click

from sadik_node.cli.common import EXIT_FAILED, fail, print_json

__all__ = ["secret", "write_private"]

_BYTES = 32
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def secret() -> None:
    """Make and replace the secret that the nodes of a cluster share.

    The file goes to every node, as auth.cluster_secret_file; running nodes read it again by
    themselves, within a second or so.

    \b
    Example:
      sadik-node secret new cluster.secret
    """


@secret.command()
@_FILE
@_JSON
def new(*, file: Path, as_json: bool) -> None:
    """Draw a secret and write it to FILE, which must not be there.

    \b
    Example:
      sadik-node secret new cluster.secret
    """
    if file.exists():
        fail(f"{file} is there; `sadik-node secret rotate {file}` replaces a secret", EXIT_FAILED)
    _write(file, [_drawn()])
    _report(file, f"{file}: for every node, as auth.cluster_secret_file", as_json=as_json)


@secret.command()
@_FILE
@_JSON
def rotate(*, file: Path, as_json: bool) -> None:
    """Put a new secret before the newest in FILE; both are accepted from then on.

    Copy FILE to every node, in any order, and when all have it run `secret settle`.

    \b
    Example:
      sadik-node secret rotate cluster.secret
    """
    _write(file, [_drawn(), _read(file)[0]])
    _report(
        file,
        f"{file}: copy it to every node; then `sadik-node secret settle {file}`",
        as_json=as_json,
    )


@secret.command()
@_FILE
@_JSON
def settle(*, file: Path, as_json: bool) -> None:
    """Leave only the newest secret in FILE, and copy it to every node once more.

    \b
    Example:
      sadik-node secret settle cluster.secret
    """
    _write(file, _read(file)[:1])
    _report(
        file,
        f"{file}: copy it to every node; the old secret opens nothing any more",
        as_json=as_json,
    )


def _report(file: Path, text: str, *, as_json: bool) -> None:
    """Say what to do with the file. What is in it is shown to nobody."""
    if as_json:
        print_json({"file": str(file), "secrets": len(_read(file))})
    else:
        click.echo(text)


def _drawn() -> str:
    return system_secrets.token_hex(_BYTES)


def _read(file: Path) -> list[str]:
    from sadik_members import ClusterSecrets  # noqa: PLC0415 - only here
    from sadik_node.private_files import read_private  # noqa: PLC0415 - brings trio

    try:
        return [each.decode() for each in ClusterSecrets.parse(read_private(file)).secrets]
    except ValueError as error:
        fail(f"{file}: {error}".replace(f"{file}: {file}", str(file)), EXIT_FAILED)


def _write(file: Path, lines: list[str]) -> None:
    write_private(file, "# the newest first\n" + "".join(f"{line}\n" for line in lines))


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, and never readable by others."""
    new_file = file.with_name(file.name + ".new")
    try:
        new_file.unlink(missing_ok=True)
        fd = os.open(new_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="ascii") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        new_file.replace(file)
    except OSError as error:
        fail(f"{file}: {error.strerror}", EXIT_FAILED)
