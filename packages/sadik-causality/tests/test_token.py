"""A token opens for what it was sealed for, exactly; every other text is refused."""

import base64
import string
from typing import Any

import cbor2
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import (
    EMPTY,
    MAX_TOKEN_CHARS,
    Context,
    ContextSealer,
    ContextTooLarge,
    TokenError,
)

KEY = bytes(range(32))
SEALER = ContextSealer(KEY, b"cluster-1")
CONTEXT = Context.from_dots([(b"a", 1), (b"a", 3), (b"b", 300)])
GOLDEN = "ASERl09NX0_tMkZWooIZHcuChEFhAQEBhEFiABkBKwE"
ALPHABET = frozenset(string.ascii_letters + string.digits + "-_")

dots = st.tuples(st.binary(min_size=1, max_size=12), st.integers(1, 2**63 - 1))
contexts = st.frozensets(dots, max_size=12).map(Context.from_dots)


def spell(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def unspell(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


def authentic(content: bytes) -> str:
    """What a faulty node that has the key would seal."""
    return spell(b"\x01" + SEALER._mac("b", b"k", content) + content)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.binary(), contexts)
def test_a_token_opens_as_it_was_sealed(bucket: str, key: bytes, context: Context) -> None:
    token = SEALER.seal(bucket, key, context)
    assert SEALER.open(bucket, key, token) == context
    assert ALPHABET.issuperset(token), "fit for a header and for a URL"
    another_node = ContextSealer(bytes(range(32)), b"cluster-1")
    assert another_node.seal(bucket, key, context) == token
    assert another_node.open(bucket, key, token) == context


def test_tokens_of_released_versions_keep_opening() -> None:
    assert SEALER.seal("bucket", b"key", CONTEXT) == GOLDEN
    assert SEALER.open("bucket", b"key", GOLDEN) == CONTEXT


def test_every_flipped_bit_is_noticed() -> None:
    sealed = unspell(SEALER.seal("b", b"k", CONTEXT))
    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenError):
            SEALER.open("b", b"k", spell(bytes(damaged)))


def test_every_other_character_is_noticed() -> None:
    """Also the spare bits of the last character, which a base64 decoder ignores."""
    for context in (
        EMPTY,
        CONTEXT,
        Context.from_dots([(b"abc", 1)]),
        Context.from_dots([(b"abcd", 1)]),
    ):
        token = SEALER.seal("b", b"k", context)
        for place in range(len(token)):
            for character in "AQgw-_z9+/=. \n\x00é\ud800":
                if character == token[place]:
                    continue
                with pytest.raises(TokenError):
                    SEALER.open("b", b"k", token[:place] + character + token[place + 1 :])


def test_every_cut_and_every_addition_is_noticed() -> None:
    token = SEALER.seal("b", b"k", CONTEXT)
    for length in range(len(token)):
        with pytest.raises(TokenError):
            SEALER.open("b", b"k", token[:length])
    for extra in ("A", "AA", "AAAA", "=", "==", " ", "\n", "*"):
        for other in (token + extra, extra + token):
            with pytest.raises(TokenError):
                SEALER.open("b", b"k", other)


@pytest.mark.parametrize(
    ("sealer", "bucket", "key"),
    [
        (SEALER, "b", b"other"),
        (SEALER, "other", b"k"),
        (SEALER, "bk", b""),
        (SEALER, "", b"bk"),
        (ContextSealer(KEY, b"cluster-2"), "b", b"k"),
        (ContextSealer(KEY, b"cluster-"), "1b", b"k"),
        (ContextSealer(KEY[::-1], b"cluster-1"), "b", b"k"),
    ],
)
def test_a_token_is_good_for_its_own_key_bucket_and_cluster_only(
    sealer: ContextSealer, bucket: str, key: bytes
) -> None:
    token = SEALER.seal("b", b"k", CONTEXT)
    with pytest.raises(TokenError, match="not made for this key by this cluster, or is damaged"):
        sealer.open(bucket, key, token)


@given(st.text() | st.binary().map(spell) | st.binary().map(lambda b: spell(b"\x01" + b)))
def test_what_the_cluster_never_sealed_is_refused(token: str) -> None:
    with pytest.raises(TokenError):
        SEALER.open("b", b"k", token)


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "is empty"),
        ("A", "not base64"),
        ("AQ!!A", "canonical URL-safe base64"),
        ("AQ==", "canonical URL-safe base64"),
        (spell(b"\x02" + bytes(40)), "version"),
        (spell(b"\x01" + bytes(16)), "cut short"),
        ("A" * (MAX_TOKEN_CHARS + 1), "too long: 12289 characters; at most 12288"),
    ],
)
def test_the_refusal_says_what_is_wrong(token: str, why: str) -> None:
    with pytest.raises(TokenError, match=why):
        SEALER.open("b", b"k", token)


def test_a_refusal_tells_nothing_of_the_key() -> None:
    token = SEALER.seal("b", b"secret-name", CONTEXT)
    with pytest.raises(TokenError) as refusal:
        SEALER.open("b", b"another-name", token)
    said = str(refusal.value)
    mac_key = blake3(KEY, derive_key_context="sadik-causality context token v1")
    for secret in (KEY.hex(), "secret-name", "another-name", mac_key.hexdigest()):
        assert secret not in said
    assert KEY.hex() not in repr(SEALER)


def nested(depth: int) -> bytes:
    return b"\x81" * depth + b"\x01"


MALFORMED_CONTENTS: list[Any] = [
    cbor2.dumps(CONTEXT.to_plain()) + b"\x00",
    cbor2.dumps([[b"a", 0]]),
    cbor2.dumps([[b"b", 1], [b"a", 1]]),
    cbor2.dumps("context"),
    b"\x81\x82\x41a\x18\x01",  # the number 1 in two bytes
    b"\x9f\x82\x41a\x01\xff",  # a list of indefinite length
    b"\x81",  # cut short
    nested(9),
    nested(5000),
]


@pytest.mark.parametrize("content", MALFORMED_CONTENTS, ids=lambda content: content[:12].hex())
def test_authentic_nonsense_is_refused_too(content: bytes) -> None:
    with pytest.raises(TokenError, match="malformed"):
        SEALER.open("b", b"k", authentic(content))


def test_nothing_is_decoded_before_it_is_authenticated(monkeypatch: pytest.MonkeyPatch) -> None:
    token = SEALER.seal("b", b"k", CONTEXT)

    def decoded_too_early(*args: object, **kwargs: object) -> object:
        raise AssertionError("decoded before the hash was verified")

    monkeypatch.setattr("sadik_causality.token.cbor2.loads", decoded_too_early)
    with pytest.raises(TokenError):
        SEALER.open("b", b"other", token)


def test_the_longest_token_opens_and_one_longer_is_not_made() -> None:
    """9,199 bytes of content: a head of 3, 612 actors of 15 bytes each, and 16 for the last."""
    many = Context.from_dots((number.to_bytes(12, "big"), 1) for number in range(1, 613))
    fits, fits_not = (many.with_dot((b"\xff" * 11, counter)) for counter in (24, 25))
    assert (fits.encoded_size(), fits_not.encoded_size()) == (9199, 9200)
    token = SEALER.seal("b", b"k", fits)
    assert len(token) == MAX_TOKEN_CHARS
    assert SEALER.open("b", b"k", token) == fits
    with pytest.raises(ContextTooLarge, match="at most 12288 fit"):
        SEALER.seal("b", b"k", fits_not)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_cluster_key_has_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ContextSealer(bytes(length), b"cluster-1")
