"""Frames: a four-byte big-endian length, then that many bytes.

The length is checked against the stream's bound as soon as it is there, so the memory that a peer
can make us hold is the bound plus one read.
"""

from __future__ import annotations

import struct
from typing import Final

from sadik_machine.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["FRAME_HEADER_BYTES", "FrameReader", "frame"]

FRAME_HEADER_BYTES: Final = 4
_size_at = struct.Struct(">I").unpack_from


def frame(payload: bytes) -> bytes:
    """The bytes of one frame."""
    if not payload or len(payload) >= 1 << 32:
        raise LocalProtocolError(f"a frame carries 1 to 2**32 - 1 bytes, not {len(payload)}")
    return len(payload).to_bytes(FRAME_HEADER_BYTES, "big") + payload


class FrameReader:
    """Cuts a byte stream into payloads.

    ``frame_bytes_max`` bounds one payload. A longer or an empty frame raises
    `RemoteProtocolError`; after that the reader is of no more use.
    """

    __slots__ = ("_buffer", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self._buffer = bytearray()
        self.frame_bytes_max = frame_bytes_max

    @property
    def buffered_bytes(self) -> int:
        """Bytes held that do not make a whole frame yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received; return the payloads that are now whole, in order."""
        buffer = self._buffer
        if buffer:
            buffer += data
            with memoryview(buffer) as view:
                payloads, at = self._cut(view)
            if at:
                del buffer[:at]
            return payloads
        # Mostly frames come whole: then nothing of them is kept, or copied but once.
        payloads, at = self._cut(data)
        buffer += data[at:] if at else data
        return payloads

    def _cut(self, data: bytes | memoryview) -> tuple[list[bytes], int]:
        """The payloads that are whole, and where the rest begins."""
        payloads = []
        at = 0
        have = len(data)
        while have - at >= FRAME_HEADER_BYTES:
            start = at + FRAME_HEADER_BYTES
            (size,) = _size_at(data, at)
            if not 0 < size <= self.frame_bytes_max:
                raise RemoteProtocolError(
                    "frame_size",
                    f"a frame of {size} bytes; 1 to {self.frame_bytes_max} accepted",
                )
            end = start + size
            if end > have:
                break
            payloads.append(bytes(data[start:end]))
            at = end
        return payloads, at
