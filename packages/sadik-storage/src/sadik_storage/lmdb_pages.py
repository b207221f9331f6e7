"""What LMDB takes for granted of its pages, and `lmdb.verify` does not look at.

The idea: LMDB edits a page by moving the nodes in it, by the sizes that the nodes state. A page
whose nodes overlap or leave a gap is read without trouble, and the next write to it makes rubbish
of its neighbours, or ends the process. A key beyond what the branches above it say is met by
a scan and not by a get, so that no repair can bring the two together. So of each page that the
newer meta page reaches:

* its nodes fill it from where the header says to the end, each in one place;
* its keys lie between the separators that lead to it;
* its nodes have no flags but that of a large value: the store has no databases in its database.

For files of LMDB 0.9 that `lmdb.verify` found nothing wrong with: pages and nodes are where
they should be, and each is reached once.
"""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

__all__ = ["META_PAGES", "PAGE_BYTES_MAX", "Meta", "newest_meta", "page_problem"]

META_PAGES = 2
PAGE_BYTES_MAX = 2**15
"""The largest page that LMDB 0.9 makes."""

# A meta page: 16 bytes of header, magic and version, two of words, the databases of free pages and
# of rows, the last page, the number of the transaction. A database's first field is, in that of the
# free pages, the size of a page; its last is its root.
_VERSION = struct.Struct("=I")
_VERSION_AT = 16 + 4
_VERSION_09 = 1
_PAGE_BYTES = struct.Struct("=I")
_PAGE_BYTES_AT = 16 + 24
_ROWS_FLAGS = struct.Struct("=H")
_ROWS_FLAGS_AT = 16 + 24 + 48 + 4
_ROOT = struct.Struct("=Q")
_ROOTS_AT = (16 + 24 + 40, 16 + 24 + 48 + 40)
_LAST = struct.Struct("=QQ")
_LAST_AT = 16 + 24 + 2 * 48
_NO_ROOT = 2**64 - 1

# A page: its number, unused, flags, where the pointers end, where the nodes begin; the pointers.
_HEADER = struct.Struct("=QHHHH")
_BRANCH = 1
# A node: its value's size, or the number of its child; flags, its key's size; key and value.
_NODE = struct.Struct("=HHHH")
_LARGE = 1
_LARGE_BYTES = 8


@frozen
class Meta:
    """What the newer meta page says. ``roots``: of the free pages, and of the rows."""

    page_bytes: int
    last_page: int
    roots: tuple[int, int]
    rows_flags: int


def newest_meta(data: bytes | mmap.mmap) -> Meta:
    """The meta page that LMDB would go by.

    Raises:
        struct.error: the file is too short to have two.
    """
    (page_bytes,) = _PAGE_BYTES.unpack_from(data, _PAGE_BYTES_AT)
    newest, found = -1, 0
    last_page = 0
    for at in range(0, META_PAGES * page_bytes, page_bytes):
        last, transaction = _LAST.unpack_from(data, at + _LAST_AT)
        if transaction > newest:
            newest, found, last_page = transaction, at, last
    free, rows = (_ROOT.unpack_from(data, found + at)[0] for at in _ROOTS_AT)
    (flags,) = _ROWS_FLAGS.unpack_from(data, found + _ROWS_FLAGS_AT)
    return Meta(page_bytes, last_page, (free, rows), flags)


def page_problem(file: Path) -> str | None:
    """The first thing that is wrong, in words; None if nothing is, or it is of another version."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if _VERSION.unpack_from(data, _VERSION_AT)[0] != _VERSION_09:
            return None
        meta = newest_meta(data)
        if meta.rows_flags:
            return f"the rows have the flags 0x{meta.rows_flags:x}"
        for root, is_free in zip(meta.roots, (True, False), strict=True):
            if root != _NO_ROOT:
                for problem in _walk(data, meta.page_bytes, root, is_free=is_free):
                    return problem
    return None


def _walk(data: mmap.mmap, page_bytes: int, root: int, *, is_free: bool) -> Iterator[str]:
    """The problems of a tree's pages."""
    # A page and the bounds of its keys: from the first, up to and without the second.
    todo: list[tuple[int, bytes | None, bytes | None]] = [(root, None, None)]
    while todo:
        number, low, high = todo.pop()
        page = data[number * page_bytes : (number + 1) * page_bytes]
        _, _, flags, lower, upper = _HEADER.unpack_from(page)
        places = struct.unpack_from(f"={(lower - _HEADER.size) // 2}H", page, _HEADER.size)
        is_branch = bool(flags & _BRANCH)
        ends: dict[int, int] = {}
        keys: list[bytes] = []
        children: list[int] = []
        for place in places:
            size_low, size_high, node_flags, key_bytes = _NODE.unpack_from(page, place)
            start = place + _NODE.size
            key = page[start : start + key_bytes]
            size = size_low | size_high << 16
            keys.append(_number(key) if is_free else key)
            if is_branch:
                children.append(size | node_flags << 32)
                size = 0
            elif node_flags & ~_LARGE:
                yield f"page {number} has a node with the flags 0x{node_flags:x}"
            elif node_flags:
                size = _LARGE_BYTES
            ends[place] = start + key_bytes + size + (key_bytes + size) % 2
        at = upper
        while at in ends:
            at = ends.pop(at)
        if ends or at != page_bytes:
            yield f"the nodes of page {number} overlap, or leave a gap"
        if is_branch:
            # The first key of a branch means nothing: its child begins where the branch does.
            bounds = [low, *keys[1:], high]
            todo += zip(children, bounds, bounds[1:], strict=False)
            keys = keys[1:]
        if keys and (
            (low is not None and keys[0] < low) or (high is not None and keys[-1] >= high)
        ):
            yield f"page {number} has keys that the branches above it lead elsewhere"


def _number(key: bytes) -> bytes:
    """A transaction's number, in an order that bytes have."""
    return key if sys.byteorder == "big" else key[::-1]
