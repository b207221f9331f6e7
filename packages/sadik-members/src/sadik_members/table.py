"""The member table: who belongs to the cluster, as a state-based CRDT.

One entry per node id. Two entries of one id merge to the greater by (left, incarnation, state):
LEFT is absorbing and beats every incarnation; otherwise the node's own newest word counts, and its
incarnation says which that is. Only a node itself raises its incarnation, or an operator marks it
as LEFT. Entries that tie in all three (a store that was rolled back can make one) are ordered by
their content, so that merging stays commutative whatever a peer sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import evolve

from sadik_machine import NODE_ID_BYTES, NodeId, RemoteProtocolError, encode_plain
from sadik_members.settings import BOOT_MAX, identity_fault
from sadik_members.view import Member, MemberState

__all__ = [
    "MEMBERS_MAX",
    "MemberTable",
    "is_other_identity",
    "member_from_plain",
    "member_to_plain",
    "merge_members",
]

MEMBERS_MAX: Final = 1024
"""Entries of a table, those that have left included."""

_ENTRY_HASH_BYTES: Final = 8
_FIELDS: Final = 10


def member_to_plain(member: Member) -> tuple[object, ...]:
    """The plain form of an entry, for rows and messages."""
    return (
        member.id,
        member.name,
        member.peer,
        member.http,
        member.zone,
        member.weight,
        member.incarnation,
        int(member.state),
        member.boot_number,
        member.boot_nonce,
        *((True,) if member.is_forced else ()),
    )


def member_from_plain(plain: object) -> Member:
    """The entry of a plain form; fields after those known here are ignored.

    Raises:
        RemoteProtocolError: with reason ``bad_member``, for anything that no correct node makes.
    """
    if type(plain) is not tuple or len(plain) < _FIELDS:
        raise RemoteProtocolError("bad_member", "a member is an array of ten values")
    values: tuple[Any, ...] = plain[:_FIELDS]
    kinds = (bytes, str, str, str, str, float, int, int, int, int)
    if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
        raise RemoteProtocolError("bad_member", "a value of a member has the wrong type")
    node_id, name, peer, http, zone, weight, incarnation, state, boot_number, boot_nonce = values
    is_forced = len(plain) > _FIELDS and plain[_FIELDS] is True and state == MemberState.LEFT
    fault = identity_fault(name, peer, http, zone, weight)
    if len(node_id) != NODE_ID_BYTES:
        fault = f"a node id has {NODE_ID_BYTES} bytes"
    elif not (1 <= incarnation <= BOOT_MAX and 1 <= boot_number <= BOOT_MAX):
        fault = "an incarnation or a boot number is out of range"
    elif not 0 <= boot_nonce <= BOOT_MAX:
        fault = "a boot nonce is out of range"
    elif not MemberState.JOINING <= state <= MemberState.LEFT:
        fault = f"{state} is no state of a member"
    if fault:
        raise RemoteProtocolError("bad_member", fault)
    return Member(
        id=NodeId(node_id),
        name=name,
        peer=peer,
        http=http,
        zone=zone,
        weight=weight,
        incarnation=incarnation,
        state=MemberState(state),
        boot_number=boot_number,
        boot_nonce=boot_nonce,
        is_forced=is_forced,
    )


def _rank(member: Member) -> tuple[bool, int, int]:
    return (member.state is MemberState.LEFT, member.incarnation, int(member.state))


def merge_members(one: Member, other: Member) -> Member:
    """The greater of two entries of one id: commutative, associative, idempotent."""
    assert one.id == other.id, "entries of two nodes do not merge"
    if _rank(one) != _rank(other):
        return max(one, other, key=_rank)
    return max(one, other, key=member_to_plain)


def is_other_identity(known: Member, told: Member) -> bool:
    """Whether ``told`` would have a member be somebody else: of another name, place or life.

    That it has left is not its own word but an operator's, and no such change.
    """
    return told.state is not MemberState.LEFT and told != evolve(
        known, incarnation=told.incarnation, state=told.state
    )


class MemberTable:
    """Entries by id, in ascending order of id."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._members: dict[NodeId, Member] = {}
        self._hashes: dict[NodeId, bytes] = {}
        self._hash: bytes | None = None
        for member in members:
            self.merge(member)

    @property
    def members(self) -> Mapping[NodeId, Member]:
        """All entries. The mapping is not changed later: a merge makes a new one."""
        return self._members

    def get(self, node: NodeId) -> Member | None:
        """The entry of ``node``, or None."""
        return self._members.get(node)

    @property
    def present(self) -> list[Member]:
        """The members that have not left, in ascending order of id."""
        return [m for m in self._members.values() if m.state is not MemberState.LEFT]

    def is_present(self, node: NodeId) -> bool:
        """Whether ``node`` is a member that has not left."""
        member = self._members.get(node)
        return member is not None and member.state is not MemberState.LEFT

    def holder_of(self, name: str) -> Member | None:
        """The member that has not left and is called ``name``, if any."""
        return next((m for m in self.present if m.name == name), None)

    def merge(self, member: Member) -> bool:
        """Take in an entry; whether the table changed by it. A full table takes no new ids."""
        known = self._members.get(member.id)
        if known is None:
            if len(self._members) >= MEMBERS_MAX:
                return False
            entries = {**self._members, member.id: member}
            self._members = {node: entries[node] for node in sorted(entries)}
        else:
            merged = merge_members(known, member)
            if merged == known:
                return False
            self._members = {**self._members, member.id: merged}
        self._hashes[member.id] = _entry_hash(self._members[member.id])
        self._hash = None
        return True

    @property
    def hash(self) -> bytes:
        """16 bytes over all entries: equal tables, equal hashes."""
        if self._hash is None:
            digest = hashlib.blake2b(digest_size=16)
            for node in self._members:
                digest.update(node + self._hashes[node])
            self._hash = digest.digest()
        return self._hash

    def digest(self) -> tuple[tuple[bytes, int, int, bytes], ...]:
        """What a peer needs to tell the difference: (id, incarnation, state, hash) an entry."""
        return tuple(
            (node, member.incarnation, int(member.state), self._hashes[node])
            for node, member in self._members.items()
        )

    def differences(
        self, digest: Iterable[tuple[bytes, int, int, bytes]]
    ) -> tuple[list[Member], list[bytes]]:
        """Against a peer's digest: the entries it lacks or has older, and the ids that we do."""
        theirs = {entry[0]: entry[1:] for entry in digest}
        ours_newer, wanted = [], []
        for node, member in self._members.items():
            entry = theirs.pop(node, None)
            if entry is None:
                ours_newer.append(member)
                continue
            incarnation, state, content = entry
            if content == self._hashes[node]:
                continue
            rank = (state == MemberState.LEFT, incarnation, state)
            if rank <= _rank(member):
                ours_newer.append(member)
            if rank >= _rank(member):
                wanted.append(bytes(node))
        wanted.extend(theirs)
        return ours_newer, wanted


def _entry_hash(member: Member) -> bytes:
    plain = encode_plain(member_to_plain(member))
    return hashlib.blake2b(plain, digest_size=_ENTRY_HASH_BYTES).digest()
