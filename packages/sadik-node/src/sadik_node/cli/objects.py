"""``put``, ``get``, ``delete`` and ``list``: one object, or the keys of a bucket."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import click

from sadik_node.cli.common import (
    EXIT_NOT_FOUND,
    EXIT_SIBLINGS,
    KeyParameter,
    Session,
    check_bucket,
    client_options,
    fail,
    key_label,
    percent_option,
    print_json,
    read_key,
    say,
    text_or_none,
)
from sadik_node.client_http import Answer, key_path, list_path, parse_page

__all__ = ["delete", "get", "list_keys", "put"]

_VALUE_BYTES_MAX = 64 * 2**20
_META_PREFIX = "sadik-meta-"
_QUORUM = "a number from 1, one, quorum or all"


@click.command()
@click.argument("bucket", callback=check_bucket)
@click.argument("key", type=KeyParameter())
@click.argument("value")
@click.option("--context", metavar="CONTEXT", help="What this replaces: from get or put --json.")
@click.option("--content-type", metavar="TYPE", help="Stored with the value.")
@click.option("--w", metavar="N", help=f"Acknowledgements needed: {_QUORUM}.")
@click.option("--no-sloppy", is_flag=True, help="Count the key's owners only, no stand-ins.")
@percent_option
@client_options
def put(
    *,
    session: Session,
    bucket: str,
    key: bytes,
    value: str,
    context: str | None,
    content_type: str | None,
    w: str | None,
    no_sloppy: bool,
    percent: bool,
) -> None:
    """Store VALUE under KEY. `-` reads standard input, `@FILE` a file.

    Without --context the value replaces what the coordinating node holds (or as the bucket's
    blind_writes say). With --json the answer's context is printed, for a next put --context.

    \b
    Example:
      sadik-node put notes hello world
      sadik-node put photos 2026/cat.jpg @cat.jpg --content-type image/jpeg
      date | sadik-node put notes now -
    """
    key = read_key(key, percent=percent)
    answer = session.request(
        "PUT",
        key_path(bucket, key),
        query={"w": w, "sloppy": "false" if no_sloppy else None},
        headers={"Sadik-Context": context, "Content-Type": content_type},
        body=_value_bytes(value),
        expect=(200, 204),
    )
    _print_written(session, "stored", bucket, key, answer)


@click.command()
@click.argument("bucket", callback=check_bucket)
@click.argument("key", type=KeyParameter())
@click.option("--r", metavar="N", help=f"Replicas that must answer: {_QUORUM}.")
@click.option("--no-sloppy", is_flag=True, help="Ask the key's owners only, no stand-ins.")
@percent_option
@client_options
def get(
    *, session: Session, bucket: str, key: bytes, r: str | None, no_sloppy: bool, percent: bool
) -> None:
    """Print the value of KEY, byte for byte.

    Exit code 3 if there is none. If writes happened side by side there are several values, called
    siblings: all are printed, each with a line end after it, and the exit code is 4; a put
    with the context that is told then makes them one again.

    \b
    Example:
      sadik-node get notes hello
      sadik-node get photos 2026/cat.jpg > cat.jpg
    """
    key = read_key(key, percent=percent)
    answer = session.request(
        "GET",
        key_path(bucket, key),
        query={"r": r, "sloppy": "false" if no_sloppy else None},
        expect=(200, 300, 404),
    )
    if answer.status == 404:
        _end_not_found(session, bucket, key, answer)
    if answer.status == 300:
        _print_siblings(session, bucket, key, answer)
        sys.exit(EXIT_SIBLINGS)
    if session.as_json:
        print_json({"context": answer.context, **_version_view(answer)})
    else:
        stream = sys.stdout.buffer
        stream.write(answer.body)
        stream.flush()


@click.command()
@click.argument("bucket", callback=check_bucket)
@click.argument("key", type=KeyParameter())
@click.option("--context", metavar="CONTEXT", help="What this deletes: from get --json.")
@click.option("--w", metavar="N", help=f"Acknowledgements needed: {_QUORUM}.")
@click.option("--no-sloppy", is_flag=True, help="Count the key's owners only, no stand-ins.")
@percent_option
@client_options
def delete(
    *,
    session: Session,
    bucket: str,
    key: bytes,
    context: str | None,
    w: str | None,
    no_sloppy: bool,
    percent: bool,
) -> None:
    """Delete KEY. Exit code 3 if there is nothing to delete.

    Without --context the node first reads what there is, and deletes that; a value written at
    the same time survives.

    \b
    Example:
      sadik-node delete notes hello
    """
    key = read_key(key, percent=percent)
    answer = session.request(
        "DELETE",
        key_path(bucket, key),
        query={"w": w, "sloppy": "false" if no_sloppy else None},
        headers={"Sadik-Context": context},
        expect=(200, 204, 404),
    )
    if answer.status == 404:
        _end_not_found(session, bucket, key, answer)
    _print_written(session, "deleted", bucket, key, answer)


@click.command("list")
@click.argument("bucket", callback=check_bucket)
@click.option("--prefix", type=KeyParameter(), help="Only keys that begin so.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many keys.")
@click.option("-0", "--null", "nul", is_flag=True, help="End each key with NUL, for xargs -0.")
@client_options
def list_keys(
    *, session: Session, bucket: str, prefix: bytes | None, limit: int | None, nul: bool
) -> None:
    """List the keys of BUCKET in byte order, one a line.

    Keys are printed as the bytes that they are; on a terminal, control characters are shown
    percent-encoded. With --json each line is {"key": "<percent-encoded>"}, and get, put, delete
    and explain take such a key with --percent.

    \b
    Example:
      sadik-node list notes
      sadik-node list photos --prefix 2026/
    """
    left = limit
    after: str | None = None
    stream = sys.stdout.buffer
    end = b"\0" if nul else b"\n"
    readable = stream.isatty() and not nul
    while True:
        page_limit = 1000 if left is None else min(left, 1000)
        query = {"prefix": prefix, "limit": str(page_limit)}
        answer = session.request("GET", list_path(bucket, after), query=query)
        try:
            keys, after = parse_page(answer)
        except ValueError as error:
            fail(f"{session.client.url} answered no list of keys: {error}")
        for encoded in keys:
            if session.as_json:
                stream.write(json.dumps({"key": encoded}).encode() + b"\n")
                continue
            key = unquote_to_bytes(encoded)
            stream.write((key_label(key).encode() if readable else key) + end)
        stream.flush()
        if left is not None:
            left -= len(keys)
        if after is None or left == 0:
            return


def _value_bytes(value: str) -> bytes:
    if value == "-":
        return _bounded(sys.stdin.buffer.read(_VALUE_BYTES_MAX + 1))
    if not value.startswith("@"):
        return os.fsencode(value)
    try:
        with Path(value[1:]).open("rb") as file:
            return _bounded(file.read(_VALUE_BYTES_MAX + 1))
    except OSError as error:
        raise click.BadParameter(
            f"{value[1:]!r} cannot be read: {error.strerror}", param_hint="VALUE"
        ) from error


def _bounded(value: bytes) -> bytes:
    if len(value) > _VALUE_BYTES_MAX:
        fail("the value is above 64 MiB, which no cluster takes")
    return value


def _print_written(session: Session, done: str, bucket: str, key: bytes, answer: Answer) -> None:
    acks = _counts(answer.headers.get("sadik-acks", ""))
    if session.as_json:
        print_json(
            {
                "context": answer.context,
                "etag": answer.headers.get("etag"),
                "acks": acks,
                "node": answer.headers.get("sadik-node"),
            }
        )
        return
    told = f", acknowledged by {acks['got']}" if "got" in acks else ""
    hinted = f", {acks['hinted']} of them standing in" if acks.get("hinted") else ""
    say(f"{done} {bucket}/{key_label(key)}{told}{hinted}")


def _counts(header: str) -> dict[str, int]:
    pairs = (part.partition("=") for part in header.split(","))
    return {name.strip(): int(count) for name, _, count in pairs if count.strip().isdigit()}


def _end_not_found(session: Session, bucket: str, key: bytes, answer: Answer) -> None:
    if session.as_json:
        print_json({"found": False, "deleted": answer.context is not None,
                    "context": answer.context})  # fmt: skip
    fail(f"{bucket}/{key_label(key)} is not there", EXIT_NOT_FOUND)


def _version_view(answer: Answer) -> dict[str, Any]:
    text = text_or_none(answer.body)
    return {
        "value_b64": base64.b64encode(answer.body).decode(),
        **({} if text is None else {"text": text}),
        "content_type": answer.headers.get("content-type"),
        "meta": {
            name.removeprefix(_META_PREFIX): value
            for name, value in answer.headers.items()
            if name.startswith(_META_PREFIX)
        },
        "etag": answer.headers.get("etag"),
        "last_modified": answer.headers.get("last-modified"),
    }


def _print_siblings(session: Session, bucket: str, key: bytes, answer: Answer) -> None:
    document = answer.json()
    if session.as_json:
        print_json(document)
        return
    siblings = document["siblings"]
    stream = sys.stdout.buffer
    for number, sibling in enumerate(siblings, start=1):
        value = base64.b64decode(sibling["value_b64"])
        say(
            f"sibling {number} of {len(siblings)}: {len(value)} bytes, "
            f"{sibling.get('content_type')}, {sibling.get('last_modified')}"
        )
        stream.write(value + b"\n")
        stream.flush()
    say(
        f"{len(siblings)} values were written side by side; make them one with:\n"
        f"  sadik-node put {bucket} {key_label(key)} VALUE --context {document['context']}"
    )
