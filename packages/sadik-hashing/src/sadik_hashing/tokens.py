"""Tokens and partitions: where a key lies on the ring.

A token is a 64 bit number made from a bucket and a key by hashing, so keys spread evenly
whatever they look like. The ring of tokens is cut into a power of two of equal partitions, so a
key's partition is the top bits of its token and partitions never move: only their owners do
(Dynamo's strategy 3, DeCandia et al. 2007, section 6.2).
"""

from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from sadik_hashing.algorithms import HashAlgorithm
from sadik_hashing.blake3_hash import BLAKE3

TOKEN_BITS: Final = 64
TOKEN_BYTES: Final = 8
PARTITIONS_MIN: Final = 8
PARTITIONS_MAX: Final = 4096


def token_of(bucket: str, key: bytes, algorithm: HashAlgorithm = BLAKE3) -> int:
    """Return the token of a key: an unsigned 64 bit integer.

    It is the first 8 bytes, big endian, of the hash over the bucket in UTF-8, a zero byte, and
    the key. The zero byte keeps bucket ``a`` key ``bc`` apart from bucket ``ab`` key ``c``; so a
    bucket's name must not contain one, which is the caller's to see to.
    """
    data = bucket.encode() + b"\0" + key
    if algorithm is BLAKE3:
        # Once or more per request: without the method call this takes half a microsecond.
        return int.from_bytes(blake3(data).digest(TOKEN_BYTES), "big")
    return int.from_bytes(algorithm.digest(data, TOKEN_BYTES), "big")


def partition_of(token: int, partitions: int) -> int:
    """Return the partition of a token on a ring of ``partitions``, a power of two.

    It does not check ``partitions``; ``Partitions`` does, once.
    """
    return token >> (TOKEN_BITS + 1 - partitions.bit_length())


@dataclass(frozen=True, slots=True)
class Partitions:
    """A ring of ``count`` equal partitions, numbered from 0 in the order of their tokens.

    Raises ``ValueError`` unless ``count`` is a power of two from 8 to 4096.
    """

    count: int
    bits: int = field(init=False, compare=False)
    _shift: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        count = self.count
        if not PARTITIONS_MIN <= count <= PARTITIONS_MAX or count & (count - 1):
            raise ValueError(
                f"partitions must be a power of two from {PARTITIONS_MIN} to {PARTITIONS_MAX}, "
                f"not {count}"
            )
        bits = count.bit_length() - 1
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "_shift", TOKEN_BITS - bits)

    def of_token(self, token: int) -> int:
        """Return the partition of a token."""
        return token >> self._shift

    def of_key(self, bucket: str, key: bytes, algorithm: HashAlgorithm = BLAKE3) -> int:
        """Return the partition of a key."""
        return token_of(bucket, key, algorithm) >> self._shift

    def token_range(self, partition: int) -> tuple[int, int]:
        """Return the first and the last token of a partition, both of them in it.

        Raises ``IndexError`` if there is no such partition.
        """
        if not 0 <= partition < self.count:
            raise IndexError(f"partition {partition} is not among {self.count}")
        first = partition << self._shift
        return first, first + (1 << self._shift) - 1
