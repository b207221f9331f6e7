"""Objects over HTTP as the contract has them: names, values, parameters, headers, statuses."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from http_checks import check_problem, list_keys, object_path
from raw_http import ask_raw
from real_cluster import Answer, RealCluster, RealNode, eventually

MIB = 2**20
ACKS = re.compile(r"needed=\d+, got=\d+, durable=\d+, primaries=\d+, hinted=\d+")
REPLIES = re.compile(r"needed=\d+, got=\d+, primaries=\d+")


@pytest.fixture
def node(shared: RealCluster) -> RealNode:
    return shared.nodes[0]


def put(node: RealNode, path: str, value: bytes = b"v", **headers: str) -> Answer:
    """A PUT that must be acknowledged. Underscores in header names stand for dashes."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    answer = node.ask("PUT", path, value, sent)
    assert answer.status == 204, answer
    return answer


# Names

GOOD_BUCKETS = ["b", "A-Z.a_z-0.9", "x" * 64, ".", "..", "-", "%62ucket"]
BAD_BUCKETS = ["x" * 65, "a%20b", "a~b", "a%2Fb", "%C3%A4", "a+b", "%00", "", "b%", "b%4"]


@pytest.mark.parametrize("bucket", GOOD_BUCKETS)
def test_a_bucket_has_1_to_64_plain_characters(shared: RealCluster, bucket: str) -> None:
    put(shared.nodes[0], f"/v1/kv/{bucket}/key", bucket.encode())
    assert shared.nodes[1].ask("GET", f"/v1/kv/{bucket}/key").body == bucket.encode()
    assert shared.nodes[2].ask("GET", f"/v1/kv/{bucket}").status == 200


@pytest.mark.parametrize("bucket", BAD_BUCKETS)
def test_any_other_bucket_is_refused(node: RealNode, bucket: str) -> None:
    for method, path in [
        ("GET", f"/v1/kv/{bucket}/key"),
        ("PUT", f"/v1/kv/{bucket}/key"),
        ("DELETE", f"/v1/kv/{bucket}/key"),
        ("GET", f"/v1/kv/{bucket}"),
        ("GET", f"/v1/buckets/{bucket}"),
        ("GET", f"/v1/explain/{bucket}/key"),
    ]:
        check_problem(node.ask(method, path, b"v" if method == "PUT" else None), 400)


def test_every_byte_may_stand_in_a_key(shared: RealCluster) -> None:
    keys = [bytes([number]) for number in range(256)]
    keys += [bytes(range(256)), bytes(reversed(range(256))), b"\0" * 400, b"\xff" * 400]
    for number, key in enumerate(keys):
        put(shared.nodes[number % 3], object_path("bytes", key), b"value of " + key)
    for number, key in enumerate(keys):
        answer = shared.nodes[(number + 1) % 3].ask("GET", object_path("bytes", key))
        assert (answer.status, answer.body) == (200, b"value of " + key), key
    assert list_keys(shared.nodes[0], "bytes") == (sorted(keys), None)


def test_paths_are_never_normalised(node: RealNode) -> None:
    written = ["a", "a/", "/a", "//a", "a/b", "a//b", "./a", "../a", "a/..", ".", "..", "a/./b",
               "a%20b", "a+b", "%25", "%2541", "a;b", "a:b@c", "~a"]  # fmt: skip
    for key in written:
        put(node, f"/v1/kv/paths/{key}", key.encode())
    for key in written:
        assert node.ask("GET", f"/v1/kv/paths/{key}").body == key.encode()
    assert len(list_keys(node, "paths")[0]) == len(written)


def test_an_encoded_and_a_bare_character_are_the_same_key(node: RealNode) -> None:
    put(node, "/v1/kv/same/a/b~c")
    for spelling in ("a%2Fb~c", "a%2fb%7ec", "%61/b%7Ec"):
        assert node.ask("GET", f"/v1/kv/same/{spelling}").status == 200, spelling


