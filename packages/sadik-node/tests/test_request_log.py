"""Which requests are logged, where, and as what."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import trio

from node_fakes import TALLY, site
from sadik_node.http.answers import Answer
from sadik_node.http.exchange import Exchange
from sadik_node.http.request_log import RequestLog
from sadik_node.log import Log
from sadik_vnode.requests import Get, ListKeys, Outcome, Put, Unavailable

FIELDS = "Host: localhost\r\n"


def get(path: str, *fields: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


async def test_only_a_request_that_its_client_named_is_named_to_other_nodes() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            assert (await wire.ask(get("/v1/kv/b/k"))).fields["sadik-request-id"]
            await wire.ask(get("/v1/kv/b/k", "Sadik-Request-Id: mine"))
            await wire.ask(get("/v1/kv/b", "Sadik-Request-Id: list"))
    traces = [(type(seen), seen.trace) for seen in here.engine.seen]
    assert traces == [(Get, ""), (Get, "mine"), (ListKeys, "list")]
    lines = [line.split()[2:5] for line in here.log.getvalue().splitlines()]
    assert [line[:2] for line in lines] == [
        ["request", "request=mine"],
        ["request", "request=list"],
    ]


async def test_failures_and_refusals_are_logged_whoever_named_them() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            here.engine.answers[Get] = Unavailable(Outcome.NOT_APPLIED, "few are up", TALLY)
            made = (await wire.ask(get("/v1/kv/b/k"))).fields["sadik-request-id"]
            await wire.ask(get("/v1/kv/b/k?r=many", "Sadik-Request-Id: bad"))
    lines = here.log.getvalue().splitlines()
    assert len(lines) == 2
    assert f" request_failed request={made} op=get method=GET target=/v1/kv/b/k " in lines[0]
    assert "status=503 reason=not_applied" in lines[0]
    assert " request_refused request=bad " in lines[1]


async def test_a_named_request_whose_client_goes_is_logged_as_cancelled() -> None:
    async with site() as here:
        with trio.fail_after(10):
            here.engine.silent.add(Put)
            wire = await here.connect()
            await wire.send(
                f"PUT /v1/kv/b/k HTTP/1.1\r\n{FIELDS}Sadik-Request-Id: gone\r\n"
                "Content-Length: 1\r\n\r\nx".encode()
            )
            while not here.engine.seen:
                await trio.lowlevel.checkpoint()
            wire.reset()
            while "request_cancelled request=gone op=put" not in here.log.getvalue():
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("requests", "trace", "status", "ms", "event"),
    [
        ("named", "", 200, 1, None),
        ("named", "", 200, 1001, "request_slow"),
        ("named", "t", 200, 1, "request"),
        ("named", "", 404, 1, None),
        ("named", "", 412, 1, None),
        ("named", "", 409, 1, "request_refused"),
        ("named", "t", 504, 1001, "request_failed"),
        ("none", "", 504, 1001, None),
        ("none", "", 200, 1001, None),
        ("all", "t", 404, 1, "request"),
    ],
)
def test_a_request_gets_one_line_or_none(
    requests: str, trace: str, status: int, ms: int, event: str | None
) -> None:
    stream = io.StringIO()
    log = RequestLog(Log("n1", "json", stream), requests, 1000)
    connection: Any = None
    exchange = Exchange(connection)
    exchange.trace, exchange.method, exchange.target = trace, b"GET", b"/x\x1b"
    log.answered(exchange, Answer(status), ms * 1_000_000)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ([] if event is None else [event])
    assert all(line["ms"] == ms and line["status"] == status for line in lines)
