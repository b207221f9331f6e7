"""What is in a vault: manifests, files of records, values, and how each is checked.

Names are ``backups/ID.json``, ``records/ab/HASH``, ``values/ab/HASH`` and ``unfinished/N.json``;
a hash is blake3, in hexadecimal. `docs/backup.md` says what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import Factory, define, frozen
from blake3 import blake3

from sadik_causality import Container, Context, Dot
from sadik_hashing import record_hash, token_of
from sadik_machine import PlainError, decode_plain, encode_plain
from sadik_node.backup.vault import Vault, VaultError
from sadik_vnode.version import Version, version_from_plain

__all__ = [
    "MIDDLES",
    "BackupError",
    "Manifest",
    "Middle",
    "Name",
    "Saved",
    "digest",
    "hash_of",
    "manifest_ids",
    "middle_of",
    "read_document",
    "read_manifest",
    "read_middle",
    "read_value",
    "records_name",
    "sum_of",
    "value_name",
    "write_document",
]

FORMAT: Final = 1
MIDDLES: Final = 4096
_MIDDLE_SHIFT: Final = 52
_SUM_MASK: Final = (1 << 128) - 1

Name = tuple[str, bytes]
"""A bucket and a key."""


class BackupError(Exception):
    """A backup is not there, not whole, or not what it says; the message says which."""


@frozen
class Saved:
    """A record as a backup has it: bodies are inline, or named by their hash in ``values``."""

    container: Container[Version]
    values: Mapping[Dot, str]


@define
class Middle:
    """One share of the ring: the sum of its records' hashes, and the files that hold them."""

    sum: int
    records: int
    bytes: int
    files: dict[str, int]
    """Hash and size of each file of records."""
    values: dict[str, int] = Factory(dict)
    """Hash and size of each value that has a file of its own."""

    def to_json(self) -> dict[str, Any]:
        """As a manifest has it."""
        return {
            "sum": f"{self.sum:032x}",
            "records": self.records,
            "bytes": self.bytes,
            "files": self.files,
            "values": self.values,
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Middle:
        """The other way."""
        return cls(int(plain["sum"], 16), plain["records"], plain["bytes"], dict(plain["files"]),
                   dict(plain["values"]))  # fmt: skip


@define
class Manifest:
    """One whole backup."""

    id: str
    cluster: dict[str, Any]
    began: str
    ended: str
    software: str
    buckets: dict[str, dict[str, Any]]
    moving: list[int]
    """Partitions that were written to all the time, so that they are of no single instant."""
    middles: dict[int, Middle]

    @property
    def records(self) -> int:
        """How many keys it has, deleted ones that are still remembered included."""
        return sum(each.records for each in self.middles.values())

    @property
    def bytes(self) -> int:
        """The bytes of all values."""
        return sum(each.bytes for each in self.middles.values())

    def write(self, vault: Vault) -> None:
        """Make the backup whole."""
        write_document(vault, f"backups/{self.id}.json", {
            "format": FORMAT,
            "id": self.id,
            "cluster": self.cluster,
            "began": self.began,
            "ended": self.ended,
            "software": self.software,
            "records": self.records,
            "bytes": self.bytes,
            "buckets": self.buckets,
            "moving": self.moving,
            "middles": {str(n): self.middles[n].to_json() for n in sorted(self.middles)},
        })  # fmt: skip


def digest(data: bytes) -> str:
    """The hash that names a file."""
    return blake3(data).hexdigest()


def records_name(name: str) -> str:
    """Where a file of records lies."""
    return f"records/{name[:2]}/{name}"


def value_name(name: str) -> str:
    """Where a value lies."""
    return f"values/{name[:2]}/{name}"


def write_document(vault: Vault, name: str, document: dict[str, Any]) -> None:
    """Write JSON with its own hash in it."""
    body = json.dumps(document, sort_keys=True)
    vault.write(name, json.dumps({**document, "blake3": digest(body.encode())}, indent=1).encode())


def read_document(vault: Vault, name: str) -> dict[str, Any] | None:
    """Read such JSON; None where there is none.

    Raises:
        BackupError: it is damaged, or of a newer format.
    """
    data = vault.read(name)
    if data is None:
        return None
    try:
        document = json.loads(data)
        told = document.pop("blake3")
        is_whole = digest(json.dumps(document, sort_keys=True).encode()) == told
    except (ValueError, KeyError, TypeError, AttributeError):
        is_whole, document = False, {}
    if not is_whole:
        raise BackupError(f"{name} is damaged: its hash does not match")
    if document.get("format", FORMAT) > FORMAT:
        raise BackupError(
            f"{name} has format {document['format']}, and this program reads formats up to "
            f"{FORMAT}: use a newer one"
        )
    return dict(document)


def manifest_ids(vault: Vault) -> list[str]:
    """The whole backups in a vault, oldest first."""
    names = (name.rpartition("/")[2] for name in vault.sizes("backups"))
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))


