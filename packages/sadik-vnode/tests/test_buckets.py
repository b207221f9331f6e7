"""Bucket properties: faults are named all at once, and the latest change wins on every node."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_machine import encode_plain
from sadik_members import Document
from sadik_vnode.buckets import TTL_SECONDS_MAX, VALUE_BYTES_MAX, BadProperties, Buckets
from sadik_vnode.requests import BucketProperties

NAMES = [field.name for field in attrs.fields(BucketProperties)]

COUNTS = st.sampled_from(["one", "quorum", "all", 1, 2, 3])
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "r": COUNTS,
        "w": COUNTS,
        "pr": COUNTS | st.just(0),
        "pw": COUNTS | st.just(0),
        "dw": COUNTS | st.just(0),
        "conflict": st.just("siblings"),
        "blind_writes": st.sampled_from(["replace", "sibling", "refuse"]),
        "ttl_seconds": st.none() | st.integers(1, TTL_SECONDS_MAX),
        "value_bytes": st.none() | st.integers(1, VALUE_BYTES_MAX),
    },
)


def test_a_bucket_without_properties_has_the_defaults_of_the_contract() -> None:
    properties = Buckets().get("b")
    assert (properties.r, properties.w) == ("quorum", "quorum")
    assert (properties.pr, properties.pw, properties.dw) == (0, 0, 0)
    assert (properties.conflict, properties.blind_writes) == ("siblings", "replace")
    assert (properties.ttl_seconds, properties.value_bytes) == (None, None)


@given(PROPERTIES, PROPERTIES)
def test_changes_are_merged_and_spread_to_other_nodes(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    here, there = Buckets(), Buckets()
    for changes in (first, second):
        document = here.document("b", here.changed("b", changes), 5)
        assert here.adopt(document) == "b"
        assert there.adopt(document) == "b"
    expected = attrs.evolve(BucketProperties(), **{**first, **second})
    assert here.get("b") == there.get("b") == expected
    assert there.result("b").n == 3
    assert [result.bucket for result in there.all()] == ["b"]
    assert there.get("other") == BucketProperties()


def test_changing_gives_the_new_properties_and_changes_nothing_here_yet() -> None:
    buckets = Buckets()
    assert buckets.changed("b", {"w": "all"}).w == "all"
    assert buckets.get("b").w == "quorum"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("r", "w") for value in (0, 4, -1, "two", None, True, 1.0)],
        *[(name, value) for name in ("pr", "pw", "dw") for value in (4, -1, "", False, [1])],
        ("conflict", "cas"),
        ("conflict", None),
        ("blind_writes", "merge"),
        ("blind_writes", None),
        ("blind_writes", {}),
        *[("ttl_seconds", value) for value in (0, -1, 1.5, True, "60", TTL_SECONDS_MAX + 1)],
        ("value_bytes", 0),
        ("value_bytes", VALUE_BYTES_MAX + 1),
        ("value_bytes", 1.5),
        ("value_bytes", True),
        ("value_bytes", "1"),
        ("n", 3),
        ("colour", "red"),
    ],
)
def test_a_wrong_property_is_named(name: str, value: Any) -> None:
    with pytest.raises(BadProperties, match=f"^{name}: "):
        Buckets().changed("b", {name: value})


def test_what_the_last_writer_hides_is_not_kept_as_a_sibling() -> None:
    buckets = Buckets()
    assert buckets.changed("b", {"conflict": "lww"}).conflict == "lww"
    with pytest.raises(BadProperties, match=r"^blind_writes: "):
        buckets.changed("b", {"conflict": "lww", "blind_writes": "sibling"})


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(BadProperties) as error:
        Buckets().changed("b", {"r": 9, "w": 2, "colour": 1, "value_bytes": 0})
    faults = [part.partition(":")[0] for part in str(error.value).split("; ")]
    assert [name for name in faults if name != "accepted"] == ["r", "colour", "value_bytes"]


def test_a_number_up_to_the_replicas_of_the_cluster_is_accepted() -> None:
    assert Buckets(5).changed("b", {"w": 5}).w == 5
    with pytest.raises(BadProperties):
        Buckets(5).changed("b", {"w": 6})


def test_a_reset_gives_the_defaults_again_everywhere() -> None:
    here, there = Buckets(), Buckets()
    for document in (
        here.document("b", here.changed("b", {"w": "all"}), 5),
        here.document("b", None, 6),
    ):
        here.adopt(document)
        there.adopt(document)
    assert there.get("b") == BucketProperties()
    assert there.all() == []


def test_a_change_has_a_later_stamp_than_what_was_seen_even_with_a_clock_behind() -> None:
    buckets = Buckets()
    buckets.adopt(buckets.document("b", BucketProperties(), 1000))
    assert buckets.document("b", None, 7).stamp == 1001
    assert buckets.document("other", None, 7).stamp == 7
    assert buckets.document("b", None, 2000).stamp == 2000


def test_what_is_not_about_a_bucket_is_left_alone() -> None:
    buckets = Buckets()
    assert buckets.adopt(Document("schema/b", 1, encode_plain({"w": "all"}))) is None
    assert buckets.all() == []


def test_properties_that_a_newer_version_added_are_ignored() -> None:
    buckets = Buckets()
    assert buckets.adopt(Document("bucket/b", 1, encode_plain({"w": "all", "colour": 1}))) == "b"
    assert buckets.get("b") == attrs.evolve(BucketProperties(), w="all")


def test_properties_that_a_newer_version_left_out_have_their_defaults() -> None:
    buckets = Buckets()
    buckets.adopt(Document("bucket/b", 1, encode_plain({})))
    assert buckets.get("b") == BucketProperties()


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    st.binary(max_size=40)
    | PLAIN.map(encode_plain)
    | st.dictionaries(st.sampled_from(NAMES), PLAIN, max_size=3).map(encode_plain)
)
def test_a_document_that_cannot_be_read_leaves_the_bucket_as_it_was(body: bytes) -> None:
    buckets = Buckets()
    buckets.adopt(Document("bucket/b", 1, encode_plain({"w": "all", "value_bytes": 77})))
    assert buckets.adopt(Document("bucket/b", 2, body)) == "b"
    properties = buckets.get("b")
    # Whatever it has become, it is something that a client could have asked for.
    Buckets(1 << 16).changed("b", attrs.asdict(properties))
