"""Write-once registers by Paxos, as a pure state machine."""

from sadik_register.keys import EPOCH_MAX, NAME_BYTES_MAX, Ballot, RegisterKey
from sadik_register.machine import Registers
from sadik_register.messages import MESSAGES
from sadik_register.quorums import Quorums
from sadik_register.records import (
    AcceptorRecord,
    DamagedRecordError,
    read_key,
    read_record,
    record_row,
    row_key,
)
from sadik_register.requests import (
    Conflict,
    Damaged,
    Decided,
    Learn,
    Propose,
    Refused,
    Undecided,
    Vacant,
)
from sadik_register.settings import Counters, Limits

__all__ = [
    "EPOCH_MAX",
    "MESSAGES",
    "NAME_BYTES_MAX",
    "AcceptorRecord",
    "Ballot",
    "Conflict",
    "Counters",
    "Damaged",
    "DamagedRecordError",
    "Decided",
    "Learn",
    "Limits",
    "Propose",
    "Quorums",
    "Refused",
    "RegisterKey",
    "Registers",
    "Undecided",
    "Vacant",
    "read_key",
    "read_record",
    "record_row",
    "row_key",
]
