"""Batches over HTTP: every line answered in order, bounds kept, keys in order."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import trio

from node_fakes import OWN_ID, TALLY, Site, Wire, site, version
from sadik_node.http.limits import HttpLimits
from sadik_vnode.requests import (
    Delete,
    Found,
    Get,
    Missing,
    Outcome,
    Put,
    Refusal,
    Refused,
    Unavailable,
    Written,
)


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def line(op: str, key: str, value: bytes | None = None, **more: object) -> bytes:
    document: dict[str, object] = {"op": op, "bucket": "b", "key": key, **more}
    if value is not None:
        document["value_b64"] = b64(value)
    return json.dumps(document).encode() + b"\n"


def post(body: bytes, *fields: str, query: str = "") -> bytes:
    head = [f"POST /v1/batch{query} HTTP/1.1", "Host: localhost", *fields]
    head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


async def batch(wire: Wire, *lines: bytes, query: str = "") -> list[dict[str, Any]]:
    got = await wire.ask(post(b"".join(lines), query=query))
    assert got.status == 200, got
    assert got.fields["content-type"] == "application/x-ndjson"
    results = [json.loads(each) for each in got.body.splitlines()]
    assert len(results) == len([each for each in lines if each.strip()])
    assert all(each["title"] for each in results)
    return results


async def test_lines_are_answered_in_order_and_keys_are_written_in_order() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            results = await batch(
                wire,
                line("put", "a", b"1"), line("get", "a"), line("put", "a", b"2"),
                line("get", "a"), line("get", "none"), line("put", "%00/x", b""),
                line("get", "%00%2Fx"),
            )  # fmt: skip
    assert [each["status"] for each in results] == [204, 200, 204, 200, 404, 204, 200]
    assert [each.get("value_b64") for each in results] == [
        None, b64(b"1"), None, b64(b"2"), None, None, "",
    ]  # fmt: skip
    assert results[0]["context"] == results[1]["context"] == "context"
    assert results[0]["etag"] == results[1]["etag"] == '"etag"'
    assert results[1]["last_modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    of_a = [type(seen) for seen in here.engine.seen if seen.key == b"a"]
    assert of_a == [Put, Get, Put, Get]


async def test_the_query_and_the_fields_of_a_line_reach_the_engine() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            body = (
                line("put", "a", b"v", context="tok", content_type="a/b", meta={"Author": " Zoë "},
                     ttl_seconds=9)
                + line("get", "b", context="seen") + line("delete", "c", context="old")
            )  # fmt: skip
            query = "?r=one&w=all&pr=1&pw=2&dw=3&sloppy=false&timeout=60000"
            got = await wire.ask(post(body, "Sadik-Request-Id: mine", query=query))
            assert got.status == 200
            assert got.fields["sadik-request-id"] == "mine"
    delete, get, put = here.engine.seen
    for seen in (put, get, delete):
        assert 0 < seen.timeout_ns <= 60_000_000_000
        assert (seen.sloppy, seen.trace) == (False, "mine")
        seen.timeout_ns = 1
    assert put == Put("b", b"a", b"v", 1, "a/b", (("author", "Zoë"),), "tok", "all", 2, 3, False,
                      "mine", None, 9)  # fmt: skip
    assert get == Get("b", b"b", 1, "one", 1, False, "mine", "seen")
    assert delete == Delete("b", b"c", 1, "old", "one", "all", 2, 3, False, "mine")


BAD_LINES = [
    (b"junk\n", "not JSON"),
    (b"[1]\n", "JSON object"),
    (b'{"op": "get", "bucket": "b"}\n', '"key"'),
    (b'{"op": "get", "bucket": "b", "key": 7}\n', '"key"'),
    (b'{"op": "get", "bucket": "b", "key": ""}\n', "1 to 400"),
    (b'{"op": "get", "bucket": "b", "key": "%zz"}\n', "hexadecimal"),
    (b'{"op": "get", "bucket": "b/c", "key": "k"}\n', "bucket"),
    (b'{"op": "get", "bucket": "b", "key": "\\ud800"}\n', "surrogate"),
    (b'{"op": "get", "bucket": "b", "key": "k", "key": "l"}\n', "twice"),
    (b'{"op": "swap", "bucket": "b", "key": "k"}\n', '"op"'),
    (b'{"op": ["get"], "bucket": "b", "key": "k"}\n', '"op"'),
    (b'{"op": "get", "bucket": "b", "key": "k", "contxet": "t"}\n', "contxet"),
    (b'{"op": "get", "bucket": "b", "key": "k", "value_b64": ""}\n', "value_b64"),
    (b'{"op": "get", "bucket": "b", "key": "\xff"}\n', "UTF-8"),
    (b'{"op": "get", "bucket": "b", "key": "k", "context": NaN}\n', "NaN"),
    (b'{"op": "get", "bucket": "b", "key": "k", "context": 1}\n', "context"),
    (b'{"op": "get", "bucket": "b", "key": "k", "context": "' + b"c" * 12289 + b'"}\n', "12288"),
    (line("put", "k"), "value_b64"),
    (line("put", "k", value_b64="YQ"), "base64"),
    (line("put", "k", value_b64="YQ==x"), "base64"),
    (line("put", "k", value_b64="Zoë="), "base64"),
    (line("put", "k", b"", ttl_seconds=True), "ttl_seconds"),
    (line("put", "k", b"", ttl_seconds=0), "ttl_seconds"),
    (line("put", "k", b"", content_type="a\r\nX: y"), "content_type"),
    (line("put", "k", b"", meta={"a b": "c"}), "meta"),
    (line("put", "k", b"", meta={"a": "c\r\nX: y"}), "meta"),
    (line("put", "k", b"", meta={"a": "b", "A": "c"}), "meta"),
    (line("put", "k", b"", meta={"a": "b" * 8192}), "8192"),
    (b'{"op": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "flat"),
    (b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"\n", "flat"),
]


@pytest.mark.parametrize(("bad", "words"), BAD_LINES, ids=range(len(BAD_LINES)))
async def test_a_malformed_line_is_refused_and_the_others_go_on(bad: bytes, words: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            first, wrong, last = await batch(wire, line("put", "k", b"1"), bad, line("get", "k"))
    assert (first["status"], wrong["status"], last["status"]) == (204, 400, 200)
    assert words in wrong["detail"]
    assert here.metrics.batch_operations["get", "ok"] == 1
    assert here.metrics.requests["batch", "ok"] == 1


async def test_brackets_within_strings_do_not_nest() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            (result,) = await batch(wire, line("put", "k", b"", meta={"a": '[{\\"' * 200}))
    assert result["status"] == 204
    assert here.engine.seen[0].meta == (("a", '[{\\"' * 200),)


async def test_a_batch_that_is_none_is_refused_whole() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            assert (await wire.ask(post(line("get", "k") * 1001))).status == 413
            assert (await wire.ask(post(b"\n" * 1001))).status == 413
            assert (await wire.ask(post(b'[{"op": "get"}]'))).status == 400
            assert (await wire.ask(post(b"", "Content-Type: text/csv"))).status == 415
            assert (await wire.ask(post(b"", "Content-Encoding: gzip"))).status == 415
            assert (await wire.ask(post(b"", query="?resolve=latest"))).status == 400
            got = await wire.ask(b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert got.status == 411
            got = await wire.ask(b"GET /v1/batch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (got.status, got.fields["allow"]) == (405, "POST")
            assert await batch(wire) == []
            assert await batch(wire, b"\n", b" \r\n", line("get", "k")) != []
            other = await here.connect()
            await other.send(
                b"POST /v1/batch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16777217\r\n\r\n"
            )
            assert (await other.answer()).status == 413
    assert [type(seen) for seen in here.engine.seen] == [Get]


async def test_errors_and_siblings_are_said_on_their_lines() -> None:
    async with site() as here:
        here.engine.answers[Put] = Unavailable(Outcome.INDETERMINATE, "late", TALLY)
        here.engine.answers[Delete] = Refused(Refusal.CONTEXT_REQUIRED, "bring one")
        here.engine.answers[Get] = lambda asked: (
            Missing("gone", TALLY, OWN_ID) if asked.key == b"gone"
            else Found([version(b"\xff"), version(b"y")], "both", "e2", TALLY, OWN_ID, 2)
        )  # fmt: skip
        with trio.fail_after(10):
            wire = await here.connect()
            put, delete, gone, both = await batch(
                wire, line("put", "a", b""), line("delete", "b"), line("get", "gone"),
                line("get", "c"),
            )  # fmt: skip
    assert (put["status"], put["outcome"], put["got"]) == (504, "indeterminate", 2)
    assert (delete["status"], delete["detail"]) == (428, "bring one")
    assert (gone["status"], gone["context"]) == (404, "gone")
    assert (both["status"], both["context"]) == (300, "both")
    assert [each["value_b64"] for each in both["siblings"]] == [b64(b"\xff"), b64(b"y")]


async def until(here: Site, count: int) -> None:
    while len(here.engine.seen) < count:
        await trio.lowlevel.checkpoint()
    for _ in range(5):
        await trio.lowlevel.checkpoint()


async def test_the_window_bounds_what_is_under_way_and_a_client_that_goes_ends_it() -> None:
    async with site(HttpLimits(batch_window=4)) as here:
        here.engine.silent.add(Get)
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(post(b"".join(line("get", f"{n % 6}") for n in range(100))))
            await until(here, 4)
            assert [seen.key for seen in here.engine.seen] == [b"0", b"1", b"2", b"3"]
            assert here.host.requests_open == 1, "gets that begin together are one request"
            assert here.server.traffic.held_bytes > 0
            wire.reset()
            while here.host.requests_open:
                await trio.lowlevel.checkpoint()
            assert here.server.traffic.held_bytes == 0
    assert len(here.engine.seen) == 4
    assert here.metrics.requests["batch", "cancelled"] == 1


async def test_values_and_results_are_bounded_in_bytes() -> None:
    limits = HttpLimits(batch_window=8, batch_window_bytes=1000, batch_answer_bytes=10_000)
    async with site(limits) as here:
        here.engine.silent.add(Put)
        with trio.fail_after(10):
            wire = await here.connect()
            await wire.send(post(b"".join(line("put", f"{n}", b"v" * 300) for n in range(9))))
            await until(here, 3)
            assert len(here.engine.seen) == 3, "1200 bytes of base64 stand beside the bound"
            here.engine.silent.clear()
            here.engine.answers[Get] = Found([version(b"v" * 900)], "c", "e", TALLY, OWN_ID)
            other = await here.connect()
            results = await batch(other, *[line("get", f"{n}") for n in range(20)])
    # The first window is begun before anybody knows how large values are.
    assert [each["status"] for each in results] == [200] * 8 + [503] * 12
    assert results[-1]["outcome"] == "not_applied"
    assert "another batch" in results[-1]["detail"]


async def test_what_is_not_begun_in_time_is_not_applied() -> None:
    async with site(HttpLimits(batch_window=1)) as here:
        late = [0]

        def answer(_: Put) -> Written:
            late[0] = 10**9
            return Written("c", "e", TALLY, OWN_ID)

        here.engine.answers[Put] = answer
        clock_ns = here.service.clock_ns
        here.service.clock_ns = lambda: clock_ns() + late[0]
        with trio.fail_after(10):
            wire = await here.connect()
            first, *others = await batch(
                wire, line("put", "a", b""), line("put", "a", b""), line("put", "b", b""),
                query="?timeout=1000",
            )  # fmt: skip
    assert first["status"] == 204
    assert [each["status"] for each in others] == [503, 503]
    assert [each["outcome"] for each in others] == ["not_applied"] * 2
    assert len(here.engine.seen) == 1


async def test_a_node_at_its_bound_says_so_on_each_line() -> None:
    async with site(HttpLimits(batch_window=2)) as here:
        with trio.fail_after(10):
            wire = await here.connect()

            def fill(_: Put) -> Written:
                here.view.not_ready = "it lost its cluster"
                return Written("c", "e", TALLY, OWN_ID)

            here.engine.answers[Put] = fill
            results = await batch(wire, *[line("put", f"{n}", b"") for n in range(5)])
            assert [each["status"] for each in results] == [204, 204, 503, 503, 503]
            assert all(each["outcome"] == "not_applied" for each in results[2:])
            assert (await wire.ask(post(line("get", "k")))).status == 503, "refused whole"
