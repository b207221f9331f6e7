"""Acceptors' records: what is written is read, and no damage passes for a record."""

import pytest

from sadik_machine import NodeId
from sadik_register import AcceptorRecord, Ballot, DamagedRecordError, RegisterKey
from sadik_register.records import EMPTY, read_key, read_record, record_row, row_key

KEY = RegisterKey(b"ring", 7)
BALLOT = Ballot(3, NodeId(b"n" * 8), (1 << 64) - 1)
RECORDS = [
    EMPTY,
    AcceptorRecord(promised=BALLOT),
    AcceptorRecord(BALLOT, BALLOT, b"value"),
    AcceptorRecord(decided=b"value"),
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_is_read_as_it_was_written(record: AcceptorRecord) -> None:
    row, value = record_row(b"P", KEY, record)
    assert read_record(row, value) == record
    assert read_key(b"P", row) == KEY


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    row, value = record_row(b"P", KEY, RECORDS[2])
    for bit in range(8 * len(value)):
        damaged = bytearray(value)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DamagedRecordError):
            read_record(row, bytes(damaged))
    for length in range(len(value)):
        with pytest.raises(DamagedRecordError):
            read_record(row, value[:length])


def test_the_record_of_another_register_is_not_taken() -> None:
    _, value = record_row(b"P", KEY, RECORDS[1])
    with pytest.raises(DamagedRecordError):
        read_record(row_key(b"P", RegisterKey(b"ring", 8)), value)


def test_the_epochs_of_a_name_lie_together_and_in_order() -> None:
    keys = [RegisterKey(name, epoch) for name in (b"a", b"b", b"ab") for epoch in (0, 1, 256)]
    rows = sorted(row_key(b"P", key) for key in keys)
    assert [read_key(b"P", row) for row in rows] == keys


@pytest.mark.parametrize("row", [b"", b"P", b"Q\x01a" + bytes(8), b"P\x02a" + bytes(8)])
def test_other_rows_are_not_taken_for_registers(row: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        read_key(b"P", row)
