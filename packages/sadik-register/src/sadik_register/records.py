"""What an acceptor keeps of a register, and how it lies in a store.

Row key: the machine's prefix, the name's length in one byte, the name, the epoch in eight bytes; so
the registers of one name lie together, in the order of epochs. Row value: a plain array of the
format's number, 8 bytes of BLAKE2b over key and content, and the content. A promise that is one bit
off would be a broken promise, so a damaged record is never taken for another.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from attrs import frozen

from sadik_machine import NODE_ID_BYTES, NodeId, PlainError, decode_plain, encode_plain
from sadik_register.keys import ZERO_BALLOT, Ballot, RegisterKey

__all__ = [
    "EMPTY",
    "AcceptorRecord",
    "DamagedRecordError",
    "read_ballot",
    "read_key",
    "read_record",
    "record_row",
    "row_key",
]

_FORMAT: Final = 1
_SUM_BYTES: Final = 8


class DamagedRecordError(ValueError):
    """The bytes are no record of this register."""


@frozen
class AcceptorRecord:
    """One acceptor's state of one register.

    ``promised``: no ballot below it is accepted. ``accepted`` and ``value``: the last proposal that
    was. ``decided``: the register's value once this acceptor knows it; the rest means nothing from
    then on.
    """

    promised: Ballot = ZERO_BALLOT
    accepted: Ballot | None = None
    value: bytes | None = None
    decided: bytes | None = None


EMPTY: Final = AcceptorRecord()


def row_key(prefix: bytes, key: RegisterKey) -> bytes:
    """Where the record of a register lies."""
    return prefix + bytes([len(key.name)]) + key.name + key.epoch.to_bytes(8, "big")


def read_key(prefix: bytes, row: bytes) -> RegisterKey:
    """The register of a row; `DamagedRecordError` where it is none of this prefix."""
    start = len(prefix) + 1
    if not row.startswith(prefix) or len(row) < start or len(row) != start + row[start - 1] + 8:
        raise DamagedRecordError(f"{row!r} is no register's row")
    return RegisterKey(row[start:-8], int.from_bytes(row[-8:], "big"))


def record_row(prefix: bytes, key: RegisterKey, record: AcceptorRecord) -> tuple[bytes, bytes]:
    """The row of a record."""
    accepted = None if record.accepted is None else tuple(record.accepted)
    content = encode_plain((tuple(record.promised), accepted, record.value, record.decided))
    row = row_key(prefix, key)
    return row, encode_plain((_FORMAT, _sum(row, content), content))


def read_record(row: bytes, value: bytes) -> AcceptorRecord:
    """The record of a row.

    Raises:
        DamagedRecordError: a bit is off, it belongs to another row, or it is of a newer format.
    """
    match _plain(value):
        case (int(format_), bytes(sum_), bytes(content)):
            if format_ != _FORMAT or sum_ != _sum(row, content):
                raise DamagedRecordError(f"the row {row!r} is damaged, or of format {format_}")
        case _:
            raise DamagedRecordError(f"the row {row!r} is damaged")
    match _plain(content):
        case (tuple(promised), accepted, proposed, decided):
            ballot = None if accepted is None else _ballot_in(accepted, row)
            if proposed is None or isinstance(proposed, bytes):
                return AcceptorRecord(read_ballot(promised), ballot, proposed, decided)
    raise DamagedRecordError(f"the row {row!r} is damaged")


def _ballot_in(part: object, row: bytes) -> Ballot:
    if not isinstance(part, tuple):
        raise DamagedRecordError(f"the row {row!r} is damaged")
    return read_ballot(part)


def read_ballot(plain: tuple[object, ...]) -> Ballot:
    """A ballot of its plain parts; `DamagedRecordError` for anything else."""
    match plain:
        case (int(round_), bytes(proposer), int(boot)) if len(proposer) == NODE_ID_BYTES:
            return Ballot(round_, NodeId(proposer), boot)
    raise DamagedRecordError("not a ballot")


def _sum(row: bytes, content: bytes) -> bytes:
    return hashlib.blake2b(row + b"\0" + content, digest_size=_SUM_BYTES).digest()


def _plain(data: bytes) -> Any:
    try:
        return decode_plain(data)
    except PlainError as error:
        raise DamagedRecordError(str(error)) from error
