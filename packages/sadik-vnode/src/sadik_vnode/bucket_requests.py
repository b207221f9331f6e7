"""Requests about the properties of buckets: told from memory, changed by a document.

A change is answered when its document is on this node's disk; other nodes hear of it by gossip.
One whose document is not taken is refused, and one that is not on disk in time is indeterminate:
membership writes it again and again, and it may come into force yet.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from sadik_machine import SECOND, RequestId
from sadik_members import DocumentRefused, DocumentsChanged, Publish
from sadik_vnode.buckets import BadProperties
from sadik_vnode.desk import Conversation, Desk
from sadik_vnode.requests import (
    BucketList,
    BucketReset,
    BucketResult,
    BucketSet,
    BucketShow,
    BucketsResult,
    Outcome,
    Refusal,
    Refused,
    Result,
    Tally,
    Unavailable,
)

__all__ = ["BucketRequests"]


_PATIENCE_NS: Final = 5 * SECOND
_NOBODY: Final = Tally(0, 0, 0, 0, 0)


@frozen
class _Change:
    bucket: str
    stamp: int
    request_id: RequestId
    until: int


class BucketRequests(Conversation):
    """Answers them for one node."""

    __slots__ = ("_changes",)

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self.close()
        self._changes: list[_Change] = []

    def show(self, request_id: RequestId, request: BucketShow) -> None:
        """The properties of one bucket."""
        self.desk.outbox.reply(request_id, self.desk.buckets.result(request.bucket))

    def list_all(self, request_id: RequestId, _request: BucketList) -> None:
        """All buckets whose properties are not the defaults."""
        self.desk.outbox.reply(request_id, BucketsResult(self.desk.buckets.all()))

    def set(self, request_id: RequestId, request: BucketSet) -> None:
        """Change some properties."""
        buckets = self.desk.buckets
        try:
            properties = buckets.changed(request.bucket, request.changes)
        except BadProperties as error:
            self.desk.outbox.reply(request_id, Refused(Refusal.BAD_PROPERTIES, str(error)))
            return
        self._publish(request_id, request.bucket, BucketResult(request.bucket, properties, 0))

    def reset(self, request_id: RequestId, request: BucketReset) -> None:
        """Go back to the defaults."""
        self._publish(request_id, request.bucket, None)

    def _publish(self, request_id: RequestId, bucket: str, result: BucketResult | None) -> None:
        """Spread a change; the client is answered when it is on disk here."""
        desk = self.desk
        properties = None if result is None else result.properties
        document = desk.buckets.document(bucket, properties, desk.clock.tick(desk.now))
        until = desk.now + _PATIENCE_NS
        self._changes.append(_Change(bucket, document.stamp, request_id, until))
        self._wake()
        desk.outbox.announce(Publish(document))

    def documents_changed(self, news: DocumentsChanged) -> None:
        """Documents are on disk: some may be about buckets, and waited for."""
        buckets = self.desk.buckets
        for document in news.documents:
            bucket = buckets.adopt(document)
            if bucket is None:
                continue
            for change in self._changes.copy():
                if change.bucket == bucket and change.stamp <= document.stamp:
                    self._answer(change, buckets.result(bucket))

    def refused(self, news: DocumentRefused) -> None:
        """A document is not taken."""
        bucket = self.desk.buckets.withdraw(news.name)
        for change in self._changes.copy():
            if change.bucket == bucket:
                why = f"the properties of {bucket} cannot be kept: {news.reason}"
                self._answer(change, Refused(Refusal.TOO_MANY_BUCKETS, why))

    def due(self, what: str) -> None:
        """Somebody has waited long enough."""
        for change in self._changes.copy():
            if change.until <= self.desk.now:
                why = (
                    "the change is not on this node's disk yet; it may come into force all the same"
                )
                self._answer(change, Unavailable(Outcome.INDETERMINATE, why, _NOBODY))

    def _answer(self, change: _Change, result: Result) -> None:
        self._changes.remove(change)
        self.desk.outbox.reply(change.request_id, result)
        self._wake()

    def _wake(self) -> None:
        if self._changes:
            self.wake("change", self._changes[0].until)
        else:
            self.desk.deadlines.drop((self, "change"))
