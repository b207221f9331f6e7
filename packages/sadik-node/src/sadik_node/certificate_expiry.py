"""When a certificate runs out: read from its file, without a library for certificates.

Python's `ssl` tells it only of certificates that another side has shown, so the few bytes that lead
to it are read here: DER as X.509 has it (RFC 5280, section 4.1). A file is one that OpenSSL has
loaded already; what cannot be read all the same has no known end, and is no reason not to run.
"""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["SOON_DAYS", "day_of", "days_left", "expiry_of", "warning_of"]

SOON_DAYS = 14
"""From here on a node says at start, and when it reads one, that its certificate runs out."""

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
_SEQUENCE = 0x30
_VERSION = 0xA0
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
_LONG_LENGTH = 0x80
_LENGTH_BYTES_MAX = 4
_DAY_S = 86_400


def expiry_of(cert: Path) -> float | None:
    """The Unix time from which the certificate in a PEM file does no more, or None if it has none
    that can be read.

    Where certificates of authorities stand behind it, one that runs out earlier counts: without it
    nobody accepts the chain.
    """
    try:
        found = _PEM.findall(cert.read_text("ascii", "replace"))
        return min(_not_after(ssl.PEM_cert_to_DER_cert(text)) for text in found)
    except (OSError, ValueError):
        return None


def day_of(expires_s: float) -> str:
    """The instant, for people and for JSON."""
    return datetime.fromtimestamp(expires_s, UTC).isoformat().replace("+00:00", "Z")


def days_left(expires_s: float, now_s: float) -> int:
    """Whole days until then; below 0 it has run out."""
    return int((expires_s - now_s) // _DAY_S)


def warning_of(expires_s: float, now_s: float) -> str:
    """What to say of a certificate that runs out soon or has; empty where there is time."""
    left = days_left(expires_s, now_s)
    if left >= SOON_DAYS:
        return ""
    if left < 0:
        return "the certificate has run out: nobody who checks it accepts it any more"
    days = "1 day" if left == 1 else f"{left} days"
    return f"the certificate runs out in {days}; a new one is read without a restart"


def _not_after(der: bytes) -> float:
    certificate, _ = _content(der, 0, _SEQUENCE)
    signed, _ = _content(certificate, 0, _SEQUENCE)
    # Version, where it is said; serial number, algorithm of the signature, issuer.
    at = 0
    for _ in range(4 if signed[:1] == bytes([_VERSION]) else 3):
        _, at = _content(signed, at)
    validity, _ = _content(signed, at, _SEQUENCE)
    _, at = _content(validity, 0)
    text, _ = _content(validity, at)
    return _time(validity[at], text.decode("ascii"))


def _content(data: bytes, at: int, tag: int | None = None) -> tuple[bytes, int]:
    """What the element at ``at`` holds, and where the next one begins."""
    if len(data) < at + 2 or (tag is not None and data[at] != tag):
        raise ValueError("no certificate: an element is missing")
    length, begin = data[at + 1], at + 2
    if length >= _LONG_LENGTH:
        count = length - _LONG_LENGTH
        if not 1 <= count <= _LENGTH_BYTES_MAX:
            raise ValueError("no certificate: a length that DER does not have")
        length, begin = int.from_bytes(data[begin : begin + count], "big"), begin + count
    if begin + length > len(data):
        raise ValueError("no certificate: it ends early")
    return data[begin : begin + length], begin + length


def _time(tag: int, text: str) -> float:
    if tag == _UTC_TIME:
        # Two digits of the year: from 1950 to 2049 (section 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no certificate: its end is no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()
