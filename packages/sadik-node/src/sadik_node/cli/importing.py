"""``import``: a directory tree into a bucket, path by path.

Each file is stored with its SHA-256 as metadata, so that a second run passes over what is there
already. A write whose fate is unknown (its node died) is followed by a look at the key before
another try, with the context of what was seen, so that two copies of a value end as one version.
At the end every value is read back and compared with what was read from the file.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from sadik_client import AnswerError, Entry, SadikError, StoppedError, TooLargeError
from sadik_client.blocking import Client
from sadik_node.cli.common import EXIT_FAILED, Session, check_bucket, client_options
from sadik_node.cli.copying import (
    DIGEST_META,
    Outcome,
    copy_options,
    digest_of,
    open_cluster,
    report,
    run_phase,
)
from sadik_node.putting import put_seen

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
    with open_cluster(session, patience, jobs) as client:
        importer = _Importer(client, root, bucket, patience)
        outcomes = run_phase("import", found, importer.store, client=client, jobs=jobs)
        stored = [each for each in outcomes if not each.is_problem]
        checked = run_phase("verify", stored, importer.verify, client=client, jobs=jobs)
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

    def __init__(self, client: Client, root: bytes, bucket: str, patience_s: int) -> None:
        self._client = client
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
        except StoppedError:
            raise
        except (_FailedError, SadikError) as error:
            return Outcome("failed", key, str(error))
        return Outcome(kind, key, "", len(value), digest)

    def verify(self, stored: Outcome) -> Outcome:
        """Read one value back; the same outcome if it is what was stored."""
        try:
            problem = self._difference(self._client.get(self._bucket, stored.key), stored)
        except StoppedError:
            raise
        except (_FailedError, SadikError) as error:
            problem = str(error)
        return stored if not problem else Outcome("failed", stored.key, problem)

    def _difference(self, entry: Entry, stored: Outcome) -> str:
        digests = {digest_of(each) for each in entry.values}
        if not digests:
            return "it is not there any more"
        if digests != {stored.digest}:
            what = (
                "another value is" if len(entry.versions) == 1 else "siblings of other values are"
            )
            return f"{what} there: someone else writes to the bucket"
        if len(entry.versions) > 1:
            # Copies of this one value, from a write that was tried twice: make them one.
            self._put(stored.key, entry.values[0], stored.digest)
        return ""

    def _put(self, key: bytes, value: bytes, digest: str) -> str:
        give_up_at = time.monotonic() + self._patience_s
        held = self._look(key)
        if held.digest == digest:
            return "unchanged"
        while True:
            try:
                put_seen(
                    self._client, self._bucket, key, value, held.context,
                    {"meta": {DIGEST_META: digest}},
                )  # fmt: skip
            except TooLargeError as error:
                raise _SkipError(f"it is above a limit: {error}") from error
            except StoppedError:
                raise
            except SadikError as error:
                if error.outcome != "indeterminate":
                    raise
                held = self._look(key)
                if held.digest == digest:
                    return "copied"
                if time.monotonic() > give_up_at:
                    raise _FailedError(str(error)) from error
                continue
            return "copied"

    def _look(self, key: bytes) -> _Held:
        try:
            head = self._client.head(self._bucket, key)
        except AnswerError:
            # A HEAD has no body to tell what was wrong.
            entry = self._client.get(self._bucket, key)
            one = entry.versions[0] if len(entry.versions) == 1 else None
            return _Held(entry.context, None if one is None else one.meta.get(DIGEST_META))
        return _Held(head.context, head.meta.get(DIGEST_META))

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
            told = self._client.get_bucket(self._bucket).get("value_bytes")
        except SadikError:
            told = None
        return told if isinstance(told, int) and told > 0 else _VALUE_BYTES_MAX
