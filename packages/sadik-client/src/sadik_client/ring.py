"""The owners of every partition, and the hash that finds a key's partition.

A module of its own, imported once a ring is known: the hash is slow to import, and a program that
asks for one key never needs it.
"""

from __future__ import annotations

from typing import Any

from sadik_hashing import Partitions

__all__ = ["Ring"]


class Ring:
    """The owners of every partition, by name, first owner first."""

    __slots__ = ("_owners", "_partitions", "epoch")

    def __init__(self, document: Any) -> None:
        """Take what ``/v1/ring`` says.

        Raises:
            ValueError, KeyError, TypeError: it is no ring.
        """
        self.epoch = int(document["epoch"])
        self._partitions = Partitions(int(document["partitions"]))
        shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        owners = [tuple(str(name) for name in names) for names in document["owners"]]
        if len(owners) != self._partitions.count:
            raise ValueError("a ring has owners for each of its partitions")
        self._owners = [shared.setdefault(names, names) for names in owners]

    def owners(self, bucket: str, key: bytes) -> tuple[str, ...]:
        """The owners of a key; the first of them that is up coordinates blind writes."""
        return self._owners[self._partitions.of_key(bucket, key)]
