"""What requests give back, and how an answer becomes it.

An `Entry` is all that a read shows of a key: its live versions, which are none, one or, after
writes side by side, several siblings; and the causal context that covers exactly these. Give that
context to the next write, and it replaces what you have seen and nothing else.
"""

from __future__ import annotations

import binascii
import enum
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from sadik_client.encoding import decode_percent
from sadik_client.errors import BrokenAnswerError, NotFoundError, SiblingsError
from sadik_client.response import Response

__all__ = [
    "DELETE",
    "Acks",
    "BatchResult",
    "Content",
    "Deleted",
    "Entry",
    "Head",
    "Page",
    "Resolution",
    "Resolver",
    "Version",
    "Written",
    "read_batch",
    "read_deleted",
    "read_entry",
    "read_head",
    "read_page",
    "read_written",
]

_META = b"sadik-meta-"
_OCTETS = "application/octet-stream"


class Version(NamedTuple):
    """One live value of a key."""

    value: bytes
    content_type: str
    meta: Mapping[str, str]
    """What was stored beside it; names are in lower case."""
    etag: str | None
    last_modified: str | None
    """An HTTP date. Clocks of nodes differ: it orders nothing."""
    ttl_s: int | None = None
    """The seconds until it expires, if it does."""

    @property
    def text(self) -> str:
        """The value as UTF-8 text.

        Raises:
            UnicodeDecodeError: it is none.
        """
        return self.value.decode()


class Content(NamedTuple):
    """A value to be written, with what is stored beside it."""

    value: bytes | str
    content_type: str | None = None
    meta: Mapping[str, str] | None = None
    ttl_s: int | None = None


class _Delete(enum.Enum):
    DELETE = "delete"


DELETE: Final = _Delete.DELETE
"""What a resolver returns to delete the key."""

Resolution: TypeAlias = bytes | str | Content | Version | Literal[_Delete.DELETE]


class Entry(NamedTuple):
    """What a read showed of a key."""

    bucket: str
    key: bytes
    versions: tuple[Version, ...]
    """The live versions: none, one, or siblings."""
    context: str | None
    """Covers what is shown. None if there is nothing to cover."""
    etag: str | None
    """Of all versions together, for ``if_match``."""
    node: str | None
    """Who coordinated the read."""
    replies: Mapping[str, int]
    """``needed``, ``got`` and ``primaries`` of the read."""
    is_unmodified: bool = False
    """The etag given as ``if_none_match`` still holds; nothing is shown."""
    hidden_siblings: int = 0
    """How many more live versions there are, which ``latest`` did not show."""

    @property
    def exists(self) -> bool:
        """Whether there is a live version."""
        return bool(self.versions) or self.is_unmodified

    @property
    def is_deleted(self) -> bool:
        """Whether there was one, and it was deleted."""
        return not self.exists and self.context is not None

    @property
    def version(self) -> Version:
        """The one version.

        Raises:
            NotFoundError: there is none.
            SiblingsError: there are several.
        """
        if len(self.versions) == 1:
            return self.versions[0]
        if self.versions:
            raise SiblingsError(self)
        raise NotFoundError(self.bucket, self.key, is_deleted=self.is_deleted)

    @property
    def value(self) -> bytes:
        """The one version's value; raises as `version` does."""
        return self.version.value

    @property
    def text(self) -> str:
        """The one version's value as UTF-8 text; raises as `version` does."""
        return self.version.text

    @property
    def values(self) -> tuple[bytes, ...]:
        """The values of all versions."""
        return tuple(version.value for version in self.versions)


Resolver: TypeAlias = Callable[[Entry], Resolution]
"""Makes one value of siblings. It gets an entry with several versions."""


class Head(NamedTuple):
    """What is known of a key without its value."""

    exists: bool
    has_siblings: bool
    """Then the fields below but context and etag are None and empty: each sibling has its own."""
    context: str | None
    etag: str | None
    content_type: str | None
    meta: Mapping[str, str]
    last_modified: str | None
    ttl_s: int | None

    @property
    def is_deleted(self) -> bool:
        """Whether there was a value, and it was deleted."""
        return not self.exists and self.context is not None


class Acks(NamedTuple):
    """How a write was acknowledged: counts of distinct owner slots."""

    needed: int = 0
    got: int = 0
    durable: int = 0
    primaries: int = 0
    hinted: int = 0


class Written(NamedTuple):
    """A write that was acknowledged."""

    context: str | None
    """Covers what it replaced and the new version, and no sibling that you were not shown."""
    etag: str | None
    node: str | None
    acks: Acks
    entry: Entry | None = None
    """What the key holds now, if it was asked for with ``return_body``."""


class Deleted(NamedTuple):
    """A delete that was acknowledged, or had nothing to do."""

    existed: bool
    """Whether there was something to delete."""
    context: str | None
    node: str | None
    acks: Acks


