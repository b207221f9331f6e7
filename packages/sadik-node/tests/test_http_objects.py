"""Objects, listings, buckets and views over HTTP, as CONTRACT promises them."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote, unquote_to_bytes

import pytest
import trio

from node_fakes import OWN_ID, PEER_ID, TALLY, TIMESTAMP, site, version
from sadik_metrics import CONTENT_TYPE
from sadik_vnode.requests import (
    BucketSet,
    Condition,
    Delete,
    Explain,
    ExplainReplica,
    ExplainResult,
    ExplainVersion,
    Found,
    Get,
    ListKeys,
    ListResult,
    Missing,
    Outcome,
    Put,
    Refusal,
    Refused,
    Tally,
    Unavailable,
    Written,
)


def request(line: str, *fields: str, body: bytes | None = None) -> bytes:
    """A request to this machine."""
    lines = [f"{line} HTTP/1.1", "Host: localhost", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


async def test_conditions_and_a_time_to_live_reach_the_engine() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            fields = ('If-Match: "a", W/"weak", "b"', 'If-None-Match: W/"c", "*"', "Sadik-TTL: 60")
            await wire.ask(request("PUT /v1/kv/b/k", *fields, body=b"v"))
            await wire.ask(request("DELETE /v1/kv/b/k", "If-None-Match:  * "))
            put, delete = here.engine.seen
            assert put.condition == Condition(if_match=("a", "b"), if_none_match=("c",))
            assert put.ttl_s == 60
            assert delete.condition == Condition(if_none_match=("*",))

            refused = Refused(Refusal.PRECONDITION_FAILED, "it has changed")
            here.engine.answers[Put] = refused
            got = await wire.ask(request("PUT /v1/kv/b/k", 'If-Match: "a"', body=b"v"))
            assert got.status == 412
            assert json.loads(got.body)["title"] == "Precondition Failed"
            assert json.loads(got.body)["detail"] == "it has changed"


async def test_a_put_may_answer_with_what_was_written() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            fields = ("Content-Type: text/plain", "Sadik-Meta-A: b", "Sadik-TTL: 60")
            expires_ms = time.time_ns() // 1_000_000 + 59_500
            here.engine.answers[Put] = Written("ctx", "e", TALLY, PEER_ID, TIMESTAMP, expires_ms)
            got = await wire.ask(request("PUT /v1/kv/b/k?return=body", *fields, body=b"v"))
            assert (got.status, got.body) == (200, b"v")
            assert got.fields["content-type"] == "text/plain"
            assert got.fields["sadik-meta-a"] == "b"
            assert got.fields["sadik-context"] == "ctx"
            assert got.fields["etag"] == '"e"'
            assert got.fields["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
            assert got.fields["sadik-ttl"] == "60"
            assert "sadik-acks" in got.fields
            here.engine.answers[Put] = Refused(Refusal.DISK_FULL, "full")
            got = await wire.ask(request("PUT /v1/kv/b/k?return=body", body=b"v"))
            assert got.status == 507


async def test_a_read_may_ask_for_the_latest_and_for_what_its_session_has_seen() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            here.engine.answers[Get] = Found([version(b"v")], "ctx", "e", TALLY, OWN_ID, siblings=3)
            line = "GET /v1/kv/b/k?resolve=latest"
            got = await wire.ask(request(line, "Sadik-Context: token"))
            assert (got.status, got.body) == (200, b"v")
            assert got.fields["sadik-siblings"] == "3"
            (get,) = here.engine.seen
            assert (get.latest, get.at_least) == (True, "token")

            here.engine.answers[Get] = Unavailable(Outcome.INDETERMINATE, "too old", TALLY)
            got = await wire.ask(request("HEAD /v1/kv/b/k", "Sadik-Context: token"))
            assert got.status == 504


async def test_a_read_is_compared_with_its_conditions() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            here.engine.answers[Get] = Found([version(b"v")], "ctx", "e", TALLY, OWN_ID)
            for field, status in (
                ('If-Match: "e"', 200), ('If-Match: "x"', 412), ("If-Match: *", 200),
                ('If-Match: W/"e"', 412), ('If-None-Match: "e"', 304), ('If-None-Match: "x"', 200),
                ("If-None-Match: *", 304), ('If-None-Match: W/"e"', 304),
            ):  # fmt: skip
                got = await wire.ask(request("GET /v1/kv/b/k", field))
                assert got.status == status, field
                assert got.fields["etag"] == '"e"'
            got = await wire.ask(request("GET /v1/kv/b/k", "If-None-Match: e"))
            assert got.status == 400


async def test_what_expires_says_in_how_many_seconds() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            views = [version(b"a"), version(b"b")]
            views[0].expires_ms = time.time_ns() // 1_000_000 + 8_500
            here.engine.answers[Get] = Found(views[:1], "ctx", "e", TALLY, OWN_ID)
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert got.fields["sadik-ttl"] == "9"
            here.engine.answers[Get] = Found(views, "ctx", "e", TALLY, OWN_ID, siblings=2)
            got = await wire.ask(request("GET /v1/kv/b/k"))
            first, second = json.loads(got.body)["siblings"]
            assert first["ttl_seconds"] == 9
            assert "ttl_seconds" not in second


async def test_a_value_comes_back_with_what_was_said_of_it() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request(
                "PUT /v1/kv/photos/2024/a%20b.png?w=all&pw=1&dw=2&sloppy=false&timeout=250",
                "Content-Type: image/png", "Sadik-Meta-Author: Zoë", "Sadik-Meta-B: 1",
                "Sadik-Context: tok", "Sadik-Request-Id: abc", body=b"\x89PNG",
            ))  # fmt: skip
            assert (got.status, got.body) == (204, b"")
            assert got.fields["sadik-context"] == "context"
            assert got.fields["etag"] == '"etag"'
            assert got.fields["sadik-acks"] == "needed=2, got=2, durable=2, primaries=2, hinted=0"
            assert got.fields["sadik-node"] == "n1"
            assert got.fields["sadik-request-id"] == "abc"
            assert "content-length" not in got.fields
            (put,) = here.engine.seen
            assert put == Put(
                "photos", b"2024/a b.png", b"\x89PNG", 250_000_000, "image/png",
                (("author", "Zoë"), ("b", "1")), "tok", "all", 1, 2, False, "abc",
            )  # fmt: skip

            shown = version(b"\x89PNG", content_type="image/png", meta=(("author", "Zoë"),))
            here.engine.answers[Get] = Found([shown], "ctx", "e1", TALLY, PEER_ID)
            got = await wire.ask(request("GET /v1/kv/photos/k?r=one&pr=0"))
            assert (got.status, got.body) == (200, b"\x89PNG")
            assert got.fields["content-type"] == "image/png"
            assert got.fields["sadik-meta-author"].encode("latin-1").decode() == "Zoë"
            assert got.fields["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
            assert got.fields["sadik-context"] == "ctx"
            assert got.fields["etag"] == '"e1"'
            assert got.fields["sadik-replies"] == "needed=2, got=2, primaries=2"
            assert got.fields["sadik-node"] == "n2"
            assert got.fields["sadik-request-id"]

            got = await wire.ask(request("HEAD /v1/kv/photos/k"))
            assert (got.status, got.body, got.fields["content-length"]) == (200, b"", "4")
            got = await wire.ask(request("GET /v1/kv/photos/k", 'If-None-Match: "x", W/"e1"'))
            assert (got.status, got.fields["sadik-context"]) == (304, "ctx")
            got = await wire.ask(request("GET /v1/kv/photos/k", 'If-None-Match: "x"'))
            assert got.status == 200


KEYS = [
    b".", b"..", b"a//b", b"/", b"../../etc/passwd", b"a/", b"%", b"a?b#c", b"\0", b"\xff\xfe",
    "ключ".encode(), b" ", b"+", b"k" * 400, b"a\r\nX: y",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
async def test_any_bytes_are_a_key_and_paths_are_not_normalised(key: bytes) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            for path in (quote(key, safe=""), quote(key, safe="/")):
                value = path.encode()
                got = await wire.ask(request(f"PUT /v1/kv/b/{path}", body=value))
                assert got.status == 204
                assert here.engine.seen[-1].key == key
                assert (await wire.ask(request(f"GET /v1/kv/b/{path}"))).body == value
            got = await wire.ask(request("GET /v1/kv/b"))
            lines = [json.loads(line) for line in got.body.splitlines()]
            assert [unquote_to_bytes(line["key"]) for line in lines[:-1]] == [key]


async def test_siblings_are_a_300_with_all_of_them() -> None:
    async with site() as here:
        with trio.fail_after(10):
            text = version(b"one", etag="a", meta=(("m", "1"),))
            binary = version(b"\xff\x00", etag="b", content_type="image/png")
            here.engine.answers[Get] = Found([text, binary], "ctx", "set", TALLY, OWN_ID)
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert (got.status, got.fields["etag"]) == (300, '"set"')
            assert got.fields["sadik-context"] == "ctx"
            date = "Tue, 14 Nov 2023 22:13:20 GMT"
            assert json.loads(got.body) == {
                "context": "ctx",
                "siblings": [
                    {"value_b64": base64.b64encode(b"one").decode(), "text": "one",
                     "content_type": "application/octet-stream", "meta": {"m": "1"},
                     "etag": '"a"', "last_modified": date},
                    {"value_b64": base64.b64encode(b"\xff\x00").decode(),
                     "content_type": "image/png", "meta": {}, "etag": '"b"',
                     "last_modified": date},
                ],
            }  # fmt: skip
            assert here.metrics.requests["get", "siblings"] == 1
            got = await wire.ask(request("GET /v1/kv/b/k", 'If-None-Match: "set"'))
            assert got.status == 304


async def test_what_is_missing_is_a_404_and_what_was_deleted_has_a_context() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert got.status == 404
            assert "sadik-context" not in got.fields
            assert got.fields["sadik-replies"]
            assert json.loads(got.body)["status"] == 404
            for kind in (Get, Delete):
                here.engine.answers[kind] = Missing("gone", TALLY, OWN_ID)
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert (got.status, got.fields["sadik-context"]) == (404, "gone")
            got = await wire.ask(request("DELETE /v1/kv/b/k?w=1"))
            assert (got.status, got.fields["sadik-context"]) == (404, "gone")
            assert got.fields["sadik-acks"]
            got = await wire.ask(request("HEAD /v1/kv/b/k"))
            assert (got.status, got.body) == (404, b"")


REFUSALS = {
    Refusal.BAD_CONTEXT: 400,
    Refusal.BAD_QUORUM: 400,
    Refusal.NO_PARTITION: 400,
    Refusal.CONTEXT_REQUIRED: 428,
    Refusal.PRECONDITION_FAILED: 412,
    Refusal.TOO_MANY_BUCKETS: 409,
    Refusal.TOO_MANY_SIBLINGS: 409,
    Refusal.VALUE_TOO_LARGE: 413,
    Refusal.DISK_FULL: 507,
    Refusal.OVERLOADED: 503,
    Refusal.BAD_PROPERTIES: 400,
    Refusal.BAD_RECORDS: 400,
    Refusal.NOT_OWNER: 421,
}


def test_every_refusal_has_a_status() -> None:
    assert set(REFUSALS) == set(Refusal)


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_refused_write_says_why(refusal: Refusal) -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.engine.answers[Put] = Refused(refusal, "because")
            wire = await here.connect()
            got = await wire.ask(request("PUT /v1/kv/b/k", body=b"v"))
            assert got.status == REFUSALS[refusal]
            assert got.fields["content-type"] == "application/problem+json"
            assert json.loads(got.body)["detail"] == "because"
            assert ("retry-after" in got.fields) == (got.status == 503)


@pytest.mark.parametrize(("outcome", "status"), [("not_applied", 503), ("indeterminate", 504)])
async def test_an_unmet_quorum_says_what_was_needed_and_got(outcome: str, status: int) -> None:
    async with site() as here:
        with trio.fail_after(10):
            tally = Tally(needed=3, got=1, durable=1, primaries=1, hinted=0)
            here.engine.answers[Put] = Unavailable(Outcome(outcome), "too few", tally, 7)
            wire = await here.connect()
            got = await wire.ask(request("PUT /v1/kv/b/k", body=b"v"))
            assert got.status == status
            document = json.loads(got.body)
            assert document["outcome"] == outcome
            names = ("needed", "got", "durable", "primaries", "hinted")
            assert [document[name] for name in names] == [3, 1, 1, 1, 0]
            assert document["retry"] is (status == 503)
            assert got.fields.get("retry-after") == ("7" if status == 503 else None)
            assert here.metrics.requests["put", outcome] == 1


async def test_a_node_that_is_not_ready_applies_nothing_and_says_why() -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.view.not_ready = "waiting for n2"
            wire = await here.connect()
            assert (await wire.ask(request("GET /healthz"))).status == 200
            got = await wire.ask(request("GET /readyz"))
            assert got.status == 503
            assert "waiting for n2" in json.loads(got.body)["detail"]
            for line in ("GET /v1/kv/b/k", "DELETE /v1/kv/b/k", "GET /v1/kv/b", "GET /v1/buckets"):
                got = await wire.ask(request(line))
                assert (got.status, got.fields["retry-after"]) == (503, "1")
                assert json.loads(got.body)["outcome"] == "not_applied"
            got = await wire.ask(request("PUT /v1/kv/b/k", body=b"v"))
            assert got.status == 503
            assert not here.engine.seen
            here.view.not_ready = ""
            assert (await wire.ask(request("GET /readyz"))).status == 200


async def test_a_listing_is_paged_by_what_it_gave() -> None:
    keys = sorted([b"a", b"a b", b"a/b", b"b%41", b"caf\xc3\xa9", b"~next~x", b"z\0"])
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            for key in keys:
                await wire.ask(request(f"PUT /v1/kv/b/{quote(key)}", body=b"v"))
            # Half of the clients encode what they pass on, half do not.
            for encode in (str, lambda text: quote(text, safe="")):
                seen: list[bytes] = []
                after = ""
                while True:
                    got = await wire.ask(request(f"GET /v1/kv/b?limit=2{after}"))
                    assert got.status == 200
                    *lines, last = [json.loads(line) for line in got.body.splitlines()]
                    seen += [unquote_to_bytes(line["key"]) for line in lines]
                    if last["next"] is None:
                        break
                    after = f"&after={encode(last['next'])}"
                assert seen == keys


async def test_a_listing_asks_what_it_was_asked() -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.engine.answers[ListKeys] = ListResult([], None)
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/kv/b?prefix=a%2Fb+c&after=x%00&limit=10000"))
            assert json.loads(got.body) == {"next": None}
            (asked,) = here.engine.seen
            assert (asked.prefix, asked.after, asked.limit) == (b"a/b c", b"x\0", 10_000)
            await wire.ask(request("GET /v1/kv/b"))
            asked = here.engine.seen[-1]
            assert (asked.prefix, asked.after, asked.limit) == (b"", None, 1000)
            assert (await wire.ask(request("GET /v1/kv/b?after=~next~!"))).status == 400


BAD_PROPERTIES = [
    b"", b"{", b"[]", b"null", b'"r"', b"\xff", b'{"r": 1, "r": 2}', b'{"r": NaN}', b'{"n": 3}',
    b"[" * 60_000, b'{"a":' * 10_000, b'{"r": {"a": {"b": {"c": {}}}}}',
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_PROPERTIES)
async def test_what_is_no_object_of_properties_is_a_400(body: bytes) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request("PUT /v1/buckets/b", body=body))
            assert got.status == 400
            assert not here.engine.seen
            assert (await wire.ask(request("GET /healthz"))).status == 200


async def test_bucket_properties_are_merged_and_shown() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(request("PUT /v1/buckets/b", body=b'{"r": "one", "w": 2}'))
            assert got.status == 200
            shown = json.loads(got.body)
            assert (shown["r"], shown["w"], shown["n"]) == ("one", 2, 3)
            assert {"pr", "pw", "dw", "conflict", "blind_writes", "ttl_seconds",
                    "value_bytes"} <= shown.keys()  # fmt: skip
            assert here.engine.seen == [BucketSet("b", {"r": "one", "w": 2})]
            assert (await wire.ask(request("GET /v1/buckets"))).status == 200
            got = await wire.ask(request("PUT /v1/buckets/b", "Content-Type: text/xml", body=b"{}"))
            assert got.status == 415
            assert (await wire.ask(request("PUT /v1/buckets/b"))).status == 411
            got = await wire.ask(request("PUT /v1/buckets/b", body=b" " * 70_000))
            assert got.status == 413


async def test_explain_names_nodes() -> None:
    async with site() as here:
        with trio.fail_after(10):
            replica = ExplainReplica(
                PEER_ID, is_owner=True, state="behind", behind=True, why="a hint waits",
                versions=[ExplainVersion("ab:1:2", 7, deleted=False, timestamp=TIMESTAMP)],
            )  # fmt: skip
            here.engine.answers[Explain] = ExplainResult(
                5, 2, [OWN_ID], [PEER_ID], [replica], [(OWN_ID, PEER_ID)], writes=4
            )
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/explain/b/a%20b"))
            assert json.loads(got.body) == {
                "bucket": "b", "key": "a%20b", "partition": 5, "epoch": 2, "owners": ["n1"],
                "fallbacks": ["n2"],
                "replicas": [{
                    "node": "n2", "owner": True, "state": "behind", "behind": True,
                    "why": "a hint waits",
                    "versions": [{"dot": "ab:1:2", "bytes": 7, "deleted": False,
                                  "time": "2023-11-14T22:13:20.000Z", "replaced": False}],
                }],
                "hints": [{"on": "n1", "for": "n2"}],
                "writes": 4,
            }  # fmt: skip


async def test_views_show_the_cluster() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = json.loads((await wire.ask(request("GET /v1/members"))).body)
            assert [(m["name"], m["state"]) for m in got["members"]] == [
                ("n1", "up"), ("n2", "suspect"),
            ]  # fmt: skip
            assert got["members"][1]["id"] == PEER_ID.hex()
            assert {"http", "peer", "zone"} <= got["members"][0].keys()
            got = json.loads((await wire.ask(request("GET /v1/ring"))).body)
            assert got == {"epoch": 1, "partitions": 8, "replicas": 2, "owners": [["n1", "n2"]] * 8}
            got = json.loads((await wire.ask(request("GET /v1/hints"))).body)
            assert (got["total"], got["bytes"], got["by_node"]) == (3, 99, {"n2": 3})
            got = json.loads((await wire.ask(request("GET /v1/transfers"))).body)
            assert got == {"transfers": [], "driver": "n2"}
            assert (await wire.ask(request("GET /v1/status"))).status == 200
            page = await wire.ask(request("GET /"))
            assert page.fields["content-type"].startswith("text/html")
            text = await wire.ask(request("GET /metrics"))
            assert text.fields["content-type"] == CONTENT_TYPE
            assert b'sadik_requests_total{op="view",outcome="ok"} 6.0' in text.body


async def test_stored_pages_cannot_act_as_the_console() -> None:
    async with site() as here:
        with trio.fail_after(10):
            page = version(b"<script>", content_type="text/html")
            here.engine.answers[Get] = Found([page], "c", "e", TALLY, OWN_ID)
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert got.fields["content-security-policy"] == "sandbox"
            assert got.fields["x-content-type-options"] == "nosniff"


async def test_what_peers_stored_cannot_split_an_answer() -> None:
    async with site() as here:
        with trio.fail_after(10):
            evil = version(b"v", content_type="a\r\nX: y", meta=(("m", "b\r\nX: y"),))
            here.engine.answers[Get] = Found([evil], "c", "e", TALLY, OWN_ID)
            wire = await here.connect()
            got = await wire.ask(request("GET /v1/kv/b/k"))
            assert (got.status, got.body) == (200, b"v")
            assert "x" not in got.fields


async def test_request_ids_are_taken_or_made_and_logged_with_problems() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            made = [(await wire.ask(request("GET /healthz"))).fields["sadik-request-id"]
                    for _ in range(2)]  # fmt: skip
            assert made[0] != made[1]
            got = await wire.ask(request("GET /healthz", "Sadik-Request-Id: a b"))
            assert got.status == 400
            here.engine.answers[Put] = Written("c", "e", TALLY, OWN_ID)
            secret = b"value never logged"
            got = await wire.ask(
                request("PUT /v1/kv/b/k?x=1", "Sadik-Request-Id: find-me", body=secret)
            )
            assert got.status == 400
            assert got.fields["sadik-request-id"] == "find-me"
            assert "find-me" in here.log.getvalue()
            assert "value never logged" not in here.log.getvalue()
