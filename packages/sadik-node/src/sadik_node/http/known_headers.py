"""Headers that were read before: what a client says again and again is parsed once.

The requests of one client differ in their first line and hardly in the fields below it. So a server
remembers the bytes of whole headers that it has taken, from behind the request line to the empty
line, with what they were read as. Where the very same bytes come again under a plain request line,
the parser need not look: it reads fields by their bytes alone, whatever stands above them.

Remembered is only what is ordinary (`RequestReader` says what that is); what the client may do, and
the target, are judged for every request. Each server has its own, as limits differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import define

__all__ = ["REQUEST_LINE", "KnownHeader", "KnownHeaders"]

REQUEST_LINE: Final = re.compile(rb"(GET|PUT|HEAD|DELETE|POST) (/[!\"$-~]*) HTTP/1\.1\r\n")
"""Request lines that the parser takes as they stand."""

_LINES_END: Final = b"\r\n\r\n"
_HEADERS_MAX: Final = 256
_HEADER_BYTES_MAX: Final = 2048


@define(slots=True)
class KnownHeader:
    """What stands below a request line. Shared by requests: nobody changes it."""

    fields: Mapping[bytes, bytes]
    """By lower-case name."""
    header_bytes: int
    """As they count against the limit."""
    length: int | None
    """The declared length of the body."""


class KnownHeaders:
    """Headers by their bytes, clients' tokens in them; few and short: some megabytes at worst."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, KnownHeader] = {}

    def find(self, said: bytes, start: int) -> tuple[KnownHeader, int] | None:
        """What the header from ``start`` on, below its request line, is; and where it ends."""
        end = said.find(_LINES_END, start) + len(_LINES_END)
        found = self._known.get(said[start:end])
        return None if found is None else (found, end)

    def note(self, raw: bytes, header: KnownHeader) -> None:
        """These bytes, from below a request line to the first empty line, were read as this."""
        ends_there = raw.find(_LINES_END) == len(raw) - len(_LINES_END)
        has_bare_ends = raw.count(b"\n") != raw.count(b"\r\n")
        if len(raw) > _HEADER_BYTES_MAX or not ends_there or has_bare_ends:
            return
        if len(self._known) >= _HEADERS_MAX:
            # Rather all than one: what is said often is soon known again, and no order is kept.
            self._known.clear()
        self._known[raw] = header