class Page(NamedTuple):
    """Some keys of a bucket, in byte order."""

    keys: tuple[bytes, ...]
    next: str | None
    """Pass as ``after`` for the page that follows; None if there is none."""


class BatchResult(NamedTuple):
    """What became of one operation of a batch."""

    status: int
    """As the single request would have had it: 200, 204, 300, 404, 412, 503, 504 and so on."""
    value: bytes | None
    context: str | None
    title: str | None
    """What was wrong."""
    document: Mapping[str, Any]
    """The whole line, with whatever else the node says."""

    @property
    def is_done(self) -> bool:
        """Whether it did what was asked, where a read or delete of nothing counts as done."""
        return self.status in (200, 204, 300, 404)


def read_entry(response: Response, bucket: str, key: bytes) -> Entry:
    """Read a 200, 300, 304 or 404.

    Raises:
        BrokenAnswerError: its siblings are not as siblings are.
    """
    if response.status == 200:
        versions: tuple[Version, ...] = (_version(response),)
    elif response.status == 300:
        versions = _siblings(response)
    else:
        versions = ()
    return Entry(
        bucket,
        key,
        versions,
        response.context,
        response.header("etag"),
        response.header("sadik-node"),
        _counts(response.header("sadik-replies")),
        response.status == 304,
        max((_number(response, "sadik-siblings") or 1) - 1, 0),
    )


def read_head(response: Response) -> Head:
    """Read the answer to a HEAD."""
    is_one = response.status == 200
    return Head(
        response.status != 404,
        response.status == 300,
        response.context,
        response.header("etag"),
        response.header("content-type") if is_one else None,
        _meta(response.fields) if is_one else {},
        response.header("last-modified") if is_one else None,
        _number(response, "sadik-ttl") if is_one else None,
    )


def read_written(response: Response, bucket: str, key: bytes) -> Written:
    """Read the answer to a PUT."""
    return Written(
        response.context,
        response.header("etag"),
        response.header("sadik-node"),
        _acks(response),
        None if response.status == 204 else read_entry(response, bucket, key),
    )


def read_deleted(response: Response) -> Deleted:
    """Read the answer to a DELETE."""
    node = response.header("sadik-node")
    return Deleted(response.status != 404, response.context, node, _acks(response))


def read_page(response: Response) -> Page:
    """Read a page of a listing.

    Raises:
        BrokenAnswerError: it is not a whole page.
    """
    keys: list[bytes] = []
    try:
        for line in response.body.splitlines():
            entry = json.loads(line)
            if "next" in entry:
                following = entry["next"]
                return Page(tuple(keys), None if following is None else str(following))
            keys.append(decode_percent(entry["key"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BrokenAnswerError(response.url, "it answered no whole list of keys")


def read_batch(response: Response, count: int) -> list[BatchResult]:
    """Read the answer to a batch of ``count`` operations.

    Raises:
        BrokenAnswerError: it has not that many results.
    """
    results: list[BatchResult] = []
    try:
        for line in response.body.splitlines():
            document = json.loads(line)
            encoded = document.get("value_b64")
            results.append(
                BatchResult(
                    int(document["status"]),
                    None if encoded is None else binascii.a2b_base64(encoded),
                    document.get("context"),
                    document.get("title"),
                    document,
                )
            )
    except (ValueError, KeyError, TypeError, AttributeError):
        results = []
    if len(results) != count:
        raise BrokenAnswerError(response.url, "its results are not those of the batch")
    return results


def _version(response: Response) -> Version:
    fields = response.fields
    return Version(
        response.body,
        response.header("content-type") or _OCTETS,
        _meta(fields),
        response.header("etag"),
        response.header("last-modified"),
        _number(response, "sadik-ttl"),
    )


def _siblings(response: Response) -> tuple[Version, ...]:
    try:
        found = tuple(
            Version(
                binascii.a2b_base64(each["value_b64"]),
                each.get("content_type") or _OCTETS,
                dict(each.get("meta") or {}),
                each.get("etag"),
                each.get("last_modified"),
                each.get("ttl_seconds"),
            )
            for each in response.json()["siblings"]
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        found = ()
    if len(found) < 2:
        raise BrokenAnswerError(response.url, "its siblings cannot be read")
    return found


def _meta(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    return {
        name[len(_META) :].decode("latin-1"): value.decode("utf-8", "backslashreplace")
        for name, value in fields.items()
        if name.startswith(_META)
    }


def _number(response: Response, name: str) -> int | None:
    text = response.header(name)
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _counts(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): int(count) for name, _, count in pairs if count.strip().isdigit()}


def _acks(response: Response) -> Acks:
    counts = _counts(response.header("sadik-acks"))
    return Acks(*(counts.get(name, 0) for name in Acks._fields))
