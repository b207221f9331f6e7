"""Bucket properties: what requests use where they say nothing themselves.

They spread by gossip as documents of the membership machine, named ``bucket/<name>``: every node
has all of them in memory and on disk, and the latest change of a bucket wins everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from sadik_machine import PlainError, decode_plain, encode_plain
from sadik_members import Document
from sadik_vnode.quorum import BadQuorum, resolve
from sadik_vnode.requests import BucketProperties, BucketResult
from sadik_vnode.view import LWW

__all__ = ["TTL_SECONDS_MAX", "VALUE_BYTES_MAX", "BadProperties", "Buckets"]

VALUE_BYTES_MAX: Final = 64 * 1024 * 1024

TTL_SECONDS_MAX: Final = 30 * 366 * 24 * 3600
"""Thirty years: more is a slip."""

_PREFIX: Final = "bucket/"

_NAMES: Final = tuple(field.name for field in attrs.fields(BucketProperties))
_QUORUMS: Final = {"r": 1, "w": 1, "pr": 0, "pw": 0, "dw": 0}
_BLIND_WRITES = ("replace", "sibling", "refuse")
_CONFLICT = ("siblings", LWW)


class BadProperties(ValueError):  # noqa: N818 - names what was asked for
    """Properties that are unknown or that contradict the cluster; the message says each."""


class Buckets:
    """All buckets that have properties of their own, by name."""

    def __init__(self, replicas: int = 3) -> None:
        self.replicas = replicas
        self._default = BucketProperties()
        self._own: dict[str, BucketProperties] = {}
        self._stamps: dict[str, int] = {}
        self._publishing: dict[str, tuple[BucketProperties, int]] = {}

    def get(self, bucket: str) -> BucketProperties:
        """The properties in force for ``bucket``."""
        return self._own.get(bucket, self._default)

    def result(self, bucket: str) -> BucketResult:
        """The properties as a client is shown them."""
        return BucketResult(bucket, self.get(bucket), self.replicas)

    def all(self) -> list[BucketResult]:
        """Every bucket with properties of its own, by name."""
        return [self.result(bucket) for bucket in sorted(self._own)]

    def changed(self, bucket: str, changes: Mapping[str, object]) -> BucketProperties:
        """The properties with ``changes`` merged in; `BadProperties` names all that is wrong."""
        wrong = [
            f"{name}: not a property; accepted: {', '.join(_NAMES)}"
            if name not in _NAMES
            else _fault(name, value, self.replicas)
            for name, value in changes.items()
        ]
        faults = [fault for fault in wrong if fault]
        if faults:
            raise BadProperties("; ".join(faults))
        present = self._publishing.get(bucket, (self.get(bucket), 0))[0]
        properties: BucketProperties = attrs.evolve(present, **changes)  # type: ignore[arg-type]
        if properties.conflict == LWW and properties.blind_writes == "sibling":
            raise BadProperties(
                "blind_writes: 'sibling' keeps what conflict 'lww' hides; use 'replace' or 'refuse'"
            )
        return properties

    def document(self, bucket: str, properties: BucketProperties | None, stamp: int) -> Document:
        """What to publish; None resets the bucket to the defaults."""
        body = encode_plain(None if properties is None else attrs.asdict(properties))
        last = max(self._stamps.get(bucket, 0), self._publishing.get(bucket, (None, 0))[1])
        stamp = max(stamp, last + 1)
        self._publishing[bucket] = (properties or self._default, stamp)
        return Document(_PREFIX + bucket, stamp, body)

    def withdraw(self, name: str) -> str | None:
        """A document is not taken, so its change does not come; the bucket's name, or None."""
        if not name.startswith(_PREFIX):
            return None
        bucket = name.removeprefix(_PREFIX)
        self._publishing.pop(bucket, None)
        return bucket

    def adopt(self, document: Document) -> str | None:
        """Take a spread document; the bucket's name, or None if it is about something else.

        One that this version of the software cannot read leaves the bucket as it was.
        """
        if not document.name.startswith(_PREFIX):
            return None
        bucket = document.name.removeprefix(_PREFIX)
        self._stamps[bucket] = document.stamp
        if self._publishing.get(bucket, (None, document.stamp + 1))[1] <= document.stamp:
            del self._publishing[bucket]
        try:
            plain = decode_plain(document.body)
        except PlainError:
            return bucket
        if plain is None:
            self._own.pop(bucket, None)
        elif isinstance(plain, Mapping):
            known = {name: plain[name] for name in _NAMES if name in plain}
            if not any(_fault(name, value, 1 << 16) for name, value in known.items()):
                self._own[bucket] = BucketProperties(**known)
        return bucket


def _fault(name: str, value: object, replicas: int) -> str | None:
    """What is wrong with one property, in words; None if nothing."""
    if name in _QUORUMS:
        return _quorum_fault(name, value, replicas)
    if name == "blind_writes" and value not in _BLIND_WRITES:
        return f"blind_writes: one of {', '.join(_BLIND_WRITES)}, not {value!r}"
    if name == "conflict" and value not in _CONFLICT:
        return f"conflict: one of {', '.join(_CONFLICT)}, not {value!r}"
    if name == "ttl_seconds" and not (
        value is None or (type(value) is int and 0 < value <= TTL_SECONDS_MAX)
    ):
        return f"ttl_seconds: 1 to {TTL_SECONDS_MAX} or null, not {value!r}"
    if name == "value_bytes" and not (
        value is None or (type(value) is int and 0 < value <= VALUE_BYTES_MAX)
    ):
        return f"value_bytes: 1 to {VALUE_BYTES_MAX} or null, not {value!r}"
    return None


def _quorum_fault(name: str, value: object, replicas: int) -> str | None:
    least = _QUORUMS[name]
    if type(value) not in (int, str) or (isinstance(value, int) and value < least):
        return f"{name}: {least} to {replicas}, 'one', 'quorum' or 'all', not {value!r}"
    try:
        resolve(value, 1, replicas, replicas)  # type: ignore[arg-type]
    except BadQuorum as error:
        return f"{name}: {error}"
    return None
