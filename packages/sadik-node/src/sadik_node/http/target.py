"""Request targets as they are: raw bytes that nothing normalises.

Keys are arbitrary bytes, so ``.``, ``..`` and ``//`` in a path are ordinary, and so is an encoded
slash. Only percent-encoding is undone, once, and a malformed one is refused.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

__all__ = ["BadTarget", "Target", "decode_percent", "parse_query", "parse_target"]

_MALFORMED = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)", re.DOTALL)


class BadTarget(ValueError):  # noqa: N818 - a client's mistake, shown to it as a sentence
    """The target, or a part of it, is not what HTTP or the contract accepts: a 400."""


Target = tuple[bytes, bytes, bytes | None]
"""Path and query of a target, still encoded, and the authority of an absolute one.

A plain tuple: it is made for every request, and an attrs instance costs five times as much.
"""


def parse_target(raw: bytes) -> Target:
    """Split the origin form (``/path?query``) or the absolute form (``http://host/path?query``).

    Raises:
        BadTarget: any other form, or a fragment, which no request bears.
    """
    if b"#" in raw:
        raise BadTarget("a request target has no fragment; encode '#' as %23")
    authority = None
    if raw[:1] != b"/":
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None:
            raise BadTarget("the request target must start with '/' or be an http URL")
        authority, raw = absolute[1], absolute[2]
        if raw[:1] != b"/":
            raw = b"/" + raw
    path, _, query = raw.partition(b"?")
    return path, query, authority


def decode_percent(raw: bytes) -> bytes:
    """Undo percent-encoding, once.

    Raises:
        BadTarget: a ``%`` that two hexadecimal digits do not follow.
    """
    if b"%" not in raw:
        return raw
    if _MALFORMED.search(raw):
        raise BadTarget("a '%' must be followed by two hexadecimal digits; encode '%' as %25")
    return unquote_to_bytes(raw)


def parse_query(raw: bytes) -> dict[str, bytes]:
    """The parameters by name, values decoded (``+`` is a space, as forms write it).

    Raises:
        BadTarget: malformed percent-encoding, a name twice, or one that is not ASCII.
    """
    parameters: dict[str, bytes] = {}
    if not raw:
        return parameters
    for part in raw.split(b"&"):
        if not part:
            continue
        raw_name, _, value = part.partition(b"=")
        try:
            name = decode_percent(raw_name.replace(b"+", b" ")).decode("ascii")
        except UnicodeDecodeError:
            raise BadTarget("the name of a query parameter is not ASCII") from None
        if name in parameters:
            raise BadTarget(f"the query parameter {name!r} stands there twice")
        parameters[name] = decode_percent(value.replace(b"+", b" "))
    return parameters
