"""What may stand in a header about the message itself: our own checks on top of httptools'.

httptools refuses most of what smuggles requests past proxies: two lengths, a length with a coding,
folded fields, bare line feeds. It takes a transfer coding on HTTP/1.0, a missing ``Host`` and any
stack of codings that ends in chunked; those are refused here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["framing_fault"]

_DIGITS = re.compile(rb"[0-9]{1,18}")


def framing_fault(version: str, method: bytes, headers: Mapping[bytes, bytes]) -> str | None:
    """What is wrong with the framing of a request, as a sentence, or None.

    ``headers`` have lower-case names; ``version`` is ``1.1`` for HTTP/1.1.
    """
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if version == "1.1":
        if b"host" not in headers:
            return "the Host field is missing"
    elif version != "1.0":
        return f"HTTP/{version} is not spoken here; HTTP/1.1 is"
    if coding is not None:
        if version == "1.0" or coding.strip().lower() != b"chunked":
            return "Transfer-Encoding may only be chunked, and only in HTTP/1.1"
        if length is not None:
            return "Content-Length and Transfer-Encoding exclude each other"
    if length is not None and not _DIGITS.fullmatch(length):
        return "Content-Length is not a number"
    if method == b"CONNECT":
        return "nothing is connected here"
    return None
