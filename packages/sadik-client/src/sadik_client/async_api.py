"""The operations of the async clients: the names of `sadik_client.blocking`, to be awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Self, TypeVar, Unpack

from sadik_client.actions import Steps
from sadik_client.calls import BatchOperation
from sadik_client.core import ClientCore
from sadik_client.encoding import key_bytes
from sadik_client.options import (
    DeleteOptions,
    GetOptions,
    HeadOptions,
    PutOptions,
    SessionDeleteOptions,
    SessionGetOptions,
    SessionPutOptions,
)
from sadik_client.response import Response
from sadik_client.results import BatchResult, Deleted, Entry, Head, Page, Written

__all__ = ["AsyncClient", "Session"]

_T = TypeVar("_T")


class AsyncClient:
    """What `sadik_client.asyncio.Client` and `sadik_client.trio.Client` share.

    It may be used by any number of tasks of one event loop. A cancelled request closes its
    connection; a cancelled write may have been applied.
    """

    _core: ClientCore

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections. Requests under way in other tasks go on."""
        self._core.close()

    async def learn(self, *, timeout_s: float | None = None) -> None:
        """See `sadik_client.blocking.Client.learn`."""
        await self._run(self._core.learn(timeout_s))

    @property
    def urls(self) -> list[str]:
        """The nodes that the client knows by now."""
        return self._core.nodes.urls

    # Objects.

    async def get(self, bucket: str, key: bytes | str, **options: Unpack[GetOptions]) -> Entry:
        """See `sadik_client.blocking.Client.get`. The resolver is called, not awaited."""
        return await self._run(self._core.get(bucket, key, **options))

    async def head(self, bucket: str, key: bytes | str, **options: Unpack[HeadOptions]) -> Head:
        """See `sadik_client.blocking.Client.head`."""
        return await self._run(self._core.head(bucket, key, **options))

    async def put(
        self, bucket: str, key: bytes | str, value: bytes | str, **options: Unpack[PutOptions]
    ) -> Written:
        """See `sadik_client.blocking.Client.put`."""
        return await self._run(self._core.put(bucket, key, value, **options))

    async def delete(
        self, bucket: str, key: bytes | str, **options: Unpack[DeleteOptions]
    ) -> Deleted:
        """See `sadik_client.blocking.Client.delete`."""
        return await self._run(self._core.delete(bucket, key, **options))

    async def batch(
        self,
        operations: Sequence[BatchOperation],
        *,
        repeat_indeterminate: bool = False,
        timeout_s: float | None = None,
    ) -> list[BatchResult]:
        """See `sadik_client.blocking.Client.batch`."""
        return await self._run(
            self._core.batch(
                operations, repeat_indeterminate=repeat_indeterminate, timeout_s=timeout_s
            )
        )

    async def list_keys(
        self, bucket: str, *, prefix: bytes | str | None = None
    ) -> AsyncIterator[bytes]:
        """See `sadik_client.blocking.Client.list_keys`; for ``async for``."""
        after: str | None = None
        while True:
            page = await self.list_page(bucket, prefix=prefix, after=after)
            for key in page.keys:
                yield key
            after = page.next
            if after is None:
                return

    async def list_page(
        self,
        bucket: str,
        *,
        prefix: bytes | str | None = None,
        after: bytes | str | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> Page:
        """See `sadik_client.blocking.Client.list_page`."""
        return await self._run(
            self._core.list_page(
                bucket, prefix=prefix, after=after, limit=limit, timeout_s=timeout_s
            )
        )

    def session(self) -> Session:
        """See `sadik_client.blocking.Client.session`."""
        return Session(self)

    # Buckets and views.

    async def get_bucket(self, bucket: str) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.get_bucket`."""
        return await self._run(self._core.get_bucket(bucket))

    async def set_bucket(self, bucket: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.set_bucket`."""
        return await self._run(self._core.set_bucket(bucket, properties))

    async def reset_bucket(self, bucket: str) -> None:
        """See `sadik_client.blocking.Client.reset_bucket`."""
        await self._run(self._core.reset_bucket(bucket))

    async def list_buckets(self) -> list[dict[str, Any]]:
        """See `sadik_client.blocking.Client.list_buckets`."""
        return await self._run(self._core.list_buckets())

    async def members(self) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.members`."""
        return await self._run(self._core.view("members"))

    async def ring(self) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.ring`."""
        return await self._run(self._core.view("ring"))

    async def status(self) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.status`."""
        return await self._run(self._core.view("status"))

    async def hints(self) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.hints`."""
        return await self._run(self._core.view("hints"))

    async def transfers(self) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.transfers`."""
        return await self._run(self._core.view("transfers"))

    async def explain(self, bucket: str, key: bytes | str) -> dict[str, Any]:
        """See `sadik_client.blocking.Client.explain`."""
        return await self._run(self._core.explain(bucket, key))

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Response:
        """See `sadik_client.blocking.Client.request`."""
        return await self._run(
            self._core.request(method, target, headers=headers, body=body, timeout_s=timeout_s)
        )

    async def _run(self, steps: Steps[_T]) -> _T:
        raise NotImplementedError


class Session:
    """See `sadik_client.blocking.Session`."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._memory = client._core.new_session()

    @property
    def forgotten(self) -> int:
        """Keys that were given up for want of room."""
        return self._memory.forgotten

    async def get(
        self, bucket: str, key: bytes | str, **options: Unpack[SessionGetOptions]
    ) -> Entry:
        """See `sadik_client.blocking.Session.get`."""
        core = self._client._core
        return await self._client._run(core.session_get(self._memory, bucket, key, **options))

    async def put(
        self,
        bucket: str,
        key: bytes | str,
        value: bytes | str,
        **options: Unpack[SessionPutOptions],
    ) -> Written:
        """See `sadik_client.blocking.Session.put`."""
        core = self._client._core
        return await self._client._run(
            core.session_put(self._memory, bucket, key, value, **options)
        )

    async def delete(
        self, bucket: str, key: bytes | str, **options: Unpack[SessionDeleteOptions]
    ) -> Deleted:
        """See `sadik_client.blocking.Session.delete`."""
        core = self._client._core
        return await self._client._run(core.session_delete(self._memory, bucket, key, **options))

    def forget(self, bucket: str, key: bytes | str) -> None:
        """See `sadik_client.blocking.Session.forget`."""
        self._memory.forget(bucket, key_bytes(key))
