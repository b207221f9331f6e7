"""Documents: small named values that every node is to know, such as the properties of buckets.

The greatest (stamp, body) of a name wins, so merging is commutative and no two nodes disagree
for long. A document that was withdrawn is one whose body says so: names are never forgotten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from sadik_machine import RemoteProtocolError
from sadik_members.news import Document

__all__ = [
    "DOCUMENTS_MAX",
    "DOCUMENT_BYTES_MAX",
    "DOCUMENT_NAME_CHARS_MAX",
    "DocumentTable",
    "check_document",
    "document_from_plain",
    "document_to_plain",
]

DOCUMENTS_MAX: Final = 4096
DOCUMENT_BYTES_MAX: Final = 4096
DOCUMENT_NAME_CHARS_MAX: Final = 128
_STAMP_MAX: Final = (1 << 63) - 1
_ENTRY_HASH_BYTES: Final = 8


def document_to_plain(document: Document) -> tuple[object, ...]:
    """The plain form of a document."""
    return (document.name, document.stamp, document.body)


def document_from_plain(plain: object) -> Document:
    """The document of a plain form. Raises `RemoteProtocolError` (``bad_document``)."""
    if type(plain) is not tuple or len(plain) < 3:
        raise RemoteProtocolError("bad_document", "a document is an array of three values")
    name, stamp, body = plain[:3]
    if type(name) is not str or type(stamp) is not int or type(body) is not bytes:
        raise RemoteProtocolError("bad_document", "a value of a document has the wrong type")
    document = Document(name, stamp, body)
    check_document(document)
    return document


def check_document(document: Document) -> None:
    """Raise `RemoteProtocolError` (``bad_document``) where a bound is broken."""
    name = document.name
    if not 1 <= len(name) <= DOCUMENT_NAME_CHARS_MAX or not name.isprintable():
        raise RemoteProtocolError("bad_document", "a name is empty, too long or not printable")
    if not 0 <= document.stamp <= _STAMP_MAX:
        raise RemoteProtocolError("bad_document", "the stamp of a document is out of range")
    if len(document.body) > DOCUMENT_BYTES_MAX:
        raise RemoteProtocolError("bad_document", f"a document of {len(document.body)} bytes")


class DocumentTable:
    """Documents by name."""

    def __init__(self, documents: Iterable[Document] = ()) -> None:
        self._documents: dict[str, Document] = {}
        self._hash: bytes | None = None
        for document in documents:
            self.merge(document)

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents in ascending order of name."""
        return tuple(self._documents[name] for name in sorted(self._documents))

    def get(self, name: str) -> Document | None:
        """The document of that name, or None."""
        return self._documents.get(name)

    def merge(self, document: Document) -> bool:
        """Take in a document; whether the table changed. A full table takes no new names."""
        known = self._documents.get(document.name)
        if known is None and len(self._documents) >= DOCUMENTS_MAX:
            return False
        if known is not None and (known.stamp, known.body) >= (document.stamp, document.body):
            return False
        self._documents[document.name] = document
        self._hash = None
        return True

    @property
    def hash(self) -> bytes:
        """16 bytes over all documents."""
        if self._hash is None:
            digest = hashlib.blake2b(digest_size=16)
            for document in self.documents:
                digest.update(_entry_hash(document))
            self._hash = digest.digest()
        return self._hash

    def digest(self) -> tuple[tuple[str, int, bytes], ...]:
        """(name, stamp, hash) a document."""
        return tuple((d.name, d.stamp, _entry_hash(d)) for d in self.documents)

    def differences(
        self, digest: Iterable[tuple[str, int, bytes]]
    ) -> tuple[list[Document], list[str]]:
        """Against a peer's digest: the documents to send it, and the names to ask it for."""
        theirs = {name: (stamp, content) for name, stamp, content in digest}
        ours_newer, wanted = [], []
        for document in self.documents:
            entry = theirs.pop(document.name, None)
            if entry is None:
                ours_newer.append(document)
                continue
            stamp, content = entry
            if content == _entry_hash(document):
                continue
            if stamp <= document.stamp:
                ours_newer.append(document)
            if stamp >= document.stamp:
                wanted.append(document.name)
        wanted.extend(sorted(theirs))
        return ours_newer, wanted


def _entry_hash(document: Document) -> bytes:
    name = document.name.encode()
    head = len(name).to_bytes(4, "big") + name + document.stamp.to_bytes(8, "big")
    return hashlib.blake2b(head + document.body, digest_size=_ENTRY_HASH_BYTES).digest()
