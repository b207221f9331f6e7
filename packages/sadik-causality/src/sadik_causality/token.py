"""Context tokens: a causal context as an opaque, authenticated text for one key.

A client holds the context of what it has seen and gives it back with its next write. A context
that the cluster did not make could cover versions that no client was shown and erase them, so a
token carries a keyed hash over the cluster, the bucket, the key and the content: one that was
forged, damaged, or made for another key or another cluster is refused before any of its content
is decoded.

A token is URL-safe base64 without padding of: a version byte, 16 bytes of keyed BLAKE3, and the
context in CBOR. It is authenticated, not secret: its holder can read actors and counters.
"""

import binascii
import hmac
from typing import Final

import cbor2
from blake3 import blake3

from sadik_causality.context import Context, ContextError

MAX_TOKEN_CHARS: Final = 12 * 1024
"""The longest token made or taken, in characters."""

_VERSION: Final = b"\x01"
_MAC_BYTES: Final = 16
_HEADER_BYTES: Final = len(_VERSION) + _MAC_BYTES
_KEY_BYTES: Final = 32
# The same cluster key proves other things too; a key of its own keeps one proof from being
# taken for another.
_KEY_PURPOSE: Final = "sadik-causality context token v1"

_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_PLAIN: Final = bytes.maketrans(b"-_", b"+/")

# The heads of short CBOR arrays and byte strings, and small numbers whole, as cbor2 makes them.
_SHORT: Final = 24
_ARRAYS: Final = [bytes([0x80 + n]) for n in range(_SHORT)]
_STRINGS: Final = [bytes([0x40 + n]) for n in range(_SHORT)]
_SMALL: Final = 1024
_NUMBERS: Final = [cbor2.dumps(n) for n in range(_SMALL)]


class TokenError(ValueError):
    """A token is refused; the message says what is wrong, fit to be shown to its sender."""


class ContextTooLarge(ValueError):  # noqa: N818  # it names a limit that was met, not a mistake
    """A context does not fit into a token of `MAX_TOKEN_CHARS` characters."""


class ContextSealer:
    """Makes and opens the context tokens of one cluster.

    ``cluster_key`` is 32 secret bytes that every node of the cluster shares; ``cluster_id`` says
    which cluster it is. Both must be the same on the node that opens as on the one that sealed.
    Raises `ValueError` for a key of another length.
    """

    __slots__ = ("_mac_begun",)

    def __init__(self, cluster_key: bytes, cluster_id: bytes) -> None:
        if len(cluster_key) != _KEY_BYTES:
            raise ValueError(f"a cluster key has {_KEY_BYTES} bytes, not {len(cluster_key)}")
        mac_key = blake3(cluster_key, derive_key_context=_KEY_PURPOSE).digest()
        self._mac_begun = blake3(_VERSION + _framed(cluster_id), key=mac_key)

    def seal(self, bucket: str, key: bytes, context: Context) -> str:
        """A token of ``context`` that `open` takes for this bucket and key only.

        Equal arguments give equal tokens. Raises `ContextTooLarge` beyond `MAX_TOKEN_CHARS`.
        """
        content = _encoded(context)
        chars = _token_chars(len(content))
        if chars > MAX_TOKEN_CHARS:
            raise ContextTooLarge(
                f"the context takes {chars} characters as a token; at most {MAX_TOKEN_CHARS} fit"
            )
        sealed = _VERSION + self._mac(bucket, key, content) + content
        return _text(sealed).decode("ascii")

    def open(self, bucket: str, key: bytes, token: str) -> Context:
        """The context in ``token``, exactly as it was sealed for this bucket and key.

        Raises `TokenError` for every other text. Which of the hashed parts differs is not told,
        and the comparison takes the same time for all.
        """
        sealed = _decoded(token)
        if sealed[:1] != _VERSION:
            raise TokenError("the context is of a version that this node does not know")
        if len(sealed) <= _HEADER_BYTES:
            raise TokenError("the context is malformed: it is cut short")
        content = sealed[_HEADER_BYTES:]
        if not hmac.compare_digest(
            self._mac(bucket, key, content), sealed[len(_VERSION) : _HEADER_BYTES]
        ):
            raise TokenError("the context was not made for this key by this cluster, or is damaged")
        return _context(content)

    def _mac(self, bucket: str, key: bytes, content: bytes) -> bytes:
        mac = self._mac_begun.copy()
        mac.update(_framed(bucket.encode()) + _framed(key) + content)
        return mac.digest(_MAC_BYTES)


def _framed(part: bytes) -> bytes:
    """Length first: no other split of the same bytes into parts gives the same text to hash."""
    return len(part).to_bytes(8, "big") + part


def _token_chars(content_bytes: int) -> int:
    """Characters of unpadded base64 for a token of that much content."""
    return ((_HEADER_BYTES + content_bytes) * 4 + 2) // 3


def _decoded(token: str) -> bytes:
    """The bytes of a token that is the one canonical spelling of them."""
    if not token:
        raise TokenError("the context is empty")
    if len(token) > MAX_TOKEN_CHARS:
        raise TokenError(
            f"the context is too long: {len(token)} characters; at most {MAX_TOKEN_CHARS} are taken"
        )
    try:
        padded = (token + "=" * (-len(token) % 4)).encode("ascii")
        sealed = binascii.a2b_base64(padded.translate(_PLAIN))
    except (binascii.Error, ValueError):
        raise TokenError("the context is malformed: it is not base64") from None
    # The decoder skips characters outside the alphabet and ignores spare bits at the end, so
    # many texts would open as one; only the text that encoding gives is taken.
    if _text(sealed) != token.encode("ascii"):
        raise TokenError("the context is malformed: it is not canonical URL-safe base64")
    return sealed


def _text(sealed: bytes) -> bytes:
    """URL-safe base64 without padding, in one pass over what the plain encoder makes."""
    return binascii.b2a_base64(sealed, newline=False).translate(_URL_SAFE, b"=")


def _encoded(context: Context) -> bytes:
    """The plain form in CBOR; of a context of few actors without many gaps, which nearly all are,
    the same bytes put together in a quarter of the time.
    """
    plain = context.to_plain()
    if max(len(plain), *map(len, plain), 0) >= _SHORT:
        return cbor2.dumps(plain)
    parts = [_ARRAYS[len(plain)]]
    for entry in plain:
        parts.append(_ARRAYS[len(entry)])
        for part in entry:
            if type(part) is bytes:
                parts += (_STRINGS[len(part)], part)
            else:
                assert type(part) is int, "an entry is an actor and counts"
                parts.append(_NUMBERS[part] if part < _SMALL else cbor2.dumps(part))
    return b"".join(parts)


def _context(content: bytes) -> Context:
    """Decode authenticated content: what fails here was sealed by a node that is at fault."""
    try:
        plain = cbor2.loads(
            content,
            max_depth=8,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        context = Context.from_plain(plain)
    except (cbor2.CBORDecodeError, ContextError) as error:
        raise TokenError(f"the context is malformed: {error}") from None
    # The decoder stops after one item; encoding again shows trailing bytes and odd spellings.
    if _encoded(context) != content:
        raise TokenError("the context is malformed: it is not in canonical form")
    return context
