"""Requests about the properties of buckets: told from memory, changed by a document.

A change is answered when its document is on this node's disk; other nodes hear of it by gossip.
"""

from __future__ import annotations

from sadik_machine import RequestId
from sadik_members import DocumentsChanged, Publish
from sadik_vnode.buckets import BadProperties
from sadik_vnode.desk import Desk
from sadik_vnode.requests import (
    BucketList,
    BucketReset,
    BucketResult,
    BucketSet,
    BucketShow,
    BucketsResult,
    Refusal,
    Refused,
)

__all__ = ["BucketRequests"]


class BucketRequests:
    """Answers them for one node."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._changes: list[tuple[str, int, RequestId]] = []

    def show(self, request_id: RequestId, request: BucketShow) -> None:
        """The properties of one bucket."""
        self._desk.outbox.reply(request_id, self._desk.buckets.result(request.bucket))

    def list_all(self, request_id: RequestId, _request: BucketList) -> None:
        """All buckets whose properties are not the defaults."""
        self._desk.outbox.reply(request_id, BucketsResult(self._desk.buckets.all()))

    def set(self, request_id: RequestId, request: BucketSet) -> None:
        """Change some properties."""
        buckets = self._desk.buckets
        try:
            properties = buckets.changed(request.bucket, request.changes)
        except BadProperties as error:
            self._desk.outbox.reply(request_id, Refused(Refusal.BAD_PROPERTIES, str(error)))
            return
        self._publish(request_id, request.bucket, BucketResult(request.bucket, properties, 0))

    def reset(self, request_id: RequestId, request: BucketReset) -> None:
        """Go back to the defaults."""
        self._publish(request_id, request.bucket, None)

    def _publish(self, request_id: RequestId, bucket: str, result: BucketResult | None) -> None:
        """Spread a change; the client is answered when it is on disk here."""
        desk = self._desk
        properties = None if result is None else result.properties
        document = desk.buckets.document(bucket, properties, desk.clock.tick(desk.now))
        self._changes.append((bucket, document.stamp, request_id))
        desk.outbox.announce(Publish(document))

    def documents_changed(self, news: DocumentsChanged) -> None:
        """Documents are on disk: some may be about buckets, and waited for."""
        desk = self._desk
        for document in news.documents:
            bucket = desk.buckets.adopt(document)
            if bucket is None:
                continue
            waiting = []
            for change in self._changes:
                if change[0] == bucket and change[1] <= document.stamp:
                    desk.outbox.reply(change[2], desk.buckets.result(bucket))
                else:
                    waiting.append(change)
            self._changes = waiting
