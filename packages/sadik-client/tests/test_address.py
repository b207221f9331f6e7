"""URLs of nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_client import Address, InvalidRequestError, decode_percent, encode_key


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:7070", "http://127.0.0.1:7070"),
        ("http://127.0.0.1:7070/", "http://127.0.0.1:7070"),
        ("HTTPS://n1.example:80", "https://n1.example:80"),
        ("n1.example:80", "http://n1.example:80"),
        ("n1.example", "http://n1.example:7070"),
        ("http://[::1]:7080", "http://[::1]:7080"),
        ("[::1]", "http://[::1]:7070"),
    ],
)
def test_a_node_is_named_by_its_url(text: str, url: str) -> None:
    assert Address.parse(text).url == url


@pytest.mark.parametrize(
    "text", ["", "http://", "ftp://n1", "http://n1:x", "http://n1:0", "http://n1:70700",
             "http://n1/v1", "http://n1?x=1", "http://user@n1:1", "n1\n", "a b", "::1"],
)  # fmt: skip
def test_what_is_no_node_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="http://host:port"):
        Address.parse(text)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Address.parse("http://me:s3cret@n1:7070")
    assert "s3cret" not in str(caught.value)


@given(st.binary(max_size=50))
def test_keys_survive_their_encoding(key: bytes) -> None:
    encoded = encode_key(key)
    assert decode_percent(encoded) == key
    assert encoded.isascii()
    assert not set(encoded) & set(' ?#&+"<>%\x00\x7f') - {"%"}