@pytest.mark.parametrize("key", ["%", "a%", "%4", "%4g", "%zz", "a%%41", "%u0041"])
def test_a_malformed_percent_is_refused(node: RealNode, key: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = b"v" if method == "PUT" else None
        check_problem(node.ask(method, f"/v1/kv/percent/{key}", body), 400)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_key_has_1_to_400_bytes(node: RealNode, method: str) -> None:
    body = b"v" if method == "PUT" else None
    most = object_path("lengths", b"\x80" * 400)
    put(node, most)
    assert node.ask(method, most, body).status in (200, 204)
    said = check_problem(node.ask(method, object_path("lengths", b"\x80" * 401), body), 400)
    assert "400" in said["detail"]
    check_problem(node.ask(method, "/v1/kv/lengths/", body), 400)


# Values


@pytest.mark.parametrize("size", [0, 1, 65_537, 4 * MIB])
def test_a_value_comes_back_as_it_was(shared: RealCluster, size: int) -> None:
    value = bytes(range(256)) * (size // 256) + b"\r\n\0\xff"[: size % 256]
    put(shared.nodes[0], f"/v1/kv/values/{size}", value)
    for each in shared.nodes:
        answer = each.ask("GET", f"/v1/kv/values/{size}")
        assert (answer.status, answer.body) == (200, value)
        assert answer.headers["content-length"] == str(len(value))


def test_a_value_above_the_limit_is_refused(node: RealNode) -> None:
    said = check_problem(node.ask("PUT", "/v1/kv/values/over", bytes(4 * MIB + 1)), 413)
    assert str(4 * MIB) in said["detail"]
    check_problem(node.ask("PUT", "/v1/kv/values/over", bytes(6 * MIB)), 413)
    assert node.ask("GET", "/v1/kv/values/over").status == 404


def test_a_put_without_a_length_is_refused(node: RealNode) -> None:
    request = b"PUT /v1/kv/values/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
    check_problem(ask_raw(node, request), 411)


# Parameters

GOOD_READS = ["r=1", "r=2", "r=3", "r=one", "r=quorum", "r=all", "pr=0", "pr=1", "pr=3",
              "pr=quorum", "pr=all", "sloppy=true", "sloppy=false", "timeout=60000",
              "r=2&pr=1&sloppy=false&timeout=4000"]  # fmt: skip
GOOD_WRITES = ["w=1", "w=2", "w=3", "w=one", "w=quorum", "w=all", "pw=0", "pw=3", "pw=all", "dw=0",
               "dw=1", "dw=3", "dw=quorum", "sloppy=false", "timeout=60000",
               "w=2&pw=1&dw=2&sloppy=true&timeout=4000"]  # fmt: skip
BAD_PARAMETERS = ["r=0", "r=4", "r=-1", "r=+1", "r=1.5", "r=", "r", "r=none", "r=ONE", "r=1&r=2",
                  "r=%zz", "r=99999999999999999999", "r=%D9%A1", "pr=-1", "pr=4", "pr=x",
                  "timeout=0", "timeout=60001", "timeout=-5", "timeout=soon", "timeout=1e3",
                  "timeout=", "sloppy=1", "sloppy=True", "sloppy=", "sloppy=no", "R=1", "rr=1",
                  "unknown=1", "=1", "%72%00=1"]  # fmt: skip
BAD_WRITES = ["w=0", "w=4", "w=-1", "w=", "w=x", "w=1&w=1", "pw=4", "pw=-1", "pw=x", "dw=4",
              "dw=-1", "dw=x", "timeout=0", "sloppy=maybe", "unknown=1"]  # fmt: skip


@pytest.mark.parametrize("query", GOOD_READS)
def test_a_read_takes_what_the_contract_lists(node: RealNode, query: str) -> None:
    put(node, "/v1/kv/parameters/read")
    for method in ("GET", "HEAD"):
        assert node.ask(method, f"/v1/kv/parameters/read?{query}").status == 200


@pytest.mark.parametrize("query", GOOD_WRITES)
def test_a_write_takes_what_the_contract_lists(node: RealNode, query: str) -> None:
    put(node, f"/v1/kv/parameters/write?{query}")
    assert node.ask("DELETE", f"/v1/kv/parameters/write?{query}").status == 204


@pytest.mark.parametrize("query", BAD_PARAMETERS)
def test_a_read_with_a_bad_parameter_is_refused(node: RealNode, query: str) -> None:
    check_problem(node.ask("GET", f"/v1/kv/parameters/bad?{query}"), 400)
    assert node.ask("HEAD", f"/v1/kv/parameters/bad?{query}").status == 400


@pytest.mark.parametrize("query", BAD_WRITES)
def test_a_write_with_a_bad_parameter_changes_nothing(node: RealNode, query: str) -> None:
    put(node, "/v1/kv/parameters/kept", b"kept")
    check_problem(node.ask("PUT", f"/v1/kv/parameters/kept?{query}", b"new"), 400)
    check_problem(node.ask("DELETE", f"/v1/kv/parameters/kept?{query}"), 400)
    assert node.ask("GET", "/v1/kv/parameters/kept").body == b"kept"


# Headers


def test_content_type_is_stored_with_the_value(shared: RealCluster) -> None:
    put(shared.nodes[0], "/v1/kv/types/said", b"<p>", Content_Type="text/html; charset=utf-8")
    put(shared.nodes[0], "/v1/kv/types/unsaid", b"...")
    for node in shared.nodes:
        for method in ("GET", "HEAD"):
            said = node.ask(method, "/v1/kv/types/said")
            assert said.headers["content-type"] == "text/html; charset=utf-8"
            unsaid = node.ask(method, "/v1/kv/types/unsaid")
            assert unsaid.headers["content-type"] == "application/octet-stream"


def test_meta_fields_are_stored_and_replaced_with_the_value(shared: RealCluster) -> None:
    put(shared.nodes[0], "/v1/kv/meta/key", b"1", Sadik_Meta_Colour="dark blue", SADIK_META_N="7")
    for node in shared.nodes:
        headers = node.ask("GET", "/v1/kv/meta/key").headers
        assert (headers["sadik-meta-colour"], headers["sadik-meta-n"]) == ("dark blue", "7")
    put(shared.nodes[1], "/v1/kv/meta/key", b"2", Sadik_Meta_Other="")
    headers = shared.nodes[2].ask("GET", "/v1/kv/meta/key").headers
    assert {name for name in headers if name.startswith("sadik-meta-")} == {"sadik-meta-other"}


def test_meta_fields_have_8_kib_in_all(node: RealNode) -> None:
    def fields(size: int) -> dict[str, str]:
        names = [f"Sadik-Meta-{number}" for number in range(4)]
        share = size // 4
        return {name: "x" * (share - len(name)) for name in names}

    most = fields(8192)
    assert sum(len(name) + len(text) for name, text in most.items()) == 8192
    assert node.ask("PUT", "/v1/kv/meta/most", b"", most).status == 204
    headers = node.ask("GET", "/v1/kv/meta/most").headers
    assert all(headers[name.lower()] == text for name, text in most.items())
    check_problem(node.ask("PUT", "/v1/kv/meta/over", b"", fields(8192 + 512)), 400, 431)
    assert node.ask("GET", "/v1/kv/meta/over").status == 404


def test_last_modified_is_when_it_was_written(node: RealNode) -> None:
    put(node, "/v1/kv/dates/key")
    told = parsedate_to_datetime(node.ask("GET", "/v1/kv/dates/key").headers["last-modified"])
    assert abs(told - datetime.now(UTC)) < timedelta(seconds=60)


def test_an_etag_names_the_state_on_every_node(shared: RealCluster) -> None:
    first = put(shared.nodes[0], "/v1/kv/etags/key", b"same")
    etag = first.headers["etag"]
    assert re.fullmatch(r'"[^"]+"', etag)
    for node in shared.nodes:
        for method in ("GET", "HEAD"):
            assert node.ask(method, "/v1/kv/etags/key").headers["etag"] == etag
    second = put(shared.nodes[1], "/v1/kv/etags/key", b"same")
    assert second.headers["etag"] != etag
    assert shared.nodes[2].ask("GET", "/v1/kv/etags/key").headers["etag"] == second.headers["etag"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_spares_what_the_client_has(shared: RealCluster, method: str) -> None:
    etag = put(shared.nodes[0], "/v1/kv/etags/cached", b"value").headers["etag"]
    for wanted in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = shared.nodes[1].ask(method, "/v1/kv/etags/cached", None, {"If-None-Match": wanted})
        assert (answer.status, answer.body) == (304, b""), wanted
        assert answer.headers["etag"] == etag
        assert "sadik-context" in answer.headers
    other = shared.nodes[1].ask(method, "/v1/kv/etags/cached", None, {"If-None-Match": '"other"'})
    assert other.status == 200


def test_head_is_get_without_a_body(node: RealNode) -> None:
    put(node, "/v1/kv/heads/key", b"value", Content_Type="text/plain", Sadik_Meta_A="b")
    changing = ("date", "sadik-request-id", "sadik-replies", "sadik-node", "sadik-context")
    for path in ("/v1/kv/heads/key", "/v1/kv/heads/none", "/v1/kv/heads?limit=0", "/v1/kv/heads",
                 "/v1/nothing", "/healthz", "/v1/buckets/heads"):  # fmt: skip
        get, head = node.ask("GET", path), node.ask("HEAD", path)
        assert (head.status, head.body) == (get.status, b""), path
        for name in set(get.headers) - set(changing):
            assert head.headers[name] == get.headers[name], (path, name)


def test_every_answer_tells_who_coordinated_and_how_many_took_part(shared: RealCluster) -> None:
    names = {node.name for node in shared.nodes}
    for node in shared.nodes:
        written = put(node, "/v1/kv/counts/key")
        acks = written.headers["sadik-acks"]
        assert ACKS.fullmatch(acks), acks
        assert acks.startswith("needed=2, got=")
        assert written.headers["sadik-node"] in names
        for method in ("GET", "HEAD"):
            read = node.ask(method, "/v1/kv/counts/key")
            assert REPLIES.fullmatch(read.headers["sadik-replies"]), read
            assert read.headers["sadik-node"] in names
        missing = node.ask("GET", "/v1/kv/counts/none")
        assert REPLIES.fullmatch(missing.headers["sadik-replies"]), missing
        deleted = node.ask("DELETE", "/v1/kv/counts/key")
        assert ACKS.fullmatch(deleted.headers["sadik-acks"]), deleted


def test_acks_count_what_was_asked_for(node: RealNode) -> None:
    acks = put(node, "/v1/kv/counts/all?w=all&dw=all&pw=all").headers["sadik-acks"]
    assert acks == "needed=3, got=3, durable=3, primaries=3, hinted=0"
    replies = node.ask("GET", "/v1/kv/counts/all?r=all&pr=all").headers["sadik-replies"]
    assert replies == "needed=3, got=3, primaries=3"


def test_a_request_id_is_taken_or_made(node: RealNode) -> None:
    given = {"Sadik-Request-Id": "mine-42"}
    for method, body in (("PUT", b"v"), ("GET", None), ("HEAD", None), ("DELETE", None)):
        answer = node.ask(method, "/v1/kv/ids/key", body, given)
        assert answer.headers["sadik-request-id"] == "mine-42", method
    refused = node.ask("GET", "/v1/kv/ids/key?r=0", None, given)
    assert refused.headers["sadik-request-id"] == "mine-42"
    made = [node.ask("GET", "/v1/kv/ids/key").headers["sadik-request-id"] for _ in range(20)]
    assert len(set(made)) == 20
    check_problem(node.ask("GET", "/v1/kv/ids/key", None, {"Sadik-Request-Id": "x" * 3000}), 400)


# Statuses


def test_a_key_that_never_was_is_not_found(node: RealNode) -> None:
    for method in ("GET", "DELETE"):
        check_problem(node.ask(method, "/v1/kv/missing/key"), 404)


def test_a_delete_is_a_204_and_then_a_404(shared: RealCluster) -> None:
    put(shared.nodes[0], "/v1/kv/deletes/key")
    deleted = shared.nodes[1].ask("DELETE", "/v1/kv/deletes/key")
    assert (deleted.status, deleted.body) == (204, b"")
    assert "sadik-context" in deleted.headers
    for node in shared.nodes:
        gone = node.ask("GET", "/v1/kv/deletes/key")
        check_problem(gone, 404)
        assert "sadik-context" in gone.headers, "a deleted key's 404 bears a context"
        check_problem(node.ask("DELETE", "/v1/kv/deletes/key"), 404)
    put(shared.nodes[2], "/v1/kv/deletes/key", b"again")
    assert shared.nodes[0].ask("GET", "/v1/kv/deletes/key").body == b"again"


def test_an_empty_value_is_a_value(node: RealNode) -> None:
    put(node, "/v1/kv/empty/key", b"")
    answer = node.ask("GET", "/v1/kv/empty/key")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/kv/b/key", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PATCH", "/v1/kv/b/key", {"GET", "HEAD", "PUT", "DELETE"}),
        ("OPTIONS", "/v1/kv/b/key", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/v1/kv/b", {"GET", "HEAD"}),
        ("DELETE", "/v1/kv/b", {"GET", "HEAD"}),
        ("POST", "/v1/buckets/b", {"GET", "HEAD", "PUT", "DELETE"}),
        ("PUT", "/v1/members", {"GET", "HEAD"}),
        ("DELETE", "/metrics", {"GET", "HEAD"}),
        ("POST", "/healthz", {"GET", "HEAD"}),
    ],
)
def test_a_method_that_a_resource_lacks_is_answered_with_those_it_has(
    node: RealNode, method: str, path: str, allowed: set[str]
) -> None:
    answer = node.ask(method, path)
    check_problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "path", ["/v1", "/v2/kv/b/k", "/v1/kv", "/nothing", "/v1/members/", "//v1/members", "/V1/ring"]
)
def test_a_path_of_nothing_is_not_found(node: RealNode, path: str) -> None:
    check_problem(node.ask("GET", path), 404)


