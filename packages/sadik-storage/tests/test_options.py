"""Options: what is accepted is accepted, and every refusal says what would be."""

from __future__ import annotations

import pytest

from sadik_storage import StoreOptionsError
from sadik_storage.options import Option, parse

ACCEPTED = (
    Option("cache_bytes", 1_000, "how much to cache", minimum=10, maximum=5_000),
    Option("readahead", True, "whether to read ahead"),
    Option("compression", "none", "the compressor"),
    Option("files", 3, "how many files", maximum=9),
)


def test_what_is_not_given_has_its_default() -> None:
    assert parse("mine", ACCEPTED, {}) == {
        "cache_bytes": 1_000,
        "readahead": True,
        "compression": "none",
        "files": 3,
    }
    given = {"cache_bytes": 5_000, "readahead": False, "compression": "lz4", "files": -1}
    assert parse("mine", ACCEPTED, given) == given


def test_an_unknown_option_is_told_what_there_is() -> None:
    with pytest.raises(
        StoreOptionsError,
        match=r"'mine' has no option 'cache'; it accepts: cache_bytes, compression, files, reada",
    ):
        parse("mine", ACCEPTED, {"cache": 1})
    with pytest.raises(StoreOptionsError, match="it accepts: none"):
        parse("mine", (), {"cache": 1})


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("cache_bytes", "1000", "an integer of at least 10 and at most 5000"),
        ("cache_bytes", True, "an integer"),
        ("cache_bytes", 10.0, "an integer"),
        ("cache_bytes", 9, "at least 10"),
        ("cache_bytes", 5_001, "at most 5000"),
        ("files", 10, "an integer of at most 9"),
        ("readahead", 1, "true or false"),
        ("compression", None, "a string"),
    ],
)
def test_a_wrong_value_is_told_what_is_accepted(name: str, value: object, accepted: str) -> None:
    with pytest.raises(StoreOptionsError) as caught:
        parse("mine", ACCEPTED, {name: value})
    assert repr(name) in str(caught.value)
    assert repr(value) in str(caught.value)
    assert accepted in str(caught.value)
