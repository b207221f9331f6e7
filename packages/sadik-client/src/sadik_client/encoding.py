"""Names as they stand in paths and queries, both ways.

A key is any bytes, percent-encoded but for what may stand bare; ``/`` may, and nothing is
normalised. It is done by hand because ``urllib`` is slow to import and knows nothing that this
needs beyond a table of 256 entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sadik_client.errors import InvalidRequestError

__all__ = [
    "KEY_BYTES_MAX",
    "bucket_path",
    "check_bucket",
    "decode_percent",
    "encode_key",
    "encode_query",
    "key_bytes",
    "list_path",
    "object_path",
]

KEY_BYTES_MAX = 400

_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_BARE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_IN_QUERY = [chr(byte) if byte in _BARE else f"%{byte:02X}" for byte in range(256)]
_IN_PATH = [*_IN_QUERY[:47], "/", *_IN_QUERY[48:]]
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9._~/-]*")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def check_bucket(bucket: str) -> str:
    """Return the name of a bucket.

    Raises:
        InvalidRequestError: no bucket can be called so.
    """
    if not _BUCKET.fullmatch(bucket):
        raise InvalidRequestError(
            f"{bucket!r} is no bucket's name: 1 to 64 characters of A-Z a-z 0-9 . _ -"
        )
    return bucket


def key_bytes(key: bytes | str) -> bytes:
    """Return a key as bytes; text is encoded as UTF-8.

    Raises:
        InvalidRequestError: it has not 1 to 400 bytes.
    """
    if isinstance(key, str):
        key = key.encode()
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise InvalidRequestError(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one has {len(key)}")
    return key


def encode_key(key: bytes) -> str:
    """A key as it stands in paths and listings: ``/`` is bare."""
    if _PLAIN_KEY.fullmatch(key):
        return key.decode("ascii")
    return "".join([_IN_PATH[byte] for byte in key])


def decode_percent(text: str | bytes) -> bytes:
    """The bytes that a percent-encoded text stands for."""
    raw = text.encode() if isinstance(text, str) else text
    if b"%" not in raw:
        return raw
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), raw)


def encode_query(pairs: Iterable[tuple[str, str | bytes | None]]) -> str:
    """A query with its ``?``, or nothing; pairs without a value are left out."""
    parts = [
        f"{name}={_query_value(value.encode() if isinstance(value, str) else value)}"
        for name, value in pairs
        if value is not None
    ]
    return "?" + "&".join(parts) if parts else ""


def object_path(bucket: str, key: bytes, *, view: str = "kv") -> str:
    """The path of an object, or of its view under another name."""
    return f"/v1/{view}/{bucket}/{encode_key(key)}"


def bucket_path(bucket: str) -> str:
    """The path of a bucket's properties."""
    return f"/v1/buckets/{check_bucket(bucket)}"


def list_path(bucket: str) -> str:
    """The path of a bucket's listing."""
    return f"/v1/kv/{check_bucket(bucket)}"


def _query_value(value: bytes) -> str:
    return "".join([_IN_QUERY[byte] for byte in value])