def test_a_bad_value_of_content_encoding_is_refused(node: RealNode) -> None:
    headers = {"Content-Encoding": "gzip"}
    check_problem(node.ask("PUT", "/v1/kv/encodings/key", b"v", headers), 415)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost.evil.example:7070"}, 421),
        ({"Host": "a b"}, 400),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_web_page_cannot_drive_a_node_on_loopback(
    node: RealNode, headers: dict[str, str], status: int
) -> None:
    check_problem(node.ask("PUT", "/v1/kv/origins/key", b"v", headers), status)
    check_problem(node.ask("GET", "/v1/members", None, headers), status)
    own = {"Origin": node.url}
    put(node, "/v1/kv/origins/own", b"v", **own)


# The console's and the operator's views


def test_health_and_readiness(shared: RealCluster) -> None:
    for node in shared.nodes:
        assert node.ask("GET", "/healthz").status == 200
        assert node.ask("GET", "/readyz").status == 200
        assert node.ask("GET", "/").headers["content-type"].startswith("text/html")


def test_views_have_the_shapes_of_the_contract(shared: RealCluster) -> None:
    names = ["n1", "n2", "n3"]
    for node in shared.nodes:
        members = node.ask("GET", "/v1/members").json()["members"]
        assert sorted(member["name"] for member in members) == names
        for member, peer in zip(members, shared.nodes, strict=True):
            assert member["state"] == "up"
            assert member["http"] == f"127.0.0.1:{peer.http_port}"
            assert member["peer"] == peer.peer
            assert isinstance(member["id"], str)
            assert "zone" in member
        ring = node.ask("GET", "/v1/ring").json()
        assert (ring["partitions"], ring["replicas"]) == (256, 3)
        assert len(ring["owners"]) == 256
        assert all(sorted(owners) == names for owners in ring["owners"])
        assert ring["epoch"] >= 1
        assert node.ask("GET", "/v1/transfers").json()["transfers"] == []
        assert isinstance(node.ask("GET", "/v1/status").json(), dict)
        hints = node.ask("GET", "/v1/hints").json()
        assert {"total", "bytes", "by_node"} <= hints.keys()


