"""A disk in memory: what a node of a test's cluster leaves behind when it ends.

The cluster holds it, not the node. So a node that is killed and started again has what it had
committed, as a real one has after ``kill -9``, and no test pays for a file system.
"""

from __future__ import annotations

from attrs import define, field

from sadik_storage import Row, Store
from sadik_storage.memory import MemoryStore

__all__ = ["MemoryDisk"]

_SCAN_ROWS = 10_000
_SCAN_BYTES = 64 * 2**20


@define
class MemoryDisk:
    """The rows of one node's store while no node has it open."""

    _rows: list[Row] = field(factory=list)

    def open(self) -> Store:
        """A store with the rows that the one before it had when it was closed."""
        return _KeptStore(self)

    def take(self) -> list[Row]:
        """The rows, which are the store's from now on."""
        rows, self._rows = self._rows, []
        return rows

    def put(self, rows: list[Row]) -> None:
        """Keep these rows."""
        self._rows = rows


class _KeptStore(MemoryStore):
    """Its rows go back to the disk when it is closed, which a killed node does too."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__()
        self._disk: MemoryDisk | None = disk
        self.commit(disk.take())

    @property
    def durable(self) -> bool:
        """True: its rows outlive everything that can happen to a node of a test's cluster."""
        return True

    def close(self) -> None:
        """As `Store.close`; the rows are kept."""
        disk, self._disk = self._disk, None
        if disk is not None:
            rows: list[Row] = []
            start = b"\0"
            while chunk := self.scan(start, None, limit=_SCAN_ROWS, limit_bytes=_SCAN_BYTES):
                rows += chunk
                start = chunk[-1][0] + b"\0"
            disk.put(rows)
        super().close()
