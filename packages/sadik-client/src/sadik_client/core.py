"""The client without I/O: every operation as a generator of actions.

The shells give these operations their names once more, perform the actions, and add nothing.
What an operation needs beyond one request is here: resolving siblings, sessions, pages.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from sadik_client.actions import Resolve, Resolved, Steps
from sadik_client.calls import (
    BatchGet,
    BatchOperation,
    Call,
    batch_body,
    delete_call,
    get_call,
    put_call,
)
from sadik_client.encoding import (
    bucket_path,
    check_bucket,
    encode_query,
    key_bytes,
    list_path,
    object_path,
)
from sadik_client.errors import BrokenAnswerError, InvalidRequestError, error_of
from sadik_client.http1 import field_line
from sadik_client.nodes import Nodes
from sadik_client.requester import Requester
from sadik_client.response import Response
from sadik_client.results import (
    DELETE,
    BatchResult,
    Content,
    Deleted,
    Entry,
    Head,
    Page,
    Resolution,
    Resolver,
    Version,
    Written,
    read_batch,
    read_deleted,
    read_entry,
    read_head,
    read_page,
    read_written,
)
from sadik_client.router import Router
from sadik_client.session import SessionMemory
from sadik_client.settings import Secret, Settings

__all__ = ["ClientCore"]

_JSON = field_line("Content-Type", "application/json")
_NDJSON = field_line("Content-Type", "application/x-ndjson")


class ClientCore:
    """One client's state and operations. Only one operation is stepped at a time."""

    def __init__(
        self,
        urls: Sequence[str],
        settings: Settings,
        token: Secret | None,
        resolver: Resolver | None,
        source: random.Random,
    ) -> None:
        """Start with these nodes; nothing is connected yet.

        Raises:
            InvalidRequestError: a URL or a setting is wrong.
        """
        self.settings = settings.check()
        idle_ns = int(settings.idle_s * 1e9)
        self.nodes = Nodes(urls, token, settings.connections_max, idle_ns)
        router = Router(int(settings.ring_age_s * 1e9))
        self.requester = Requester(self.nodes, router, settings, source)
        self._resolver = resolver

    def close(self) -> None:
        """Close the idle connections; those in use close with their requests."""
        self.nodes.close()

    # Objects.

    def get(
        self,
        bucket: str,
        key: bytes | str,
        *,
        resolver: Resolver | None = None,
        **options: Any,
    ) -> Steps[Entry]:
        """See the shells."""
        call = get_call(bucket, key, **options)
        response = yield from self._ask(call, 200, 300, 304, 404)
        entry = read_entry(response, bucket, call.key)
        resolver = resolver or self._resolver
        if resolver is None or len(entry.versions) < 2:
            return entry
        event = yield Resolve(resolver, entry)
        assert isinstance(event.outcome, Resolved)
        return (yield from self._write_resolution(entry, event.outcome.resolution, call.timeout_s))

    def _write_resolution(
        self, entry: Entry, resolution: Resolution, timeout_s: float | None
    ) -> Steps[Entry]:
        bucket, key, context = entry.bucket, entry.key, entry.context
        if resolution is DELETE:
            call = delete_call(bucket, key, context=context, timeout_s=timeout_s)
            deleted = read_deleted((yield from self._ask(call, 204, 200, 404)))
            return entry._replace(
                versions=(), context=deleted.context or context, etag=None, node=deleted.node
            )
        content = _content_of(resolution)
        call = put_call(
            bucket, key, content.value, context=context, content_type=content.content_type,
            meta=content.meta, ttl_s=content.ttl_s, timeout_s=timeout_s,
        )  # fmt: skip
        response = yield from self._ask(call, 200, 204)
        written = read_written(response, bucket, key)
        assert call.body is not None
        version = Version(
            call.body, content.content_type or "application/octet-stream",
            dict(content.meta or {}), written.etag, None, content.ttl_s,
        )  # fmt: skip
        return entry._replace(
            versions=(version,), context=written.context, etag=written.etag, node=written.node
        )

    def head(self, bucket: str, key: bytes | str, **options: Any) -> Steps[Head]:
        """See the shells."""
        response = yield from self._ask(
            get_call(bucket, key, method="HEAD", **options), 200, 300, 404
        )
        return read_head(response)

    def put(
        self, bucket: str, key: bytes | str, value: bytes | str, **options: Any
    ) -> Steps[Written]:
        """See the shells."""
        call = put_call(bucket, key, value, **options)
        return read_written((yield from self._ask(call, 200, 204, 300)), bucket, call.key)

    def delete(self, bucket: str, key: bytes | str, **options: Any) -> Steps[Deleted]:
        """See the shells."""
        call = delete_call(bucket, key, **options)
        return read_deleted((yield from self._ask(call, 200, 204, 404)))

    def batch(
        self,
        operations: Sequence[BatchOperation],
        *,
        repeat_indeterminate: bool = False,
        timeout_s: float | None = None,
    ) -> Steps[list[BatchResult]]:
        """See the shells."""
        call = Call(
            "POST", "/v1/batch", _NDJSON, batch_body(operations),
            is_read=all(isinstance(each, BatchGet) for each in operations), takes_long=True,
            repeat_indeterminate=repeat_indeterminate, timeout_s=timeout_s,
        )  # fmt: skip
        return read_batch((yield from self._ask(call, 200)), len(operations))

    def list_page(
        self,
        bucket: str,
        *,
        prefix: bytes | str | None = None,
        after: str | bytes | None = None,
        limit: int | None = None,
        timeout_s: float | None = None,
    ) -> Steps[Page]:
        """See the shells."""
        query = encode_query(
            (("prefix", prefix), ("after", after), ("limit", None if limit is None else str(limit)))
        )
        call = Call("GET", list_path(bucket) + query, timeout_s=timeout_s)
        return read_page((yield from self._ask(call, 200)))

    # Sessions.

    def new_session(self) -> SessionMemory:
        """See the shells."""
        return SessionMemory(self.settings.session_keys_max, self.settings.session_bytes_max)

    def session_get(
        self, memory: SessionMemory, bucket: str, key: bytes | str, **options: Any
    ) -> Steps[Entry]:
        """See the shells."""
        if "latest" in options:
            raise TypeError("a session reads all siblings: see sadik_client.session")
        raw = key_bytes(key)
        context = memory.begin(bucket, raw)
        told: str | None = None
        try:
            entry = yield from self.get(bucket, raw, context=context, **options)
            told = entry.context
        finally:
            memory.end(bucket, raw, told)
        return entry

    def session_put(
        self, memory: SessionMemory, bucket: str, key: bytes | str, value: bytes | str,
        **options: Any,
    ) -> Steps[Written]:  # fmt: skip
        """See the shells."""
        raw = key_bytes(key)
        context = memory.begin(bucket, raw)
        told: str | None = None
        try:
            written = yield from self.put(bucket, raw, value, context=context, **options)
            told = written.context
        finally:
            memory.end(bucket, raw, told)
        return written

    def session_delete(
        self, memory: SessionMemory, bucket: str, key: bytes | str, **options: Any
    ) -> Steps[Deleted]:
        """See the shells."""
        raw = key_bytes(key)
        context = memory.begin(bucket, raw)
        told: str | None = None
        try:
            deleted = yield from self.delete(bucket, raw, context=context, **options)
            told = deleted.context
        finally:
            memory.end(bucket, raw, told)
        return deleted

    def learn(self, timeout_s: float | None = None) -> Steps[None]:
        """See the shells."""
        yield from self.requester.learn_members(timeout_s)

    # Buckets and views.

    def get_bucket(self, bucket: str) -> Steps[dict[str, Any]]:
        """See the shells."""
        return (yield from self._document(Call("GET", bucket_path(bucket))))

    def set_bucket(self, bucket: str, properties: Mapping[str, Any]) -> Steps[dict[str, Any]]:
        """See the shells."""
        body = json.dumps(dict(properties)).encode()
        # Setting the same again changes nothing more, but may undo what another has set since.
        return (
            yield from self._document(Call("PUT", bucket_path(bucket), _JSON, body, is_read=False))
        )

    def reset_bucket(self, bucket: str) -> Steps[None]:
        """See the shells."""
        yield from self._ask(Call("DELETE", bucket_path(bucket), is_read=False), 200, 204)

    def list_buckets(self) -> Steps[list[dict[str, Any]]]:
        """See the shells."""
        found = yield from self._document(Call("GET", "/v1/buckets"))
        buckets = found.get("buckets")
        return [each for each in buckets if isinstance(each, dict)] if buckets else []

    def view(self, name: str) -> Steps[dict[str, Any]]:
        """See the shells."""
        return (yield from self._document(Call("GET", f"/v1/{name}")))

    def explain(self, bucket: str, key: bytes | str) -> Steps[dict[str, Any]]:
        """See the shells."""
        path = object_path(check_bucket(bucket), key_bytes(key), view="explain")
        return (yield from self._document(Call("GET", path)))

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> Steps[Response]:
        """See the shells."""
        if not method.isalpha() or not target.startswith("/") or not target.isascii() or (
            any(character <= " " or character == "\x7f" for character in target)
        ):  # fmt: skip
            raise InvalidRequestError("a request has a method, and a target that is a path")
        fields = b"".join([field_line(name, value) for name, value in (headers or {}).items()])
        call = Call(
            method,
            target,
            fields,
            body,
            is_read=method in ("GET", "HEAD"),
            takes_long=True,
            timeout_s=timeout_s,
        )
        return (yield from self.requester.send(call))

    def _ask(self, call: Call, *expected: int) -> Steps[Response]:
        response = yield from self.requester.send(call)
        if response.status not in expected:
            raise error_of(response, is_read=call.is_read)
        return response

    def _document(self, call: Call) -> Steps[dict[str, Any]]:
        response = yield from self._ask(call, 200)
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise BrokenAnswerError(response.url, "it answered no JSON object")
        return found


def _content_of(resolution: Resolution) -> Content:
    match resolution:
        case bytes():
            return Content(resolution)
        case str():
            return Content(resolution, "text/plain; charset=utf-8")
        case Content():
            return resolution
        case Version(value=value, content_type=content_type, meta=meta, ttl_s=ttl_s):
            # What is left of its time, and not a time to live anew.
            return Content(value, content_type, meta, None if ttl_s is None else max(ttl_s, 1))
        case _:
            # None most of all: a function that forgot to return must not delete a key.
            raise TypeError(
                "a resolver returns bytes, str, Content, one of the versions, or DELETE; not "
                f"{type(resolution).__name__}"
            )
