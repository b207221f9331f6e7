"""Who a node is, on disk: its data directory, its permanent id, and its lives.

The directory holds a lock, a small JSON document with the node's id, and the store. The kernel
holds the lock for the process and lets go of it however the process ends, so it is never stale.

What must go back in time together with the data lives *in* the store, in rows of its own: the
storage instance (8 random bytes made with the store, part of every dot's actor), the boot number,
and the mark of a clean stop. A store that is copied back from a backup thus shows an old boot
number, by which its peers know that it lost something. A new instance is taken whenever the last
writes may be missing: else this node could give a dot that others hold a second value.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from sadik_machine import NodeId, node_id_from_hex, node_id_hex, random_node_id
from sadik_node.errors import EXIT_FAILED, EXIT_REFUSED, NodeError
from sadik_storage import Store
from sadik_vnode import VOICE_ROW

__all__ = ["FORMAT_VERSION", "META_RANGE", "STORE_DIRECTORY", "DataDirectory", "Life",
           "begin_life", "end_life", "renew_instance", "write_document"]  # fmt: skip

FORMAT_VERSION = 1
"""Of the directory: what `identity.json` and its neighbours look like."""

STORE_DIRECTORY = "store"
"""Its name in the data directory."""

META_RANGE = (b"N", b"O")
"""The rows of this module."""

_ASIDE_DIRECTORY = "removed-store"

_GROUP, _OTHERS = 0o070, 0o007
_INSTANCE_ROW = b"Ninstance"
_BOOT_ROW = b"Nboot"
_CLEAN_ROW = b"Nclean"
_INSTANCE_BYTES = 8

_IDENTITY_FILE = "identity.json"
_LOCK_FILE = "lock"
_CONVERSION_FILE = "conversion.json"
# What may stand in a directory that no node has used: a fresh file system's, and what we began.
_HARMLESS = frozenset({"lost+found", _LOCK_FILE, _IDENTITY_FILE + ".new"})
_MACHINES_FAULT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENFILE, errno.EMFILE})


class DataDirectory:
    """A data directory that this process holds until `close`."""

    def __init__(self, path: Path, lock_fd: int, node_id: NodeId) -> None:
        """Use `take`."""
        self.path = path
        self.node_id = node_id
        self._lock_fd = lock_fd

    @classmethod
    def take(cls, path: Path, *, name: str, cluster: str, source: random.Random) -> Self:
        """Make the directory if it is missing, lock it, and read or make the node's identity.

        ``source`` is where a new id is drawn from: the system's entropy, outside of tests.

        Raises:
            NodeError: somebody else has it, it is of another cluster or of a newer format, it is
                not a data directory, or it cannot be written.
        """
        lock_fd = -1
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _close_to_others(path)
            lock_fd = _lock(path)
            node_id = _identify(path, name=name, cluster=cluster, source=source)
            _refuse_half_converted(path)
        except OSError as error:
            if lock_fd >= 0:
                os.close(lock_fd)
            raise _unusable(path, error) from error
        except NodeError:
            if lock_fd >= 0:
                os.close(lock_fd)
            raise
        return cls(path, lock_fd, node_id)

    @classmethod
    def hold(cls, path: Path) -> Self:
        """Hold the directory of a node that is stopped, as it is: nothing is made.

        Raises:
            NodeError: a node runs on it, or it is not a node's data directory.
        """
        file = path / _IDENTITY_FILE
        if not file.is_file():
            raise NodeError(EXIT_REFUSED, f"{path} is no data directory of a node: no {file.name}")
        lock_fd = -1
        try:
            lock_fd = _lock(path)
            _, node_id = _parse(file, file.read_bytes())
        except OSError as error:
            if lock_fd >= 0:
                os.close(lock_fd)
            raise _unusable(path, error) from error
        except NodeError:
            if lock_fd >= 0:
                os.close(lock_fd)
            raise
        return cls(path, lock_fd, node_id)

    @property
    def store_path(self) -> Path:
        """Where the store lives."""
        return self.path / STORE_DIRECTORY

    @property
    def conversion_path(self) -> Path:
        """The file that is there while one store takes another's place: no node starts then."""
        return self.path / _CONVERSION_FILE

    @property
    def is_open_to_others(self) -> bool:
        """Whether everybody on this machine may look into it."""
        return bool(self.path.stat().st_mode & _OTHERS)

    def retire(self, detail: str) -> Path:
        """This node was removed from its cluster, as ``detail`` says: move the store aside, and let
        no node start here any more. Where the data are kept from now on.
        """
        file = self.path / _IDENTITY_FILE
        document, _ = _parse(file, file.read_bytes())
        write_document(file, {**document, "removed": detail})
        return _move_aside(self.path)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock_fd)


def _unusable(path: Path, error: OSError) -> NodeError:
    return NodeError(
        EXIT_FAILED if error.errno in _MACHINES_FAULT else EXIT_REFUSED,
        f"the data directory {path} cannot be used: {error.strerror or error}; "
        "node.data_dir must name a directory that this user may write",
    )


def _close_to_others(path: Path) -> None:
    """Nobody else looks into it, where it is ours; on a mounted volume it may be another's."""
    found = path.stat()
    if found.st_mode & (_GROUP | _OTHERS) and found.st_uid == os.geteuid():
        path.chmod(0o700)


def _lock(path: Path) -> int:
    lock_fd = os.open(path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock_fd, 32).decode("ascii", "replace").strip()
        os.close(lock_fd)
        who = f" (process {holder})" if holder else ""
        raise NodeError(
            EXIT_FAILED,
            f"another node{who} runs on the data directory {path}; stop it first, or give this "
            "one a directory of its own",
        ) from None
    os.ftruncate(lock_fd, 0)
    os.write(lock_fd, b"%d\n" % os.getpid())
    return lock_fd