def read_manifest(vault: Vault, backup_id: str) -> Manifest:
    """One whole backup's manifest."""
    plain = read_document(vault, f"backups/{backup_id}.json")
    if plain is None:
        raise BackupError(f"there is no backup {backup_id!r}; there are: "
                          f"{', '.join(manifest_ids(vault)) or 'none'}")  # fmt: skip
    return Manifest(
        plain["id"], plain["cluster"], plain["began"], plain["ended"], plain["software"],
        plain["buckets"], plain["moving"],
        {int(number): Middle.from_json(each) for number, each in plain["middles"].items()},
    )  # fmt: skip


def middle_of(name: Name) -> int:
    """Which share of the ring a key is in."""
    return token_of(*name) >> _MIDDLE_SHIFT


def hash_of(name: Name, container: Container[Version]) -> int:
    """What a record adds to its middle's sum, as the cluster's hash trees have it."""
    return record_hash(name[0].encode() + b"\0" + name[1], container.live_dots())


def sum_of(records: Iterable[tuple[Name, Container[Version]]]) -> int:
    """The sum of records' hashes."""
    return sum(hash_of(name, container) for name, container in records) & _SUM_MASK


def encode_records(records: Iterable[tuple[Name, Saved]]) -> bytes:
    """The content of a file of records."""
    return encode_plain([
        (
            *name,
            [
                (*version.to_plain(dot, body=dot not in saved.values), saved.values.get(dot))
                for dot, version in sorted(saved.container.versions.items())
            ],
            saved.container.context.to_plain(),
        )
        for name, saved in records
    ])  # fmt: skip


def _decode_records(data: bytes) -> Iterator[tuple[Name, Saved]]:
    for bucket, key, versions, context in decode_plain(data):
        values = {(each[0], each[1]): each[5] for each in versions if each[5] is not None}
        live = dict(version_from_plain(each[:5]) for each in versions)
        container = Container.checked(live, Context.from_plain(context))
        yield (bucket, key), Saved(container, values)


def read_middle(vault: Vault, number: int, middle: Middle) -> dict[Name, Saved]:
    """All records of a middle, checked: each file by its hash, all together by their sum.

    Raises:
        BackupError: a file is missing or damaged.
    """
    records: dict[Name, Saved] = {}
    for name in middle.files:
        data = _read_checked(vault, records_name(name), name)
        try:
            records.update(_decode_records(data))
        except (PlainError, ValueError, TypeError, IndexError) as error:
            raise BackupError(f"{records_name(name)} is no file of records: {error}") from error
    found = sum_of((name, saved.container) for name, saved in records.items())
    if found != middle.sum or any(middle_of(name) != number for name in records):
        raise BackupError(f"the records of share {number} are not those that the manifest names")
    return records


def read_value(vault: Vault, name: str) -> bytes:
    """A value that has a file of its own, checked by its hash."""
    return _read_checked(vault, value_name(name), name)


def _read_checked(vault: Vault, name: str, told: str) -> bytes:
    try:
        data = vault.read(name)
    except VaultError as error:
        raise BackupError(str(error)) from error
    if data is None:
        raise BackupError(f"{name} is missing")
    if digest(data) != told:
        raise BackupError(f"{name} is damaged: its hash does not match")
    return data
