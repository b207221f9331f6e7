"""Names and numbers as clients write them: buckets, keys, quorums, flags, durations.

Every parser here raises `BadTarget` with what was wrong and what is accepted.
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from urllib.parse import quote_from_bytes

from sadik_machine import MILLISECOND
from sadik_node.http.target import BadTarget, decode_percent

__all__ = [
    "KEY_BYTES_MAX",
    "after_token",
    "parse_after",
    "parse_bucket",
    "parse_flag",
    "parse_integer",
    "parse_key",
    "parse_quorum",
    "parse_timeout_ns",
    "percent_encode",
]

KEY_BYTES_MAX = 400
TIMEOUT_MS_MAX = 60_000

_BUCKET = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_INTEGER = re.compile(rb"[0-9]{1,9}")
_PLAIN_KEY = re.compile(rb"[A-Za-z0-9._~/-]+")
_TOKEN = b"~next~"
_AFTER_BYTES_MAX = 600


@lru_cache(maxsize=1024)
def parse_bucket(raw: bytes) -> str:
    """A bucket's name from a path; remembered, since a cluster has few and a request says one."""
    name = decode_percent(raw)
    if not _BUCKET.fullmatch(name):
        raise BadTarget("a bucket's name has 1 to 64 characters of A-Z a-z 0-9 . _ -")
    return name.decode("ascii")


def parse_key(raw: bytes) -> bytes:
    """A key from a path."""
    key = decode_percent(raw)
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise BadTarget(f"a key has 1 to {KEY_BYTES_MAX} bytes; this one has {len(key)}")
    return key


def parse_quorum(name: str, value: bytes) -> int | str:
    """``one``, ``quorum``, ``all`` or a count: from 1 for ``r`` and ``w``, else from 0."""
    least = 1 if name in ("r", "w") else 0
    if _INTEGER.fullmatch(value) and int(value) >= least:
        return int(value)
    if value in (b"one", b"quorum", b"all"):
        return value.decode("ascii")
    raise BadTarget(f"{name} must be an integer from {least} up, or one, quorum or all")


def parse_flag(name: str, value: bytes) -> bool:
    """``true`` or ``false``."""
    if value not in (b"true", b"false"):
        raise BadTarget(f"{name} must be true or false")
    return value == b"true"


def parse_integer(name: str, value: bytes, least: int, most: int) -> int:
    """A decimal number within bounds."""
    if not _INTEGER.fullmatch(value) or not least <= int(value) <= most:
        raise BadTarget(f"{name} must be an integer from {least} to {most}")
    return int(value)


def parse_timeout_ns(value: bytes) -> int:
    """A timeout in milliseconds, as nanoseconds."""
    return parse_integer("timeout", value, 1, TIMEOUT_MS_MAX) * MILLISECOND


def percent_encode(key: bytes) -> str:
    """A key as listings and paths show it: ``/`` stands bare."""
    return quote_from_bytes(key, safe="/")


def after_token(key: bytes) -> str:
    """What a listing gives as ``next``: it means the same whether or not a client encodes it.

    A key without special characters is its own token. Any other is wrapped, because half of
    the clients would percent-encode the percent signs of an encoded key once more.
    """
    if _PLAIN_KEY.fullmatch(key) and not key.startswith(_TOKEN):
        return key.decode("ascii")
    return (_TOKEN + base64.urlsafe_b64encode(key).rstrip(b"=")).decode("ascii")


def parse_after(value: bytes) -> bytes:
    """The key that ``after`` means: a listing's ``next``, or a key itself."""
    if len(value) > _AFTER_BYTES_MAX:
        raise BadTarget("after is longer than any next that a listing gives")
    if value.startswith(_TOKEN):
        raw = value[len(_TOKEN) :]
        try:
            value = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raise BadTarget("after is no next that a listing gave, nor a key") from None
    if len(value) > KEY_BYTES_MAX:
        raise BadTarget(f"after has more than {KEY_BYTES_MAX} bytes, which no key has")
    return value
