"""What membership keeps on disk: rows under the prefix ``M``.

``Mc`` the cluster, ``Mm`` + node id a member, ``Mr`` + partition (two bytes) a register, ``Md`` +
name a document. Each value is a plain array: the number of its format, 8 bytes of BLAKE2b over the
content, and the content, encoded by itself. A row that does not match its sum keeps the node from
starting: a member, an epoch or a key that is one bit off would pass for another. (Rows of format 1
have their content in place of the sum, and are read too.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from sadik_machine import (
    NODE_ID_BYTES,
    NodeId,
    PlainError,
    RemoteProtocolError,
    decode_plain,
    encode_plain,
)
from sadik_members.documents import document_from_plain, document_to_plain
from sadik_members.news import Document
from sadik_members.registers import register_from_plain, register_to_plain
from sadik_members.settings import REPLICAS_MAX, SavedStateError, is_partition_count
from sadik_members.table import member_from_plain, member_to_plain
from sadik_members.view import Member, Register

__all__ = [
    "MEMBERSHIP_ROWS",
    "Cluster",
    "SavedState",
    "cluster_row",
    "document_row",
    "load_rows",
    "member_row",
    "register_row",
]

MEMBERSHIP_ROWS = (b"M", b"N")
"""The membership machine's rows: from the first key up to, not including, the second."""

FORMAT: Final = 2
_UNSEALED_FORMAT: Final = 1
_SUM_BYTES: Final = 8
_HEAD: Final = encode_plain((FORMAT, bytes(_SUM_BYTES), None))[: -_SUM_BYTES - 1]
"""What every value begins with: the array, its format, and what is before the bytes of the sum."""
CLUSTER_ID_BYTES: Final = 16
CLUSTER_KEY_BYTES: Final = 32

_CLUSTER, _MEMBER, _REGISTER, _DOCUMENT = b"Mc", b"Mm", b"Mr", b"Md"

Row = tuple[bytes, bytes]


@frozen
class Cluster:
    """What never changes of a cluster; and ``had_others``: whether it ever was more than one."""

    id: bytes
    key: bytes
    name: str
    partitions: int
    replicas: int
    founder: NodeId
    had_others: bool


@frozen
class SavedState:
    """All rows, read."""

    cluster: Cluster
    members: list[Member]
    registers: list[tuple[int, Register]]
    documents: list[Document]


def cluster_row(cluster: Cluster) -> Row:
    """The row of the cluster itself."""
    values = (
        cluster.id,
        cluster.key,
        cluster.name,
        cluster.partitions,
        cluster.replicas,
        cluster.founder,
        cluster.had_others,
    )
    return _CLUSTER, _sealed(values)


def member_row(member: Member) -> Row:
    """The row of a member."""
    return _MEMBER + member.id, _sealed((member_to_plain(member),))


def register_row(partition: int, register: Register) -> Row:
    """The row of a partition's register."""
    key = _REGISTER + partition.to_bytes(2, "big")
    return key, _sealed((register_to_plain(partition, register),))


def document_row(document: Document) -> Row:
    """The row of a document."""
    key = _DOCUMENT + document.name.encode()
    return key, _sealed((document_to_plain(document),))


def load_rows(rows: Mapping[bytes, bytes]) -> SavedState | None:
    """Read what a scan of `MEMBERSHIP_ROWS` found; None where there is nothing.

    Raises:
        SavedStateError: a row is damaged, of a newer format, or the cluster's own is missing.
    """
    if not rows:
        return None
    cluster: Cluster | None = None
    members, registers, documents = [], [], []
    for key in sorted(rows):
        values = _values(key, rows[key])
        try:
            match key[:2]:
                case b"Mc":
                    cluster = _cluster(values)
                case b"Mm":
                    members.append(member_from_plain(values[0]))
                case b"Mr":
                    registers.append(register_from_plain(values[0]))
                case b"Md":
                    documents.append(document_from_plain(values[0]))
                case _:
                    raise SavedStateError(f"the membership row {key!r} is of an unknown kind")
        except (RemoteProtocolError, IndexError) as error:
            raise SavedStateError(f"the membership row {key!r} is damaged: {error}") from error
    if cluster is None:
        raise SavedStateError("the row that names the cluster is missing")
    return SavedState(cluster, members, registers, documents)


def _sealed(content: tuple[object, ...]) -> bytes:
    """The value of a row."""
    encoded = encode_plain(content)
    return _HEAD + _sum(encoded) + encode_plain(encoded)


def _sum(encoded: bytes) -> bytes:
    return hashlib.blake2b(encoded, digest_size=_SUM_BYTES).digest()


def _values(key: bytes, value: bytes) -> tuple[object, ...]:
    """The content of a row."""
    values = _plain(key, value)
    format_ = values[0] if type(values) is tuple and values else None
    if type(format_) is int and format_ > FORMAT:
        raise SavedStateError(
            f"the membership row {key!r} has format {format_}; this version reads up to {FORMAT}"
        )
    if type(values) is tuple and format_ == _UNSEALED_FORMAT:
        return values[1:]
    match values:
        case (int(), bytes(sum_), bytes(encoded)) if format_ == FORMAT and sum_ == _sum(encoded):
            sealed = _plain(key, encoded)
            if type(sealed) is tuple:
                return sealed
    raise SavedStateError(f"the membership row {key!r} is damaged")


def _plain(key: bytes, data: bytes) -> Any:
    try:
        return decode_plain(data)
    except PlainError as error:
        raise SavedStateError(f"the membership row {key!r} is damaged: {error}") from error


def _cluster(values: tuple[object, ...]) -> Cluster:
    match values:
        case (bytes(id_), bytes(key), str(name), int(partitions), int(replicas), bytes(f), bool(o)):
            cluster = Cluster(id_, key, name, partitions, replicas, NodeId(f), o)
        case _:
            raise SavedStateError("the row that names the cluster is damaged")
    if (
        (len(cluster.id), len(cluster.key)) != (CLUSTER_ID_BYTES, CLUSTER_KEY_BYTES)
        or not is_partition_count(cluster.partitions)
        or not 1 <= cluster.replicas <= REPLICAS_MAX
        or len(cluster.founder) != NODE_ID_BYTES
    ):
        raise SavedStateError("the row that names the cluster is damaged")
    return cluster
