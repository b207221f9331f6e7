"""The console's files: all of them are served, and nothing else."""

from __future__ import annotations

from importlib.resources import files

import pytest
import trio

from node_fakes import site
from sadik_node.http.console import ASSETS

FOLDER = files("sadik_node").joinpath("console")


def test_every_file_is_listed_and_the_other_way_round() -> None:
    there = {each.name for each in FOLDER.iterdir() if each.is_file()}
    there |= {f"vendor/{each.name}" for each in FOLDER.joinpath("vendor").iterdir()}
    assert set(ASSETS) == there - {"index.html"}


@pytest.mark.parametrize("name", ["", *(f"console/{each}" for each in ASSETS)])
async def test_a_file_is_served_and_then_known(name: str) -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            request = f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n".encode()
            got = await wire.ask(request + b"\r\n")
            again = await wire.ask(
                request + b"If-None-Match: " + got.fields["etag"].encode() + b"\r\n\r\n"
            )
    local = name.removeprefix("console/") or "index.html"
    assert (got.status, got.body) == (200, FOLDER.joinpath(*local.split("/")).read_bytes())
    assert got.fields["x-content-type-options"] == "nosniff"
    assert (again.status, again.body) == (304, b"")


async def test_nothing_else_is() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            for path in (b"/console/", b"/console/index.html", b"/console/../node.py"):
                got = await wire.ask(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert got.status == 404
