"""Listing a bucket's keys: order, pages, prefixes, bytes that are no text."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, quote_from_bytes

import pytest
from http_checks import check_problem, list_keys, object_path
from real_cluster import RealCluster

KEYS = sorted([
    b"a", b"a/1", b"a/2", b"a0", b"b\0", b"b\0\0", b"b\0\xff", b"b\xff", b"\xc3\xa4", b"%41", b"A",
    b"~next~", b"+", b" ", b"=&?#", b"\xff\xff", b"\0", b'"quoted"\\\n', b"x" * 400,
])  # fmt: skip


@pytest.fixture(scope="module")
def filled(shared: RealCluster) -> RealCluster:
    for number, key in enumerate(KEYS):
        answer = shared.nodes[number % 3].ask("PUT", object_path("listed", key), b"v")
        assert answer.status == 204, answer
    deleted = object_path("listed", b"a/deleted")
    assert shared.nodes[0].ask("PUT", deleted, b"v").status == 204
    assert shared.nodes[1].ask("DELETE", deleted).status == 204
    return shared


def test_keys_come_in_byte_order_and_deleted_ones_do_not(filled: RealCluster) -> None:
    for node in filled.nodes:
        assert list_keys(node, "listed") == (KEYS, None)


def test_a_listing_is_ndjson_with_percent_encoded_keys(filled: RealCluster) -> None:
    answer = filled.nodes[0].ask("GET", "/v1/kv/listed?prefix=b")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.body.endswith(b"\n")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines == [
        {"key": "b%00"},
        {"key": "b%00%00"},
        {"key": "b%00%FF"},
        {"key": "b%FF"},
        {"next": None},
    ]


@pytest.mark.parametrize("limit", [1, 2, 7, len(KEYS) - 1, len(KEYS), 10_000])
@pytest.mark.parametrize("encoded", [False, True], ids=["as it is", "encoded"])
def test_next_leads_from_page_to_page(filled: RealCluster, limit: int, encoded: bool) -> None:
    seen: list[bytes] = []
    after = ""
    for turn in range(len(KEYS) + 1):
        node = filled.nodes[turn % 3]
        keys, following = list_keys(node, "listed", f"?limit={limit}{after}")
        assert len(keys) <= limit
        seen += keys
        if following is None:
            break
        assert len(keys) == limit, "only the last page is shorter"
        after = f"&after={quote(following, safe='') if encoded else following}"
    assert seen == KEYS


@pytest.mark.parametrize("prefix", [b"", b"a", b"a/", b"b\0", b"\xff", b"\0", b"none", b"x" * 400])
def test_a_prefix_is_bytes(filled: RealCluster, prefix: bytes) -> None:
    wanted = [key for key in KEYS if key.startswith(prefix)]
    query = f"?prefix={quote_from_bytes(prefix, safe='')}"
    assert list_keys(filled.nodes[0], "listed", query) == (wanted, None)
    for key in wanted:  # after works together with prefix, and takes a key itself
        rest, _ = list_keys(
            filled.nodes[1], "listed", f"{query}&after={quote_from_bytes(key, safe='')}"
        )
        if not key.startswith(b"~next~"):  # such keys are passed as the token that a page gave
            assert rest == [each for each in wanted if each > key], key


def test_after_may_be_a_key_that_is_not_there(filled: RealCluster) -> None:
    keys, _ = list_keys(filled.nodes[0], "listed", "?after=a/15")
    assert keys == [key for key in KEYS if key > b"a/15"]


def test_a_bucket_of_nothing_lists_nothing(shared: RealCluster) -> None:
    assert list_keys(shared.nodes[0], "never-used") == ([], None)


def test_a_page_has_1000_keys_unless_told_otherwise(shared: RealCluster) -> None:
    node = shared.nodes[0]
    wanted = [b"%04d" % number for number in range(1001)]

    def write(key: bytes) -> int:
        return node.ask("PUT", object_path("many", key), b"").status

    with ThreadPoolExecutor(8) as pool:  # for the nodes to gather what comes together
        assert set(pool.map(write, wanted)) == {204}
    keys, following = list_keys(node, "many")
    assert keys == wanted[:1000]
    assert following is not None
    assert list_keys(node, "many", f"?after={following}") == (wanted[1000:], None)
    assert list_keys(node, "many", "?limit=10000") == (wanted, None)


def test_an_acknowledged_write_is_listed_at_once_on_every_node(shared: RealCluster) -> None:
    for number in range(30):
        key = b"%03d" % number
        writer, reader = shared.nodes[number % 3], shared.nodes[(number + 1) % 3]
        assert writer.ask("PUT", object_path("fresh", key), b"").status == 204
        assert list_keys(reader, "fresh")[0][-1] == key
        assert reader.ask("DELETE", object_path("fresh", key)).status == 204
        assert list_keys(writer, "fresh")[0] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=10001", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "prefix=%zz",
     "after=%4", "unknown=1", "r=1", f"after={'x' * 401}"],
)  # fmt: skip
def test_a_bad_parameter_is_refused(shared: RealCluster, query: str) -> None:
    check_problem(shared.nodes[0].ask("GET", f"/v1/kv/listed?{query}"), 400)
