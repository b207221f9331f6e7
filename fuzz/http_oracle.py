"""HTTP/1.1 read once more, by the standard's grammar and nothing else, to compare with.

`requests_of` says which requests some bytes are; the server may refuse more of them than this
reader does, but what it takes it must take for the same. `answers_of` reads what a server said and
fails on whatever a client could misunderstand.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Sequence

import attrs

__all__ = ["Asked", "Rest", "Said", "answers_of", "requests_of"]

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_BLANK_LINES = re.compile(rb"[\r\n]*")
_HEADER = re.compile(
    rb"(%b) ([^\x00-\x20\x7f]+) HTTP/(1\.[01])\r\n((?:%b:%b\r\n)*)\r\n" % (_TOKEN, _TOKEN, _TEXT)
)
_FIELDS_END = b"\r\n\r\n"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;%b)?\r\n" % _TEXT)
_TRAILER = re.compile(rb"(?:%b:%b\r\n)*\r\n" % (_TOKEN, _TEXT))
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ANSWER = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]+\r\n((?:%b: %b\r\n)*)\r\n"
                     % (_TOKEN, _TEXT))  # fmt: skip
_WITHOUT_BODY = (204, 304)


class Rest(enum.Enum):
    """What stands behind the last whole request."""

    NOTHING = 0
    CUT = 1
    """A request that is not whole, or something that may become one."""
    BROKEN = 2
    """No request, whatever follows."""


@attrs.frozen
class Asked:
    """A whole request."""

    method: bytes
    target: bytes
    body: bytes
    expects: bool


def requests_of(data: bytes) -> tuple[list[Asked], Rest]:
    """The requests that these bytes are, up to the first one that is wrong or not whole."""
    asked: list[Asked] = []
    at = 0
    while True:
        blank = _BLANK_LINES.match(data, at)
        assert blank is not None
        at = blank.end()
        if at == len(data):
            return asked, Rest.NOTHING
        header = _HEADER.match(data, at)
        if header is None:
            return asked, Rest.BROKEN if _FIELDS_END in data[at:] else Rest.CUT
        method, target, version, lines = header.groups()
        fields = _fields(lines)
        body, at_end = _body(fields, version, data, header.end())
        if body is None:
            return asked, Rest.CUT if at_end else Rest.BROKEN
        asked.append(Asked(method, target, body, b"expect" in fields))
        at = at_end


def _fields(lines: bytes) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return fields


def _body(
    fields: dict[bytes, list[bytes]], version: bytes, data: bytes, at: int
) -> tuple[bytes | None, int]:
    """A body and where it ends; None and 1 where it is not whole, None and 0 where it is wrong."""
    lengths = fields.get(b"content-length", [])
    codings = fields.get(b"transfer-encoding", [])
    if codings:
        if lengths or version != b"1.1" or [each.lower() for each in codings] != [b"chunked"]:
            return None, 0
        return _chunks(data, at)
    if not lengths:
        return b"", at
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        return None, 0
    end = at + int(lengths[0])
    return (data[at:end], end) if end <= len(data) else (None, 1)


def _chunks(data: bytes, at: int) -> tuple[bytes | None, int]:
    body = bytearray()
    while True:
        line = _SIZE_LINE.match(data, at)
        if line is None:
            return None, int(b"\r\n" not in data[at:])
        size, at = int(line[1], 16), line.end()
        if not size:
            break
        body += data[at : at + size]
        at += size
        ending = data[at : at + 2]
        if ending != b"\r\n":
            return None, int(b"\r\n".startswith(ending))
        at += 2
    trailer = _TRAILER.match(data, at)
    if trailer is None:
        return None, int(not data.startswith(b"\r\n", at) and _FIELDS_END not in data[at:])
    return bytes(body), trailer.end()


@attrs.frozen
class Said:
    """A whole answer."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes


def answers_of(data: bytes, methods: Sequence[bytes]) -> tuple[list[Said], int]:
    """The answers to requests of these methods, and how many interim ones were between them.

    Raises:
        AssertionError: it is not a sequence of so many answers, each as a client expects it.
    """
    said: list[Said] = []
    interim = at = 0
    while at < len(data):
        head = _ANSWER.match(data, at)
        assert head is not None, f"no answer: {data[at : at + 200]!r}"
        status, at = int(head[1]), head.end()
        fields = _fields(head[2])
        assert all(len(values) == 1 for values in fields.values()), f"a field twice: {head[0]!r}"
        single = {name: values[0] for name, values in fields.items()}
        if status < 200:
            assert status == 100
            assert not fields
            interim += 1
            continue
        assert len(said) < len(methods), "an answer that nobody asked for"
        assert not said or b"close" not in said[-1].fields.get(b"connection", b""), "after the end"
        is_head = methods[len(said)] == b"HEAD"
        length = single.get(b"content-length")
        assert (length is None) is (status in _WITHOUT_BODY), head[0]
        size = 0 if length is None or is_head else int(length)
        body = data[at : at + size]
        assert len(body) == size, "it ends within a body"
        at += size
        said.append(Said(status, single, body))
        if not is_head and status >= 400:
            _check_problem(said[-1])
    return said, interim


def _check_problem(said: Said) -> None:
    assert said.status != 500
    assert said.fields[b"content-type"] == b"application/problem+json"
    document = json.loads(said.body)
    assert document["status"] == said.status
    assert document["detail"]
    if said.status in (429, 503):
        assert int(said.fields[b"retry-after"]) > 0