def _refuse_half_converted(path: Path) -> None:
    if (path / _CONVERSION_FILE).exists():
        raise NodeError(
            EXIT_REFUSED,
            f"a conversion of the store in {path} was interrupted as the new one took the old "
            "one's place: run the same `sadik-node storage convert` again first",
        )


def _identify(path: Path, *, name: str, cluster: str, source: random.Random) -> NodeId:
    file = path / _IDENTITY_FILE
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        strangers = sorted(each.name for each in path.iterdir() if each.name not in _HARMLESS)
        if strangers:
            raise NodeError(
                EXIT_REFUSED,
                f"{path} is not empty ({strangers[0]!r} is in it) and no data directory of a node: "
                "give an empty or a new one",
            ) from None
        node_id = random_node_id(source)
        document: dict[str, Any] = {
            "format": FORMAT_VERSION,
            "node_id": node_id_hex(node_id),
            "name": name,
            "cluster": cluster,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_document(file, document)
        return node_id
    document, node_id = _parse(file, text)
    if "removed" in document:
        aside = _move_aside(path)  # the last life may have ended just before it
        raise NodeError(
            EXIT_REFUSED,
            f"the node of {path} was removed from the cluster ({document['removed']}), and cannot "
            f"come back; its data are kept in {aside}. To let this machine join as a new node, "
            "give an empty directory",
        )
    if document["cluster"] != cluster:
        raise NodeError(
            EXIT_REFUSED,
            f"the data directory {path} is of the cluster {document['cluster']!r}, not of "
            f"{cluster!r}: give cluster.name = {document['cluster']!r}, or another directory",
        )
    if document.get("name") != name:
        write_document(file, {**document, "name": name})
    return node_id


def _move_aside(path: Path) -> Path:
    """Move the store where no node looks for it, if that has not been done."""
    store, aside = path / STORE_DIRECTORY, path / _ASIDE_DIRECTORY
    if store.exists():
        store.rename(aside)
        _sync_directory(path)
    return aside


def _parse(file: Path, text: bytes) -> tuple[dict[str, Any], NodeId]:
    try:
        document = json.loads(text)
        version = document["format"]
    except (ValueError, KeyError, TypeError):
        document, version = {}, None
    if type(version) is int and version > FORMAT_VERSION:
        raise NodeError(
            EXIT_REFUSED,
            f"the data directory {file.parent} has format {version}, and this program knows "
            f"formats up to {FORMAT_VERSION}: run the newer program that wrote it",
        )
    try:
        node_id = node_id_from_hex(document["node_id"])
        is_whole = type(document["cluster"]) is str and version == FORMAT_VERSION
    except (ValueError, KeyError, TypeError):
        is_whole, node_id = False, NodeId(b"")
    if not is_whole:
        raise NodeError(
            EXIT_REFUSED,
            f"{file} is damaged: restore it from a backup; to start over, give an empty directory "
            "and let the other nodes bring it up to date",
        )
    return document, node_id


def write_document(file: Path, document: dict[str, Any]) -> None:
    """Durably, and whole or not at all."""
    new = file.with_name(file.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    _sync_directory(file.parent)


def _sync_directory(path: Path) -> None:
    directory_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)


@frozen
class Life:
    """One start of a node on one storage instance."""

    instance: bytes
    spare_instance: bytes | None
    """For the time in which the other, of an earlier life, may be that of a copy put back."""
    boot_number: int
    boot_nonce: int
    is_new_instance: bool
    was_clean: bool
    """Whether the life before ended in good order."""


def begin_life(store: Store, *, source: random.Random) -> Life:
    """Count this start, durably, before anything is served.

    A life that follows one which did not end in good order takes a new storage instance, whatever
    ``storage.sync`` is: the store may have been put back from a copy of a running node, which
    nothing else would show, and an actor that went on counting would make dots a second time.
    So does a store that has none (new, or in memory). An instance that is kept has to be proven:
    see `sadik_vnode.births`.
    """
    instance, boot, clean = store.get_many([_INSTANCE_ROW, _BOOT_ROW, _CLEAN_ROW])
    boot_number = 1 + (int.from_bytes(boot, "big") if boot is not None else 0)
    is_new = instance is None or clean is None
    if is_new or instance is None:
        instance = source.randbytes(_INSTANCE_BYTES)
    store.commit([
        (_INSTANCE_ROW, instance),
        (_BOOT_ROW, boot_number.to_bytes(8, "big")),
        (_CLEAN_ROW, None),
    ])  # fmt: skip
    store.sync()
    spare = None if is_new else source.randbytes(_INSTANCE_BYTES)
    nonce = source.getrandbits(63)
    return Life(instance, spare, boot_number, nonce, is_new, clean is not None)


def end_life(store: Store) -> None:
    """Everything is on disk, and the instance may go on: say so, durably."""
    store.commit([(_CLEAN_ROW, b"")])
    store.sync()


def renew_instance(store: Store, above_boot: int, source: random.Random) -> None:
    """Peers remember a later life than this store does: the next life has a new instance.

    Its boot number will be above ``above_boot`` and above all that this store knew. What it had
    promised of the ring's registers since then is lost, so it does not speak of them at first.
    """
    boot = store.get(_BOOT_ROW)
    known = 0 if boot is None else int.from_bytes(boot, "big")
    store.commit([
        (_INSTANCE_ROW, source.randbytes(_INSTANCE_BYTES)),
        (_BOOT_ROW, max(known, above_boot).to_bytes(8, "big")),
        (VOICE_ROW, b""),
    ])  # fmt: skip
    store.sync()
