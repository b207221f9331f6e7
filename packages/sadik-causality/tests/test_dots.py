"""A dot is (actor of 1 to 12 bytes, counter of 1 to 2**63 - 1), and nothing else is."""

import cbor2
import pytest

from sadik_causality import COUNTER_MAX, DotError, dot_from_plain


@pytest.mark.parametrize(
    "dot", [(b"a", 1), (b"\x00", COUNTER_MAX), (b"twelve bytes", 2**32)], ids=repr
)
def test_a_dot_survives_the_encoding(dot: tuple[bytes, int]) -> None:
    assert dot_from_plain(cbor2.loads(cbor2.dumps(dot))) == dot
    assert type(dot_from_plain(list(dot))) is tuple


@pytest.mark.parametrize(
    "plain",
    [
        None,
        b"a1",
        {b"a": 1, b"b": 2},
        [],
        [b"a"],
        [b"a", 1, 1],
        ["a", 1],
        [bytearray(b"a"), 1],
        [b"", 1],
        [b"thirteen byte", 1],
        [b"a", 0],
        [b"a", -1],
        [b"a", COUNTER_MAX + 1],
        [b"a", 1.0],
        [b"a", True],
        [b"a", None],
        [1, b"a"],
    ],
    ids=repr,
)
def test_anything_else_is_refused(plain: object) -> None:
    with pytest.raises(DotError):
        dot_from_plain(plain)
