"""Making a backup: find what changed by the hash trees, read it, and know of which instant it is.

A partition is read by *double collect*. The sums of all nodes that can be reached are asked for;
the shares whose sums are not those that the backup has are read, from one node for each different
sum, and merged; then the sums are asked for again. When none has changed, all that was read was
there, on all of these nodes, at the instant at which the last round began: the partition's backup
is of that instant. A partition that is written to all the time may never hold still; after some
rounds it is taken as it is, every key whole, and named in the manifest as *moving*.

A majority of a partition's owners must answer, so what was acknowledged before the backup began is
in it. Nodes that are no owners are asked too: a write that a fallback took is not missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import Factory, define

from sadik_causality import Container, Dot
from sadik_node.backup.layout import (
    Middle,
    Name,
    Saved,
    digest,
    encode_records,
    middle_of,
    read_middle,
    records_name,
    sum_of,
    value_name,
)
from sadik_node.backup.nodes import Cluster, Node, NodeFailedError
from sadik_node.backup.vault import Vault
from sadik_vnode.version import Version

__all__ = ["Partition", "Taking"]

_ROUNDS: Final = 20
_FILE_BYTES: Final = 4 << 20
_FILE_VERSIONS: Final = 20_000
_VERSION_BYTES: Final = 64

Sums = dict[str, dict[int, int]]
"""By node, the sums of middles."""


@define
class Partition:
    """What became of one partition."""

    number: int
    middles: dict[int, Middle] = Factory(dict)
    read: int = 0
    """Middles that were read anew."""
    new_bytes: int = 0
    """Bytes of the files that were written."""
    is_moving: bool = False


class Taking:
    """One backup under way. ``known`` are the middles that the vault has already."""

    def __init__(self, cluster: Cluster, vault: Vault, known: Mapping[int, Middle]) -> None:
        self._cluster = cluster
        self._vault = vault
        self._known = known

    def take(self, number: int) -> Partition:
        """Back one partition up; may be called by several threads, for one partition each.

        Raises:
            NodeFailedError: too few owners could be asked, for as long as the patience lasts.
            VaultError: the vault could not be written.
        """
        taken: Partition = self._cluster.patiently(lambda: self._take(number))
        return taken

    def _take(self, number: int) -> Partition:
        middles = self._cluster.middles_of(number)
        result = Partition(number, {n: self._known[n] for n in middles if n in self._known})
        read: dict[int, set[int]] = {}
        for a_round in range(_ROUNDS):
            sums = self._collect(number)
            behind = []
            for n in middles:
                now = {each[n] for each in sums.values() if n in each}
                held = result.middles.get(n)
                covered = read.get(n, set()) | (set() if held is None else {held.sum})
                if not now:
                    result.middles.pop(n, None)
                elif not now <= covered or (n not in read and held is None):
                    behind.append(n)
            if not behind and a_round:
                return result
            for n in behind:
                read[n] = self._read(n, sums, result)
        result.is_moving = True
        return result

    def _collect(self, number: int) -> Sums:
        """Ask every node that answers; a majority of the owners must be among them."""
        sums: Sums = {}
        failures = []
        for name, node in list(self._cluster.nodes.items()):
            try:
                sums[name] = node.sums(number)
            except NodeFailedError as error:
                failures.append(str(error))
        owners = self._cluster.ring.owners[number]
        if 2 * sum(owner in sums for owner in owners) <= len(owners):
            raise NodeFailedError(
                f"partition {number}: a majority of {', '.join(owners)} is needed; "
                + "; ".join(failures)
            )
        return sums

    def _read(self, n: int, sums: Sums, result: Partition) -> set[int]:
        """Read a middle from one node for each different sum, and write what they have together.

        Returns the sums of what was read. A node that fails now counts as not read.
        """
        owners = self._cluster.ring.owners[result.number]
        chosen: dict[int, str] = {}
        for node_name in sorted(sums, key=lambda each: each not in owners):
            if sums[node_name].get(n):
                chosen.setdefault(sums[node_name][n], node_name)
        merged: dict[Name, Container[Version]] = {}
        found: set[int] = set()
        nodes = [self._cluster.nodes[each] for each in chosen.values()]
        for node in nodes:
            try:
                records = node.records(n)
            except NodeFailedError:
                continue
            found.add(sum_of(records.items()))
            for name, container in records.items():
                assert middle_of(name) == n, "a node tells of its own shares"
                held = merged.get(name)
                merged[name] = container if held is None else _merged(held, container)
        saved = self._with_values(n, merged, nodes)
        if saved is None:
            return set()  # a version was replaced meanwhile: the next round reads it again
        result.read += 1
        middle, new_bytes = self._write(saved)
        result.new_bytes += new_bytes
        result.middles[n] = middle
        return found

    def _with_values(
        self, n: int, merged: Mapping[Name, Container[Version]], nodes: list[Node]
    ) -> dict[Name, Saved] | None:
        """Save the bodies that were left out, each in a file of its own."""
        earlier: dict[Name, Saved] | None = None
        saved: dict[Name, Saved] = {}
        for name, container in sorted(merged.items()):
            values: dict[Dot, str] = {}
            for dot, version in container.versions.items():
                if version.body is not None:
                    continue
                if earlier is None:
                    known = self._known.get(n)
                    earlier = {} if known is None else read_middle(self._vault, n, known)
                told = earlier[name].values.get(dot) if name in earlier else None
                if told is None:
                    body = _fetch(name, dot, nodes)
                    if body is None:
                        return None
                    told = digest(body)
                    self._vault.write(value_name(told), body)
                values[dot] = told
            saved[name] = Saved(container, values)
        return saved

    def _write(self, saved: Mapping[Name, Saved]) -> tuple[Middle, int]:
        middle = Middle(sum_of((name, each.container) for name, each in saved.items()),
                        len(saved), 0, {})  # fmt: skip
        chunk: list[tuple[Name, Saved]] = []
        size = versions = new_bytes = 0
        for name, each in saved.items():
            live = each.container.versions
            inline = sum(v.size for v in live.values() if v.body is not None)
            if chunk and (size + inline > _FILE_BYTES or versions + len(live) > _FILE_VERSIONS):
                new_bytes += self._write_file(middle, chunk)
                chunk, size, versions = [], 0, 0
            chunk.append((name, each))
            size += inline + _VERSION_BYTES * len(live)
            versions += len(live)
            middle.bytes += sum(v.size for v in live.values())
            for dot, told in each.values.items():
                middle.values[told] = live[dot].size
        if chunk:
            new_bytes += self._write_file(middle, chunk)
        return middle, new_bytes

    def _write_file(self, middle: Middle, chunk: list[tuple[Name, Saved]]) -> int:
        data = encode_records(chunk)
        name = digest(data)
        middle.files[name] = len(data)
        self._vault.write(records_name(name), data)
        return len(data)


def _merged(one: Container[Version], other: Container[Version]) -> Container[Version]:
    merged = one.merge(other)
    versions = {
        dot: other.versions[dot] if version.body is None and dot in other.versions else version
        for dot, version in merged.versions.items()
    }
    return Container(versions, merged.context)


def _fetch(name: Name, dot: Dot, nodes: list[Node]) -> bytes | None:
    for node in nodes:
        try:
            body = node.value(name, dot)
        except NodeFailedError:
            continue
        if body is not None:
            return body
    return None
