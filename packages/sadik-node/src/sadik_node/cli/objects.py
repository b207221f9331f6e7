"""``put``, ``get``, ``delete`` and ``list``: one object, or the keys of a bucket."""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from sadik_client import Deleted, Entry, Version, Written, encode_key
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
    quorum_of,
    read_key,
    say,
    text_or_none,
)

__all__ = ["delete", "get", "list_keys", "put"]

_VALUE_BYTES_MAX = 64 * 2**20
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
    data = _value_bytes(value)
    with session.asking() as client:
        written = client.put(
            bucket,
            key,
            data,
            w=quorum_of(w),
            sloppy=False if no_sloppy else None,
            context=context,
            content_type=content_type,
        )
    _print_written(session, "stored", bucket, key, written, written.etag)


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
    with session.asking() as client:
        entry = client.get(bucket, key, r=quorum_of(r), sloppy=False if no_sloppy else None)
    if not entry.exists:
        _end_not_found(session, bucket, key, entry.context)
    if len(entry.versions) > 1:
        _print_siblings(session, entry)
        sys.exit(EXIT_SIBLINGS)
    if session.as_json:
        print_json({"context": entry.context, **_version_view(entry.version)})
    else:
        stream = sys.stdout.buffer
        stream.write(entry.value)
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
    with session.asking() as client:
        deleted = client.delete(
            bucket,
            key,
            w=quorum_of(w),
            sloppy=False if no_sloppy else None,
            context=context,
        )
    if not deleted.existed:
        _end_not_found(session, bucket, key, deleted.context)
    _print_written(session, "deleted", bucket, key, deleted, None)


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
    is_empty = True
    while True:
        page_limit = 1000 if left is None else min(left, 1000)
        with session.asking() as client:
            page = client.list_page(bucket, prefix=prefix, after=after, limit=page_limit)
        for key in page.keys:
            if session.as_json:
                stream.write(json.dumps({"key": encode_key(key)}).encode() + b"\n")
                continue
            stream.write((key_label(key).encode() if readable else key) + end)
        stream.flush()
        after = page.next
        if left is not None:
            left -= len(page.keys)
        is_empty = is_empty and not page.keys
        if after is None or left == 0:
            break
    if is_empty and not session.as_json:
        say(f"no key in {bucket}" if prefix is None else f"no key in {bucket} begins so")


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


def _print_written(
    session: Session,
    done: str,
    bucket: str,
    key: bytes,
    result: Written | Deleted,
    etag: str | None,
) -> None:
    acks = result.acks
    if session.as_json:
        print_json(
            {
                "context": result.context,
                "etag": etag,
                "acks": acks._asdict(),
                "node": result.node,
            }
        )
        return
    told = f", acknowledged by {acks.got}" if acks.got else ""
    hinted = f", {acks.hinted} of them standing in" if acks.hinted else ""
    say(f"{done} {bucket}/{key_label(key)}{told}{hinted}")


def _end_not_found(session: Session, bucket: str, key: bytes, context: str | None) -> None:
    if session.as_json:
        print_json({"found": False, "deleted": context is not None, "context": context})
    fail(f"{bucket}/{key_label(key)} is not there", EXIT_NOT_FOUND)


def _version_view(version: Version) -> dict[str, Any]:
    text = text_or_none(version.value)
    return {
        "value_b64": base64.b64encode(version.value).decode(),
        **({} if text is None else {"text": text}),
        "content_type": version.content_type,
        "meta": dict(version.meta),
        "etag": version.etag,
        "last_modified": version.last_modified,
        **({} if version.ttl_s is None else {"ttl_seconds": version.ttl_s}),
    }


def _print_siblings(session: Session, entry: Entry) -> None:
    versions = entry.versions
    if session.as_json:
        print_json(
            {"context": entry.context, "siblings": [_version_view(each) for each in versions]}
        )
        return
    stream = sys.stdout.buffer
    for number, version in enumerate(versions, start=1):
        say(
            f"sibling {number} of {len(versions)}: {len(version.value)} bytes, "
            f"{version.content_type}, {version.last_modified}"
        )
        stream.write(version.value + b"\n")
        stream.flush()
    say(
        f"{len(versions)} values were written side by side; make them one with:\n"
        f"  sadik-node put {entry.bucket} {key_label(entry.key)} VALUE --context {entry.context}"
    )
