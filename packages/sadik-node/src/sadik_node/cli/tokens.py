"""``token``: who may do what, in a file that nodes read."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from sadik_node.cli.common import EXIT_NOT_FOUND, fail, print_json, print_table
from sadik_node.cli.secrets import write_private
from sadik_node.tokens import Scope, Token, TokenFile, draw

__all__ = ["token"]

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def token() -> None:
    """Give clients tokens, each with what it may do, and take them back.

    FILE has hashes only. It goes to every node, as auth.tokens; running nodes read it again by
    themselves, within a second or so.

    \b
    Example:
      sadik-node token add tokens.toml reports --scope read:logs-
    """


@token.command()
@_FILE
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, required=True, metavar="SCOPE",
    help="read, write or admin; read:PREFIX for buckets whose names begin so. Repeatable.",
)  # fmt: skip
@click.option("--days", type=click.IntRange(1, 36_500), help="Until when; default: for ever.")
@_JSON
def add(*, file: Path, name: str, scopes: tuple[str, ...], days: int | None, as_json: bool) -> None:
    """Draw a token called NAME, enter its hash into FILE, and print it: this once.

    \b
    Example:
      sadik-node token add tokens.toml app --scope read --scope write:app- > app.token
    """
    tokens = list(_read(file)) if file.exists() else []
    if any(each.name == name for each in tokens):
        fail(f"{file} has a token {name}: `sadik-node token revoke {file} {name}` takes it back")
    expires = None
    if days is not None:
        expires = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).replace(microsecond=0)
    try:
        entry, text = draw(name, dict.fromkeys(map(Scope.parse, scopes)), expires)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    write_private(file, TokenFile([*tokens, entry]).text())
    if as_json:
        print_json({"token": text, **_document(entry, dt.datetime.now(dt.UTC).timestamp())})
    else:
        click.echo(text)


@token.command("list")
@_FILE
@_JSON
def list_tokens(*, file: Path, as_json: bool) -> None:
    """Show whose tokens are in FILE, and what each may do.

    \b
    Example:
      sadik-node token list tokens.toml
    """
    now_s = dt.datetime.now(dt.UTC).timestamp()
    tokens = list(_read(file))
    if as_json:
        print_json({"tokens": [_document(each, now_s) for each in tokens]})
        return
    rows = [(each.name, " ".join(map(str, each.scopes)), _until(each, now_s)) for each in tokens]
    print_table(("name", "scopes", "until"), rows)


@token.command()
@_FILE
@click.argument("name")
@_JSON
def revoke(*, file: Path, name: str, as_json: bool) -> None:
    """Take the token called NAME out of FILE; copy FILE to every node.

    \b
    Example:
      sadik-node token revoke tokens.toml reports
    """
    tokens = list(_read(file))
    left = [each for each in tokens if each.name != name]
    if len(left) == len(tokens):
        fail(f"{file} has no token {name}", EXIT_NOT_FOUND)
    write_private(file, TokenFile(left).text())
    if as_json:
        print_json({"revoked": name})
    else:
        click.echo(f"{file}: copy it to every node; the token {name} opens nothing any more")


def _document(entry: Token, now_s: float) -> dict[str, object]:
    return {
        "name": entry.name,
        "id": entry.id,
        "scopes": list(map(str, entry.scopes)),
        "expires": None if entry.expires is None else entry.expires.isoformat(),
        "has_ended": entry.has_ended(now_s),
    }


def _until(entry: Token, now_s: float) -> str:
    if entry.expires is None:
        return "for ever"
    until = f"{entry.expires.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
    return f"{until} (over)" if entry.has_ended(now_s) else until


def _read(file: Path) -> TokenFile:
    from sadik_node.private_files import read_private  # noqa: PLC0415 - brings trio

    try:
        return TokenFile.parse(read_private(file, bytes_max=2**30))
    except ValueError as error:
        fail(f"{file}: {error}".replace(f"{file}: {file}", str(file)))
