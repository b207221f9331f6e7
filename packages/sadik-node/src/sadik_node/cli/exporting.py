"""``export``: a bucket's values as files below one directory, and never outside of it.

Keys are any bytes that anyone has written, so none is trusted as a path. A key is split at its
slashes; a part that is empty, ``.``, ``..``, too long for a file name or holds a NUL makes
the key one that has no file. Directories are opened one inside the other by descriptor and never
through a symbolic link, so that nothing that lies in the directory already can lead outside.
Files appear whole, by renaming.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from sadik_client import Entry, SadikError, StoppedError
from sadik_client.blocking import Client
from sadik_node.cli.common import (
    EXIT_FAILED,
    Session,
    check_bucket,
    client_options,
    fail,
    key_label,
    say,
)
from sadik_node.cli.copying import (
    DIGEST_META,
    Outcome,
    copy_options,
    digest_of,
    open_cluster,
    report,
    run_phase,
)

__all__ = ["export_bucket"]

_NAME_BYTES_MAX = 255
_PAGE = 10_000
_TEMPORARY = re.compile(rb"\.sadik-export-[0-9a-f]{16}")
_IN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@click.command("export")
@click.argument("bucket", callback=check_bucket)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@copy_options
@client_options
def export_bucket(
    *, session: Session, bucket: str, directory: Path, jobs: int, patience: int
) -> None:
    """Write every value of BUCKET to a file under DIR; the path below DIR is its key.

    Run again, it passes over files that have the value already, and so goes on where it was
    interrupted. Files that differ are replaced; files of no key are left alone. When a node fails
    it goes on through the others.

    Nothing is ever written outside DIR or through a symbolic link in it. Keys that are no path
    (empty parts, `.`, `..`, NUL, names above 255 bytes), a key that is a directory of others, keys
    with siblings that differ, and values that do not match the SHA-256 stored beside them are
    listed, and the exit code is then 1.

    \b
    Example:
      sadik-node export photos ./photos-copy
    """
    with _open_root(directory) as root, open_cluster(session, patience, jobs) as client:
        wanted, problems = _placeable(_all_keys(client, bucket))
        exporter = _Exporter(client, bucket, root)
        outcomes = run_phase("export", wanted, exporter.write, client=client, jobs=jobs)
    for each in problems:
        say(f"skipped {key_label(each.key)}: {each.reason}")
    if not report(session, "export", problems + outcomes):
        sys.exit(EXIT_FAILED)


class _SkipError(Exception):
    """This key gets no file; the message says why."""


class _FailedError(Exception):
    """This key's file is not what it should be; the message says why."""


def _all_keys(client: Client, bucket: str) -> list[bytes]:
    keys: list[bytes] = []
    after: str | None = None
    while True:
        try:
            page = client.list_page(bucket, after=after, limit=_PAGE)
        except SadikError as error:
            fail(f"the keys cannot be listed: {error}")
        keys += page.keys
        after = page.next
        if after is None:
            return keys


def _placeable(keys: Iterable[bytes]) -> tuple[list[bytes], list[Outcome]]:
    """The keys that can have a file, and the others with the reason."""
    fit: list[bytes] = []
    problems: list[Outcome] = []
    for key in keys:
        problem = _path_problem(key)
        if problem:
            problems.append(Outcome("skipped", key, problem))
        else:
            fit.append(key)
    directories = {above for key in fit for above in _directories_above(key)}
    # One of `a` and `a/b` must give way: `a` costs one file, `a/` may be many.
    problems += [
        Outcome("skipped", key, "other keys need a directory of this name")
        for key in fit
        if key in directories
    ]
    return [key for key in fit if key not in directories], problems


def _path_problem(key: bytes) -> str:
    for part in key.split(b"/"):
        if part in (b"", b".", b".."):
            return "it is no path: a part is empty, . or .."
        if b"\0" in part:
            return "it is no path: it holds a NUL"
        if len(part) > _NAME_BYTES_MAX:
            return f"it is no path: a part is above {_NAME_BYTES_MAX} bytes"
        if _TEMPORARY.fullmatch(part):
            return "export uses such names for files that it has not finished"
    return ""


