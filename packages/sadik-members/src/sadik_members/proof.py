"""Proving that one knows the cluster's secret, without ever saying it.

A proof is a keyed hash (HMAC-SHA-256, RFC 2104) over all that was said in a handshake so far, with
the secret as key. What was said holds a random challenge of either side, so nothing that was heard
earlier proves anything later, and the identities of both, so a proof fits one pair of nodes in
their present lives. A purpose goes into the hash too: what one side sends is never what
the other side expects, so nobody is convinced by its own words.

Whoever hears a proof can try secrets against it at leisure. So a secret must be long and drawn at
random, and the accepting side proves nothing before the dialler has.

While a secret is replaced there are two: the dialler sends a proof for each, and the newest that
both sides know is used from there on. So the nodes may learn of the new one in any order.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Sequence
from typing import Final

from attrs import frozen

__all__ = ["PROOF_BYTES", "SECRETS_MAX", "SECRET_CHARS_MIN", "ClusterSecrets", "Purpose",
           "is_proof", "prove"]  # fmt: skip

PROOF_BYTES: Final = 32
SECRETS_MAX: Final = 2
SECRET_CHARS_MIN: Final = 32
SECRET_CHARS_MAX: Final = 1024
_DISTINCT_MIN: Final = 8


class Purpose(enum.Enum):
    """What a proof is for."""

    PLEDGE = b"sadik peer 1: the dialler knows the secret"
    ACCEPTOR = b"sadik peer 1: the acceptor knows the secret"
    DIALLER = b"sadik peer 1: the dialler has heard the acceptor"
    DIALLER_REFUSES = b"sadik peer 1: the dialler refuses"
    ACCEPTOR_REFUSES = b"sadik peer 1: the acceptor refuses"


@frozen(repr=False)
class ClusterSecrets:
    """The secrets that are accepted, one or two, the newest first."""

    secrets: tuple[bytes, ...]

    def __attrs_post_init__(self) -> None:
        if not 1 <= len(self.secrets) <= SECRETS_MAX:
            raise ValueError(
                f"it holds {len(self.secrets)} secrets; one line each, the newest first, "
                f"1 or {SECRETS_MAX} of them"
            )

    def __repr__(self) -> str:
        return f"<{len(self.secrets)} secrets>"

    @classmethod
    def parse(cls, text: bytes) -> ClusterSecrets:
        """Read a file of secrets: one a line, the newest first; blank lines and # comments are not.

        Raises:
            ValueError: it is none; the message tells a line's number and nothing that is in it.
        """
        secrets: list[bytes] = []
        for number, raw in enumerate(text.splitlines(), 1):
            line = raw.strip()
            if not line or line.startswith(b"#"):
                continue
            if not all(0x21 <= byte <= 0x7E for byte in line):
                raise ValueError(f"line {number} is not visible ASCII without spaces")
            if not SECRET_CHARS_MIN <= len(line) <= SECRET_CHARS_MAX:
                raise ValueError(
                    f"the secret in line {number} has {len(line)} characters; "
                    f"{SECRET_CHARS_MIN} to {SECRET_CHARS_MAX} are accepted"
                )
            if len(set(line)) < _DISTINCT_MIN:
                raise ValueError(f"the secret in line {number} is easy to guess")
            if line not in secrets:
                secrets.append(line)
        return cls(tuple(secrets))

    def pledges(self, transcript: bytes) -> tuple[bytes, ...]:
        """What a dialler sends: a proof for each secret, the newest first."""
        return tuple(prove(secret, Purpose.PLEDGE, transcript) for secret in self.secrets)

    def match(self, purpose: Purpose, proofs: Sequence[bytes], transcript: bytes) -> bytes | None:
        """The newest of our secrets that one of ``proofs`` was made with; None: of none."""
        found = None
        for secret in reversed(self.secrets):
            # All are compared whatever is found: how long it takes tells nothing.
            for proof in proofs[:SECRETS_MAX]:
                if is_proof(secret, purpose, proof, transcript):
                    found = secret
        return found


def prove(secret: bytes, purpose: Purpose, transcript: bytes) -> bytes:
    """The proof over ``transcript``."""
    return hmac.digest(secret, purpose.value + b"\0" + transcript, "sha256")


def is_proof(secret: bytes, purpose: Purpose, proof: bytes, transcript: bytes) -> bool:
    """Whether ``proof`` is that; compared in constant time."""
    return hmac.compare_digest(prove(secret, purpose, transcript), proof)
