"""Entity tags: equal dots, equal tags, on every node; other dots, other tags."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import Dot
from sadik_vnode.etag import etag_of

ACTORS = st.binary(min_size=1, max_size=12)
DOT_SETS = st.lists(st.tuples(ACTORS, st.integers(1, (1 << 63) - 1)), max_size=6, unique=True)


@given(DOT_SETS)
def test_the_order_of_arrival_does_not_matter(dots: list[Dot]) -> None:
    shuffled = sorted(dots, key=lambda dot: dot[::-1])
    assert etag_of(dots) == etag_of(shuffled) == etag_of(iter(dots))
    assert etag_of(dict.fromkeys(dots)) == etag_of(dots)


@given(DOT_SETS, DOT_SETS)
def test_other_dots_have_another_tag(one: list[Dot], other: list[Dot]) -> None:
    assert (etag_of(one) == etag_of(other)) == (sorted(one) == sorted(other))


@given(DOT_SETS)
def test_a_tag_is_thirty_two_digits(dots: list[Dot]) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", etag_of(dots))


def test_where_an_actor_ends_and_its_counter_begins_makes_another_tag() -> None:
    shifted = int.from_bytes(b"\x01" + bytes(7), "big")
    assert etag_of([(b"a\x01", 256)]) != etag_of([(b"a", shifted)])


def test_a_tag_never_changes_between_releases() -> None:
    assert etag_of([]) == "af1349b9f5f9a1a6a0404dea36dcc949"
    assert etag_of([(b"a", 1), (b"b", 2)]) == "64c29f81840446c5bcc34970e55941e4"
