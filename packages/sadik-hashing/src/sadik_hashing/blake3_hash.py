"""BLAKE3, which every cluster hashes with unless it says otherwise.

Apart from the trait that it keeps, which asks a type at run time and so cannot be compiled.
"""

from __future__ import annotations

from typing import Final

from blake3 import blake3

__all__ = ["BLAKE3", "DIGEST_BYTES", "Blake3"]

DIGEST_BYTES: Final = 32


class Blake3:
    """BLAKE3 (O'Connor, Aumasson, Neves, Wilcox-O'Hearn 2020): about 0.5 µs for a short key."""

    __slots__ = ()

    name: Final = "blake3"

    def digest(self, data: bytes, size: int = DIGEST_BYTES) -> bytes:
        """Return ``size`` bytes of BLAKE3 of ``data``."""
        return blake3(data).digest(size)

    def keyed(self, key: bytes, data: bytes, size: int = DIGEST_BYTES) -> bytes:
        """Return ``size`` bytes of keyed BLAKE3; ``ValueError`` unless the key has 32 bytes."""
        return blake3(data, key=key).digest(size)


BLAKE3: Final = Blake3()