def _directories_above(key: bytes) -> Iterator[bytes]:
    end = key.find(b"/")
    while end >= 0:
        yield key[:end]
        end = key.find(b"/", end + 1)


@contextlib.contextmanager
def _open_root(directory: Path) -> Iterator[int]:
    """A descriptor of the directory, held by one export at a time, without leftovers of earlier."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise click.BadParameter(
            f"{str(directory)!r} cannot be a directory to write to: {error.strerror}",
            param_hint="DIR",
        ) from error
    try:
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            fail(f"another export writes to {directory}; wait for it or choose another directory")
        for name in os.listdir(root):  # noqa: PTH208 - it is a descriptor
            if _TEMPORARY.fullmatch(os.fsencode(name)):
                os.unlink(name, dir_fd=root)
        yield root
    finally:
        os.close(root)


class _Exporter:
    """Writes one key at a time; used by several threads."""

    def __init__(self, client: Client, bucket: str, root: int) -> None:
        self._client = client
        self._bucket = bucket
        self._root = root

    def write(self, key: bytes) -> Outcome:
        """Make one key's file hold its value."""
        try:
            return self._write(key)
        except _SkipError as error:
            return Outcome("skipped", key, str(error))
        except StoppedError:
            raise
        except (_FailedError, SadikError) as error:
            return Outcome("failed", key, str(error))
        except OSError as error:
            return Outcome("failed", key, f"cannot be written: {error.strerror}")

    def _write(self, key: bytes) -> Outcome:
        *above, name = key.split(b"/")
        with self._directory(above) as parent:
            present = _present_digest(parent, name)
            if present is not None:
                head = self._client.head(self._bucket, key)
                if head.meta.get(DIGEST_META) == present:
                    return Outcome("unchanged", key)
            entry = self._client.get(self._bucket, key)
            if not entry.exists:
                return Outcome("unchanged", key, "it was deleted meanwhile")
            value = _value_of(entry)
            digest = digest_of(value)
            if digest != present:
                self._place(parent, name, value)
                if _present_digest(parent, name) != digest:
                    raise _FailedError("the file does not hold what was written to it")
        if len(entry.versions) == 1 and entry.version.meta.get(DIGEST_META, digest) != digest:
            raise _FailedError(
                "the value, which was written, does not match its Sadik-Meta-Sha256: "
                "it is damaged, or was stored beside another value's"
            )
        return Outcome("unchanged" if digest == present else "copied", key, "", len(value), digest)

    @contextlib.contextmanager
    def _directory(self, parts: list[bytes]) -> Iterator[int]:
        """A descriptor of a directory below the root, made where it is not there."""
        descriptor = os.dup(self._root)
        try:
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=descriptor)
                try:
                    inner = os.open(part, _IN_DIRECTORY, dir_fd=descriptor)
                except OSError as error:
                    raise _SkipError(
                        f"{os.fsdecode(part)!r} in its path is there and is no directory"
                    ) from error
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    def _place(self, parent: int, name: bytes, value: bytes) -> None:
        # Made in the root, where the next run finds and removes what this one left unfinished.
        temporary = b".sadik-export-" + secrets.token_hex(8).encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666, dir_fd=self._root)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
                file.write(value)
            os.rename(temporary, name, src_dir_fd=self._root, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._root)
            raise


def _present_digest(parent: int, name: bytes) -> str | None:
    """The digest of a file that is there; None if none is."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _SkipError(f"something is in its place: {error.strerror}") from error
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is a descriptor
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _SkipError("something that is no file is in its place")
        return digest_of(file.read())


def _value_of(entry: Entry) -> bytes:
    if len(set(entry.values)) > 1:
        raise _SkipError(
            f"it has {len(entry.versions)} siblings that differ; resolve them with get and put"
        )
    return entry.values[0]
