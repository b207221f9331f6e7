"""What the clients' listener serves where operators have their own, and what it says otherwise."""

from __future__ import annotations

import json

import pytest

from node_fakes import site
from sadik_node.http.elsewhere import Elsewhere
from sadik_node.http.routes import CONSOLE_FILES, ROUTES, Needs
from sadik_node.http.server import LOOPBACK

THERE = Elsewhere("http://127.0.0.1:7072", is_loopback=True)
FOR_CLIENTS = {
    "/v1/kv/{bucket}/{key}",
    "/v1/kv/{bucket}",
    "/v1/batch",
    "/v1/buckets",
    "/v1/buckets/{bucket}",
    "/v1/members",
    "/v1/ring",
    "/healthz",
    "/readyz",
    "/v1/openapi.json",
}


async def test_clients_get_data_and_where_to_find_them_and_nothing_else() -> None:
    assert {route.template for route in ROUTES if route.for_clients} == FOR_CLIENTS
    async with site(elsewhere=THERE) as here:
        for route in (*ROUTES, *CONSOLE_FILES):
            wire = await here.connect()
            path = route.template.replace("{bucket}", "b").replace("{key}", "k")
            path = path.replace("{name}/{action}", "n2/leave")
            line = f"{route.method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            got = await wire.ask(line.encode())
            assert (got.status == 421) is not route.for_clients, route
            if got.status == 421:
                told = json.loads(got.body)
                assert told["operators"] == THERE.url
                assert told["detail"].startswith(f"{path} is served at")
        assert not any(
            type(each).__name__ in ("Explain", "Hints", "Repair") for each in here.engine.seen
        )


def test_what_an_operator_must_show_is_nothing_that_clients_are_served() -> None:
    # Of these a client's listener would be an operator's: each has to be thought about.
    assert not [each for each in ROUTES if each.needs is Needs.OPERATOR and each.for_clients]


@pytest.mark.parametrize(
    ("is_loopback", "address", "is_known", "is_told"),
    [
        (True, LOOPBACK, True, True),
        (True, "192.0.2.1", True, False),  # it would mean another machine to them
        (False, "192.0.2.1", True, True),
        (False, LOOPBACK, True, True),
        (True, LOOPBACK, False, False),
        (False, "192.0.2.1", False, False),
    ],
)
def test_the_place_is_told_to_who_can_use_it(
    is_loopback: bool, address: str, is_known: bool, is_told: bool
) -> None:
    there = Elsewhere("https://operators.example:7072", is_loopback=is_loopback)
    answer = there.misdirected("/metrics", address, is_known=is_known)
    told = json.loads(answer.body)
    assert (answer.status, answer.reason) == (421, "listener")
    assert (told.get("operators") == there.url) is is_told
    assert (there.url in told["detail"]) is is_told
