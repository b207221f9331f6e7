"""One bucket of a backup brought back into a living cluster, as new versions.

Each key is read, and where its values are not those that the backup has, they are written as any
client writes: with the context of what was read. So they take the place of what was there, and a
write that somebody else makes meanwhile survives beside them. Nothing is put in under old dots, so
nothing that was deleted since can come back by itself, and the cluster may be another one.

Keys that the backup does not have, or has as deleted, are left as they are, and what has expired
since is not brought back. Run again, what is there already is not written a second time.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from attrs import frozen

from sadik_client import Entry, SadikError, StoppedError, TooLargeError
from sadik_client.blocking import Client
from sadik_client.options import SessionPutOptions
from sadik_node.backup.layout import (
    Manifest,
    Name,
    Saved,
    digest,
    read_middle,
    read_value,
)
from sadik_node.backup.vault import Vault
from sadik_node.putting import put_seen
from sadik_vnode.version import Version

__all__ = ["Bringing", "Brought"]

_TRIES: Final = 10
_MS_PER_S: Final = 1000

Mark = tuple[str, str, tuple[tuple[str, str], ...]]
"""What makes two values the same to a client: hash, content type, and metadata."""


@frozen
class Brought:
    """What became of one key."""

    kind: Literal["copied", "unchanged", "skipped", "failed"]
    key: bytes
    reason: str = ""
    size: int = 0


@frozen
class _Wanted:
    value: bytes
    content_type: str
    meta: dict[str, str]
    expires_ms: int | None

    @property
    def mark(self) -> Mark:
        return digest(self.value), self.content_type, tuple(sorted(self.meta.items()))


class Bringing:
    """One bucket's way back. ``into``: the bucket that it is written to."""

    def __init__(
        self, client: Client, vault: Vault, manifest: Manifest, bucket: str, into: str
    ) -> None:
        self._client = client
        self._vault = vault
        self._manifest = manifest
        self._bucket = bucket
        self._into = into

    def bring(self, number: int) -> list[Brought]:
        """Bring back what one share of the ring has of the bucket; for one thread each.

        Raises:
            BackupError: the backup is damaged.
        """
        records = read_middle(self._vault, number, self._manifest.middles[number])
        return [
            self._bring_key(name, saved)
            for name, saved in records.items()
            if name[0] == self._bucket and saved.container.versions
        ]

    def _bring_key(self, name: Name, saved: Saved) -> Brought:
        key = name[1]
        wanted = self._wanted(saved)
        if not wanted:
            return Brought("skipped", key, "")
        size = sum(len(each.value) for each in wanted)
        try:
            for _ in range(_TRIES):
                entry = self._client.get(self._into, key)
                if _marks_of(entry) == Counter(each.mark for each in wanted):
                    return Brought("unchanged", key, "", size)
                try:
                    self._write(key, wanted, entry.context)
                except TooLargeError as error:
                    return Brought("failed", key, f"it is above a limit: {error}")
                except StoppedError:
                    raise
                except SadikError as error:
                    if error.outcome != "indeterminate":
                        raise
                    continue  # what was written is covered by the context of the next read
                lacking = Counter(each.mark for each in wanted) - _marks_of(
                    self._client.get(self._into, key)
                )
                if not lacking:
                    return Brought("copied", key, "", size)
        except StoppedError:
            raise
        except SadikError as error:
            return Brought("failed", key, str(error))
        return Brought("failed", key, "what was written was not there when it was read again")

    def _write(self, key: bytes, wanted: list[_Wanted], context: str | None) -> None:
        """Write all values such that each replaces what was there, and none another."""
        todo = list(wanted)
        if context is None and len(todo) > 1:
            # Nobody has ever written the key, so there is no context yet: the first is written
            # twice, and all with the context of its first time, which covers that alone.
            context = self._put(key, todo[0], None)
            todo = [*todo[1:], todo[0]]
        for each in todo:
            self._put(key, each, context)

    def _put(self, key: bytes, wanted: _Wanted, context: str | None) -> str | None:
        ttl_s = None
        if wanted.expires_ms is not None:
            ttl_s = max(1, math.ceil(wanted.expires_ms / _MS_PER_S - time.time()))
        options: SessionPutOptions = {
            "content_type": wanted.content_type, "meta": wanted.meta, "ttl_s": ttl_s
        }  # fmt: skip
        return put_seen(self._client, self._into, key, wanted.value, context, options)

    def _wanted(self, saved: Saved) -> list[_Wanted]:
        """The values that live, the latest last: the one that wins where the last one does."""
        now = time.time_ns()
        found = []
        for dot, version in saved.container.versions.items():
            if version.is_gone(now):
                continue
            head = version.parsed()
            value = self._value_of(version, saved.values.get(dot))
            found.append(
                (
                    head.timestamp,
                    dot,
                    _Wanted(value, head.content_type, dict(head.meta), head.expires_ms),
                )
            )
        return [each for _, _, each in sorted(found, key=lambda each: each[:2])]

    def _value_of(self, version: Version, name: str | None) -> bytes:
        if version.body is not None:
            return version.body
        assert name is not None, "a body that is not inline has a file"
        return read_value(self._vault, name)


def _marks_of(entry: Entry) -> Counter[Mark]:
    return Counter(
        (digest(each.value), each.content_type, _sorted(each.meta)) for each in entry.versions
    )


def _sorted(meta: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(meta.items()))
