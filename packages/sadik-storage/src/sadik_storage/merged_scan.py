"""Rows that are pending, laid over a scan of what is stored."""

from __future__ import annotations

from typing import Protocol

from sadik_storage.trait import Row

__all__ = ["Scan", "scan_over"]

_MORE_ROWS = 64


class Scan(Protocol):
    """As `Store.scan`."""

    def __call__(
        self, start: bytes, stop: bytes | None, /, *, limit: int, limit_bytes: int
    ) -> list[Row]: ...


def scan_over(
    scan: Scan,
    pending: list[tuple[bytes, bytes | None]],
    start: bytes,
    stop: bytes | None,
    limit_rows: int,
    limit_bytes: int,
) -> list[Row]:
    """As `Store.scan`, of what ``scan`` gives with ``pending`` laid over it.

    ``pending`` is of the same range and in order; None deletes. What follows in it after
    ``limit_rows`` values is not needed.
    """
    if not pending:
        return scan(start, stop, limit=limit_rows, limit_bytes=limit_bytes)
    rows: list[Row] = []
    size = 0
    at = 0
    while True:
        chunk = scan(
            start, stop, limit=limit_rows - len(rows) + _MORE_ROWS, limit_bytes=limit_bytes
        )
        # Beyond a chunk's last key the store may have more: pending rows there must wait.
        horizon = chunk[-1][0] if chunk else None
        base = dict(chunk)
        while at < len(pending) and (horizon is None or pending[at][0] <= horizon):
            key, value = pending[at]
            at += 1
            if value is None:
                base.pop(key, None)
            else:
                base[key] = value
        for key in sorted(base):
            value_here = base[key]
            size += len(key) + len(value_here)
            if rows and (len(rows) >= limit_rows or size > limit_bytes):
                return rows
            rows.append((key, value_here))
        if horizon is None or len(rows) >= limit_rows or size >= limit_bytes:
            return rows
        start = horizon + b"\0"