def test_the_ring_is_the_same_everywhere(shared: RealCluster) -> None:
    rings = [node.ask("GET", "/v1/ring").json() for node in shared.nodes]
    assert rings[0] == rings[1] == rings[2]
    firsts = [owners[0] for owners in rings[0]["owners"]]
    counts = {name: firsts.count(name) for name in ("n1", "n2", "n3")}
    assert max(counts.values()) <= 256 / 3 / 0.95, counts


def test_explain_tells_what_each_replica_holds(shared: RealCluster) -> None:
    key = b"a/b \xff"
    path = object_path("explained", key)
    put(shared.nodes[0], path + "?w=all", b"12345")
    view = path.replace("/v1/kv/", "/v1/explain/")
    for node in shared.nodes:
        told = node.ask("GET", view).json()
        assert (told["bucket"], told["key"]) == ("explained", "a/b%20%FF")
        assert 0 <= told["partition"] < 256
        assert sorted(told["owners"]) == ["n1", "n2", "n3"]
        assert told["fallbacks"] == []
        assert told["hints"] == []
        assert sorted(replica["node"] for replica in told["replicas"]) == ["n1", "n2", "n3"]
        for replica in told["replicas"]:
            assert replica["state"] == "ok", replica
            assert not replica["behind"], replica
            assert "why" in replica
            [version] = replica["versions"]
            assert (version["bytes"], version["deleted"]) == (5, False)
            assert {"dot", "time"} <= version.keys()
    shared.nodes[1].ask("DELETE", path + "?w=all")
    for replica in shared.nodes[2].ask("GET", view).json()["replicas"]:
        assert [version["deleted"] for version in replica["versions"]] == [True]


def test_hints_are_gone_when_all_are_up(shared: RealCluster) -> None:
    eventually(10, lambda: shared.hints_total() == 0, "no hint waits")
