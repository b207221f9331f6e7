"""``import``: a directory tree into a bucket, path by path.

Each file is stored with its SHA-256 as metadata, so that a second run passes over what is there
already. A write whose fate is unknown (its node died) is followed by a look at the key before
another try, with the context of what was seen, so that two copies of a value end as one version.
At the end every value is read back and compared with what was read from the file.
"""

from __future__ import annotations

import base64
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from sadik_node.cli.common import EXIT_FAILED, Session, check_bucket, client_options
from sadik_node.cli.copying import (
    DIGEST_HEADER,
    Outcome,
    copy_options,
    digest_of,
    open_pool,
    report,
    run_phase,
)
from sadik_node.cli.node_pool import GaveUpError, NodePool, UnsureError
from sadik_node.client_http import Answer, bucket_path, key_path

__all__ = ["import_directory"]

_KEY_BYTES_MAX = 400
_VALUE_BYTES_MAX = 64 * 2**20


@click.command("import")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("bucket", callback=check_bucket)
@copy_options
@client_options
def import_directory(
    *, session: Session, directory: Path, bucket: str, jobs: int, patience: int
) -> None:
    """Store every file under DIR in BUCKET; the key is its path below DIR.

    Run again, it passes over what is there unchanged, and so goes on where it was interrupted.
    What differs is replaced. When a node fails it goes on through the others. At the end all is
    read back and compared.

    Files above a limit (a key of 400 bytes, a value as the bucket and its nodes say), symbolic
    links, special files and what cannot be read are listed and skipped, and the exit code is then
    1. Empty directories have no key and are left out.

    \b
    Example:
      sadik-node import ./photos photos
    """
    root = os.fsencode(directory)
    if not directory.is_dir():
        raise click.BadParameter(f"{str(directory)!r} is no directory", param_hint="DIR")
    found = sorted(_walk(root))
    with open_pool(session, patience) as pool:
        importer = _Importer(pool, root, bucket, patience)
        outcomes = run_phase("import", found, importer.store, pool=pool, jobs=jobs)
        stored = [each for each in outcomes if not each.is_problem]
        checked = run_phase("verify", stored, importer.verify, pool=pool, jobs=jobs)
    problems = [each for each in outcomes if each.is_problem]
    if not report(session, "import", problems + checked):
        sys.exit(EXIT_FAILED)


class _Found(NamedTuple):
    key: bytes
    problem: str
    """Why it stays out, or nothing."""


class _Held(NamedTuple):
    """What the cluster holds of a key."""

    context: str | None
    digest: str | None
    """None unless it is one value, stored with its digest."""


class _SkipError(Exception):
    """A file stays out; the message says why."""


class _FailedError(Exception):
    """The cluster did not take or keep a value; the message says why."""


def _walk(root: bytes) -> Iterator[_Found]:
    waiting = [b""]
    while waiting:
        below = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(root, below)))  # noqa: PTH118 - bytes
        except OSError as error:
            yield _Found(below or b".", f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            key = below + entry.name
            if entry.is_symlink():
                yield _Found(key, "is a symbolic link")
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(key + b"/")
            elif not entry.is_file(follow_symlinks=False):
                yield _Found(key, "is a special file")
            elif len(key) > _KEY_BYTES_MAX:
                yield _Found(key, f"its key has {len(key)} bytes, above {_KEY_BYTES_MAX}")
            else:
                yield _Found(key, "")


class _Importer:
    """Stores and verifies one file at a time; used by several threads."""

    def __init__(self, pool: NodePool, root: bytes, bucket: str, patience_s: int) -> None:
        self._pool = pool
        self._root = root
        self._bucket = bucket
        self._patience_s = patience_s
        self._value_bytes_max = self._limit()

    def store(self, found: _Found) -> Outcome:
        """Bring one file into the bucket."""
        key = found.key
        if found.problem:
            return Outcome("skipped", key, found.problem)
        try:
            value = self._read_file(key)
            digest = digest_of(value)
            kind = self._put(key, value, digest)
        except _SkipError as error:
            return Outcome("skipped", key, str(error))
        except (_FailedError, GaveUpError) as error:
            return Outcome("failed", key, str(error))
        return Outcome(kind, key, "", len(value), digest)

    def verify(self, stored: Outcome) -> Outcome:
        """Read one value back; the same outcome if it is what was stored."""
        try:
            answer = self._pool.request("GET", key_path(self._bucket, stored.key))
            problem = self._difference(answer, stored)
        except (_FailedError, GaveUpError) as error:
            problem = str(error)
        return stored if not problem else Outcome("failed", stored.key, problem)

    def _difference(self, answer: Answer, stored: Outcome) -> str:
        if answer.status == 200:
            same = digest_of(answer.body) == stored.digest
            return "" if same else "another value is there: someone else writes to the bucket"
        if answer.status == 404:
            return "it is not there any more"
        if answer.status != 300:
            return answer.complaint
        values = [base64.b64decode(each["value_b64"]) for each in answer.json()["siblings"]]
        if any(digest_of(each) != stored.digest for each in values):
            return "siblings of other values are there: someone else writes to the bucket"
        # Copies of this one value, from a write that was tried twice: make them one.
        self._put(stored.key, values[0], stored.digest)
        return ""

    def _put(self, key: bytes, value: bytes, digest: str) -> str:
        path = key_path(self._bucket, key)
        give_up_at = time.monotonic() + self._patience_s
        held = self._look(path)
        if held.digest == digest:
            return "unchanged"
        while True:
            headers = {DIGEST_HEADER: digest, "Sadik-Context": held.context}
            try:
                answer = self._pool.request("PUT", path, headers=headers, body=value)
            except UnsureError as error:
                held = self._look(path)
                if held.digest == digest:
                    return "copied"
                if time.monotonic() > give_up_at:
                    raise _FailedError(str(error)) from error
                continue
            if answer.status in (200, 204):
                return "copied"
            if answer.status == 413:
                raise _SkipError(f"it is above a limit: {answer.complaint}")
            raise _FailedError(answer.complaint)

    def _look(self, path: str) -> _Held:
        answer = self._pool.request("HEAD", path)
        if answer.status == 200:
            return _Held(answer.context, answer.headers.get(DIGEST_HEADER.lower()))
        if answer.status in (300, 404):
            return _Held(answer.context, None)
        # A HEAD has no body to tell what was wrong.
        raise _FailedError(self._pool.request("GET", path).complaint)

    def _read_file(self, key: bytes) -> bytes:
        path = os.path.join(self._root, key)  # noqa: PTH118 - the path is bytes
        try:
            # Not through a link, nor into a pipe that has come in a file's place since.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - it is a descriptor
                about = os.fstat(descriptor)
                if not stat.S_ISREG(about.st_mode):
                    raise _SkipError("is a special file")
                if about.st_size > self._value_bytes_max:
                    raise _SkipError(
                        f"it has {about.st_size} bytes, above the limit of {self._value_bytes_max}"
                    )
                return file.read()
        except OSError as error:
            raise _SkipError(f"cannot be read: {error.strerror}") from error

    def _limit(self) -> int:
        """The bucket's limit where it has one; a node's own shows when it answers 413."""
        try:
            answer = self._pool.request("GET", bucket_path(self._bucket))
            told = answer.json().get("value_bytes") if answer.status == 200 else None
        except (GaveUpError, ValueError, AttributeError):
            told = None
        return told if isinstance(told, int) and told > 0 else _VALUE_BYTES_MAX
