"""A backup put into a new cluster: every record at every owner, exactly as it was.

Dots, contexts, siblings, deletes and expiries are merged in as they are, so putting a record in
twice is harmless and an interrupted restore is simply run again. The nodes of the new cluster have
storage instances of their own, so none of them will ever make one of these dots. A partition is
done when the hash trees of all its owners have the sums that the backup has.

A cluster that holds anything else is refused: merged in, what was deleted since would come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

from attrs import define

from sadik_causality import Container
from sadik_node.backup.layout import (
    BackupError,
    Manifest,
    Name,
    Saved,
    read_middle,
    read_value,
)
from sadik_node.backup.nodes import Cluster, NodeFailedError
from sadik_node.backup.vault import Vault
from sadik_vnode.version import Version

__all__ = ["Restored", "Restoring"]

_POST_BYTES: Final = 2 << 20
_VERSION_BYTES: Final = 256

Record = tuple[Name, Container[Version]]


@define
class Restored:
    """What became of one partition."""

    number: int
    records: int = 0
    bytes: int = 0
    sent: int = 0
    """Records that were sent to an owner that lacked them, once for each owner."""


class Restoring:
    """One restore under way."""

    def __init__(self, cluster: Cluster, vault: Vault, manifest: Manifest) -> None:
        self._cluster = cluster
        self._vault = vault
        self._manifest = manifest

    def refuse_strangers(self) -> None:
        """See that the cluster holds nothing but what the backup has.

        Raises:
            BackupError: it does; nothing was changed.
        """
        for node in self._cluster.nodes.values():
            sums: dict[int, int] = self._cluster.patiently(partial(node.sums, None))
            for number, found in sorted(sums.items()):
                middle = self._manifest.middles.get(number)
                if middle is not None and middle.sum == found:
                    continue
                held = node.records(number)
                known = {} if middle is None else read_middle(self._vault, number, middle)
                for name, container in held.items():
                    saved = known.get(name)
                    if saved is None or not saved.container.context.dominates(container.context):
                        raise BackupError(
                            f"the cluster holds {name[0]}/{name[1]!r} as the backup does not: a "
                            "whole backup is put into an empty cluster, where an interrupted "
                            "restore may have begun. Nothing was changed"
                        )

    def restore(self, number: int) -> Restored:
        """Put one partition in; for one thread each.

        Raises:
            BackupError: the backup is damaged, a node refused, or not all owners have the records
                and the same sums after the patience.
        """
        result = Restored(number)
        self._cluster.patiently(lambda: self._restore(number, result))
        for n in self._cluster.middles_of(number):
            middle = self._manifest.middles.get(n)
            if middle is not None:
                result.records += middle.records
                result.bytes += middle.bytes
        return result

    def _restore(self, number: int, result: Restored) -> None:
        wanted = {
            n: self._manifest.middles[n]
            for n in self._cluster.middles_of(number)
            if n in self._manifest.middles
        }
        if not wanted:
            return
        self._cluster.refresh()
        owners = [self._cluster.nodes[name] for name in self._cluster.ring.owners[number]]
        lacking = {}
        for node in owners:
            sums = node.sums(number)
            lacking[node.name] = [n for n, middle in wanted.items() if sums.get(n) != middle.sum]
        for n in sorted({n for each in lacking.values() for n in each}):
            records = read_middle(self._vault, n, wanted[n])
            for batch in self._batches(records):
                for node in owners:
                    if n in lacking[node.name]:
                        node.take(batch)
                        result.sent += len(batch)
        for node in owners:
            sums = node.sums(number)
            differing = [n for n, middle in wanted.items() if sums.get(n) != middle.sum]
            if differing:
                raise NodeFailedError(
                    f"{node.name}: its hash tree differs from the backup's in partition {number}"
                )

    def _batches(self, records: Mapping[Name, Saved]) -> Iterator[list[Record]]:
        """Records for one request each; a large one goes version by version, its context last."""
        batch: list[Record] = []
        size = 0
        for name, saved in records.items():
            for part in self._parts(saved):
                grown = sum(v.size + _VERSION_BYTES for v in part.versions.values())
                if batch and size + grown > _POST_BYTES:
                    yield batch
                    batch, size = [], 0
                batch.append((name, self._whole(part, saved)))
                size += grown
        if batch:
            yield batch

    def _parts(self, saved: Saved) -> list[Container[Version]]:
        if sum(v.size for v in saved.container.versions.values()) <= _POST_BYTES:
            return [saved.container]
        return list(saved.container.split())

    def _whole(self, part: Container[Version], saved: Saved) -> Container[Version]:
        versions = {
            dot: version
            if version.body is not None
            else Version(version.head, read_value(self._vault, saved.values[dot]), version.size)
            for dot, version in part.versions.items()
        }
        return Container(versions, part.context)
