"""Tokens over HTTP: who is asked, what each scope opens, and what a guess costs."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from node_fakes import Wire, site
from sadik_node.http.routes import ROUTES, Needs
from sadik_node.tokens import Scope, Token, TokenFile, draw
from sadik_vnode.requests import BucketList, BucketProperties, BucketResult, BucketsResult


def drawn(*scopes: str, expires: dt.datetime | None = None) -> tuple[Token, str]:
    return draw("t-" + "-".join(scopes).replace(":", "."), map(Scope.parse, scopes), expires)


async def ask(wire: Wire, method: str, path: str, token: str = "", body: bytes = b"") -> int:
    return (await wire.ask(request(method, path, token, body))).status


def request(
    method: str, path: str, token: str = "", body: bytes = b"", scheme: str = "Bearer"
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if token:
        lines.append(f"Authorization: {scheme} {token}")
    if body or method in ("PUT", "POST"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_who_shows_no_token_is_asked_for_one() -> None:
    entry, text = drawn("read")
    async with site(tokens=TokenFile([entry])) as here:
        wire = await here.connect()
        got = await wire.ask(request("GET", "/v1/kv/b/k"))
        assert got.status == 401
        assert got.fields["www-authenticate"] == 'Bearer realm="sadik"'
        got = await wire.ask(request("GET", "/v1/kv/b/k", "dXNlcjpwYXNz", scheme="Basic"))
        assert got.status == 401
        assert "error" not in got.fields["www-authenticate"]
        got = await wire.ask(
            request("GET", "/v1/kv/b/k", text[:-1] + ("A" if text[-1] != "A" else "B"))
        )
        assert got.status == 401
        assert 'error="invalid_token"' in got.fields["www-authenticate"]
        got = await wire.ask(request("GET", "/v1/kv/b/k", "two words"))
        assert got.status == 400
        assert 'error="invalid_request"' in got.fields["www-authenticate"]
        assert await ask(wire, "GET", "/v1/kv/b/k", text) == 404
        assert here.metrics.rejected["unauthorized"] == 4
        assert not [each for each in here.engine.seen if getattr(each, "key", b"") != b"k"]
        assert len(here.engine.seen) == 1
        assert text not in here.log.getvalue()


async def test_a_second_token_field_is_refused() -> None:
    entry, text = drawn("admin")
    async with site(tokens=TokenFile([entry])) as here:
        wire = await here.connect()
        raw = request("GET", "/v1/kv/b/k", text).replace(
            b"Host:", b"Authorization: Bearer x\r\nHost:"
        )
        assert (await wire.ask(raw)).status == 400


async def test_a_scope_opens_its_action_on_its_buckets_alone() -> None:
    reader, read = drawn("read:logs-")
    writer, write = drawn("write:logs-")
    admin, all_ = drawn("admin")
    local, some = drawn("admin:logs-")
    async with site(tokens=TokenFile([reader, writer, admin, local])) as here:
        wire = await here.connect()
        expected = {
            ("GET", "/v1/kv/logs-1/k"): (404, 403, 404, 404),
            ("GET", "/v1/kv/logs/k"): (403, 403, 404, 403),
            ("GET", "/v1/kv/logs-1"): (200, 403, 200, 200),
            ("GET", "/v1/kv/other"): (403, 403, 200, 403),
            ("PUT", "/v1/kv/logs-1/new"): (403, 204, 204, 204),
            ("PUT", "/v1/kv/other/new"): (403, 403, 204, 403),
            ("DELETE", "/v1/kv/logs-1/new"): (403, 204, 204, 204),
            ("POST", "/v1/repair"): (403, 403, None, 403),
            ("POST", "/v1/restore"): (403, 403, None, 403),
            ("POST", "/v1/members/n2/leave"): (403, 403, None, 403),
            ("GET", "/v1/members"): (200, 200, 200, 200),
            ("GET", "/metrics"): (200, 200, 200, 200),
        }
        for (method, path), statuses in expected.items():
            for token, status in zip((read, write, all_, some), statuses, strict=True):
                if status is not None:
                    assert await ask(wire, method, path, token) == status, (method, path, token)
        got = await wire.ask(request("PUT", "/v1/kv/logs-1/k", read))
        challenge = got.fields["www-authenticate"]
        assert 'error="insufficient_scope"' in challenge
        assert 'scope="write:logs-1"' in challenge


async def test_every_route_but_health_and_the_page_asks() -> None:
    open_routes = {"/healthz", "/readyz", "/v1/openapi.json", "/"}
    assert {each.template for each in ROUTES if each.needs is Needs.NOTHING} == open_routes
    entry, _ = drawn("admin")
    async with site(tokens=TokenFile([entry])) as here:
        for route in ROUTES:
            wire = await here.connect()
            path = route.template.replace("{bucket}", "b").replace("{key}", "k")
            status = await ask(wire, route.method, path.replace("{name}/{action}", "n2/leave"))
            assert (status == 401) is (route.template not in open_routes), route.template


async def test_each_line_of_a_batch_is_judged_by_itself() -> None:
    entry, text = drawn("read:a", "write:b")
    lines = [
        {"op": op, "bucket": bucket, "key": "k", **({"value_b64": "eA=="} if op == "put" else {})}
        for op in ("get", "put", "delete")
        for bucket in ("a", "b")
    ]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    async with site(tokens=TokenFile([entry])) as here:
        wire = await here.connect()
        got = await wire.ask(request("POST", "/v1/batch", text, body))
        statuses = [json.loads(line)["status"] for line in got.body.splitlines()]
        assert statuses == [404, 403, 403, 204, 403, 204]
        assert len(here.engine.seen) == 3


async def test_a_list_of_buckets_shows_what_may_be_read() -> None:
    entry, text = drawn("read:a", "write:b")
    async with site(tokens=TokenFile([entry])) as here:
        here.engine.answers[BucketList] = BucketsResult(
            [BucketResult(name, BucketProperties(), 3) for name in ("a1", "b1", "c1")]
        )
        wire = await here.connect()
        got = await wire.ask(request("GET", "/v1/buckets", text))
        assert [each["bucket"] for each in json.loads(got.body)["buckets"]] == ["a1"]


async def test_a_token_ends_at_its_time_and_by_revocation() -> None:
    now = dt.datetime.now(dt.UTC)
    over, old = drawn("read", expires=now - dt.timedelta(seconds=1))
    good, text = drawn("write", expires=now + dt.timedelta(days=1))
    async with site(tokens=TokenFile([over, good])) as here:
        wire = await here.connect()
        got = await wire.ask(request("GET", "/v1/kv/b/k", old))
        assert got.status == 401
        assert "expired" in got.fields["www-authenticate"]
        assert await ask(wire, "PUT", "/v1/kv/b/k", text) == 204
        here.access.tokens = TokenFile([over])
        assert await ask(wire, "PUT", "/v1/kv/b/k", text) == 401, "on a connection that stood"


async def test_guessing_is_slowed_and_shuts_out_nobody_who_was_right() -> None:
    entry, text = drawn("read")
    late, other = drawn("write")
    _, wrong = drawn("read")
    async with site(tokens=TokenFile([entry, late])) as here:
        assert await ask(await here.connect(), "GET", "/v1/kv/b/k", text) == 404
        statuses = [await ask(await here.connect(), "GET", "/v1/kv/b/k", wrong) for _ in range(15)]
        assert statuses == [401] * 10 + [429] * 5
        got = await (await here.connect()).ask(request("GET", "/v1/kv/b/k", other))
        assert got.status == 429, "not looked at: guessing cannot be told from knowing"
        assert int(got.fields["retry-after"]) in (1, 2)
        assert got.fields["connection"] == "close"
        assert await ask(await here.connect(), "GET", "/v1/kv/b/k", text) == 404
        assert here.metrics.rejected["guessing"] == 6


BAD_FILES = {
    "no toml": "it is not TOML",
    "x = 1": "beside [[token]]",
    "[[token]]\nid = 'x'": "needs a name",
    "[[token]]\nname = 'a'\nid = 'x'": "the token a needs an id",
    "[[token]]\nname = 'a'\nid = '0123456789abcdef'\nsha256 = 'top'": "needs a sha256",
    "[[token]]\nname = 'a'\nsecret = 'x'": "'secret', which is no key",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_file_that_is_wrong_is_refused_with_why(text: str) -> None:
    with pytest.raises(ValueError, match=r"token|TOML") as refusal:
        TokenFile.parse(text.encode())
    assert BAD_FILES[text] in str(refusal.value)


def test_a_file_reads_as_it_was_written() -> None:
    until = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    entries = [drawn("read:a", "write")[0], drawn("admin", expires=until)[0]]
    text = TokenFile(entries).text()
    assert list(TokenFile.parse(text.encode())) == entries
    with pytest.raises(ValueError, match="two tokens have the name"):
        TokenFile.parse((text + entries[0].lines()).encode())


@pytest.mark.parametrize("word", ["", "own", "read:", "read:a/b", "write:" + "x" * 65, "read:é"])
def test_scopes(word: str) -> None:
    if word == "read:":
        assert Scope.parse(word) == Scope.parse("read")
        return
    with pytest.raises(ValueError, match="no scope"):
        Scope.parse(word)
