"""The three shells behind one face, so that a test says once what all of them must do.

A test is an async function that takes a `Shell` and awaits what it does; under the blocking shell
the awaiting never waits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import trio

import sadik_client.asyncio
import sadik_client.blocking
import sadik_client.trio

__all__ = ["SHELLS", "Face", "run_shell"]

SHELLS = {
    "blocking": sadik_client.blocking.Client,
    "asyncio": sadik_client.asyncio.Client,
    "trio": sadik_client.trio.Client,
}


class Face:
    """A client or session whose methods may all be awaited."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.real, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            return await found if inspect.isawaitable(found) else found

        return call

    async def keys(self, bucket: str, **options: Any) -> list[bytes]:
        """All keys of a bucket."""
        found = self.real.list_keys(bucket, **options)
        if hasattr(found, "__aiter__"):
            return [key async for key in found]
        return list(found)

    async def end(self) -> None:
        """Close the client."""
        if hasattr(self.real, "close"):
            self.real.close()
        else:
            await self.real.aclose()


def run_shell(
    name: str, test: Callable[[Face], Awaitable[None]], *arguments: Any, **options: Any
) -> None:
    """Run a test with a client of one shell, in the loop that this shell wants."""

    async def main() -> None:
        face = Face(SHELLS[name](*arguments, **options))
        try:
            await test(face)
        finally:
            await face.end()

    match name:
        case "blocking":
            _run_without_loop(main())
        case "asyncio":
            asyncio.run(main())
        case _:
            trio.run(main)


def _run_without_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("a blocking client awaited something")
