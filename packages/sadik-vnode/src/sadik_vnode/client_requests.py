"""What clients ask of a node: each request becomes a conversation, or is answered at once.

A node refuses what it cannot do: everything before it is a member and after it has left, whatever
touches data while its store is known to be an older state of itself, and all that is too much.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sadik_machine import RequestId
from sadik_vnode.anti_entropy import AntiEntropy
from sadik_vnode.bucket_requests import BucketRequests
from sadik_vnode.coordinator.counting import CountingHints
from sadik_vnode.coordinator.explaining import Explaining
from sadik_vnode.coordinator.getting import Getting
from sadik_vnode.coordinator.getting_many import GettingMany
from sadik_vnode.coordinator.listing import Listing
from sadik_vnode.coordinator.putting import Forwarding
from sadik_vnode.coordinator.putting_many import PuttingMany
from sadik_vnode.copying import CopyingRecords, copy_body, copy_sums, take_records
from sadik_vnode.desk import Desk, overloaded
from sadik_vnode.requests import (
    BucketList,
    BucketReset,
    BucketSet,
    BucketShow,
    CopyBody,
    CopyRecords,
    CopySums,
    Delete,
    Explain,
    Get,
    GetMany,
    Hints,
    ListKeys,
    Outcome,
    Plan,
    Put,
    PutMany,
    Repair,
    Result,
    Scrub,
    TakeRecords,
    Tally,
    Transfers,
    Unavailable,
)  # fmt: skip
from sadik_vnode.ringchange import RingChanges
from sadik_vnode.ringchange.planning import what_if
from sadik_vnode.scrub import Scrubbing

__all__ = ["ClientRequests"]

_NOBODY: Final = Tally(0, 0, 0, 0, 0)

_OF_DATA = (
    Get, GetMany, Put, PutMany, Delete, ListKeys, CopySums, CopyRecords, CopyBody, TakeRecords,
)  # fmt: skip


class ClientRequests:
    """Takes requests and sees that each is answered."""

    def __init__(
        self,
        desk: Desk,
        buckets: BucketRequests,
        anti_entropy: AntiEntropy,
        changes: RingChanges,
        scrubbing: Scrubbing,
    ) -> None:
        self._desk = desk
        self._anti_entropy = anti_entropy
        self._changes = changes
        self._scrubbing = scrubbing
        self._gets: dict[RequestId, Getting | GettingMany] = {}
        """Those that a client who goes away has no use for."""
        self._begin: dict[type, Callable[[RequestId, Any], None]] = {
            Get: self._get,
            GetMany: self._get_many,
            Put: self._write,
            PutMany: self._put_many,
            Delete: self._write,
            ListKeys: self._list,
            Explain: self._explain,
            Hints: self._count_hints,
            BucketShow: buckets.show,
            BucketSet: buckets.set,
            BucketReset: buckets.reset,
            BucketList: buckets.list_all,
            Repair: self._repair,
            CopySums: self._copy_sums,
            CopyRecords: self._copy_records,
            CopyBody: self._copy_body,
            TakeRecords: self._take_records,
            Transfers: self._transfers,
            Plan: self._plan,
            Scrub: self._scrub,
        }

    def requested(self, request_id: RequestId, request: object) -> None:
        """Begin what a client asks for, or refuse it."""
        desk = self._desk
        refusal: Result | None = None
        if desk.placement.ring is None or desk.sealer is None:
            refusal = Unavailable(
                Outcome.NOT_APPLIED, "this node is not yet a member of a cluster", _NOBODY
            )
        elif desk.placement.has_left(desk.self_id):
            refusal = Unavailable(
                Outcome.NOT_APPLIED,
                "this node has left the cluster or was removed from it",
                _NOBODY,
            )
        elif desk.is_overloaded:
            refusal = overloaded()
        elif desk.generations.is_behind and type(request) in _OF_DATA:
            refusal = Unavailable(
                Outcome.NOT_APPLIED,
                "this node's store was rolled back; it compares what it has with the other owners",
                _NOBODY,
            )
        if refusal is not None:
            desk.outbox.reply(request_id, refusal)
            return
        self._begin[type(request)](request_id, request)

    def cancelled(self, request_id: RequestId) -> None:
        """The client has gone."""
        getting = self._gets.pop(request_id, None)
        if getting is not None:
            getting.cancel()

    def _replier(self, request_id: RequestId, *, served: bool = False) -> Callable[[Result], None]:
        """Answers a client. ``served``: how long it took tells how busy this node is."""
        desk = self._desk
        began = desk.now

        def done(result: Result) -> None:
            if served:
                desk.admission.served(desk.now, desk.now - began)
            desk.outbox.reply(request_id, result)

        return done

    def _get(self, request_id: RequestId, request: Get) -> None:
        getting = Getting(self._desk, request, self._replier_of_get(request_id))
        self._gets[request_id] = getting
        getting.start()

    def _get_many(self, request_id: RequestId, request: GetMany) -> None:
        getting = GettingMany(self._desk, request, self._replier_of_get(request_id))
        self._gets[request_id] = getting
        getting.start()

    def _replier_of_get(self, request_id: RequestId) -> Callable[[Result], None]:
        """Answers a client that may have gone."""
        desk = self._desk
        began = desk.outbox.now

        def done(result: Result) -> None:
            if self._gets.pop(request_id, None) is not None:
                now = desk.outbox.now
                desk.admission.served(now, now - began)
                desk.outbox.reply(request_id, result)

        return done

    def _write(self, request_id: RequestId, request: Put | Delete) -> None:
        Forwarding(self._desk, request, self._replier(request_id, served=True)).start()

    def _put_many(self, request_id: RequestId, request: PutMany) -> None:
        PuttingMany(self._desk, request, self._replier(request_id, served=True)).start()

    def _list(self, request_id: RequestId, request: ListKeys) -> None:
        Listing(self._desk, request, self._replier(request_id)).start()

    def _explain(self, request_id: RequestId, request: Explain) -> None:
        Explaining(self._desk, request, self._replier(request_id)).start()

    def _count_hints(self, request_id: RequestId, _request: Hints) -> None:
        CountingHints(self._desk, self._replier(request_id)).start()

    def _repair(self, request_id: RequestId, request: Repair) -> None:
        self._anti_entropy.repair(request, self._replier(request_id))

    # Copies, for backups

    def _copy_sums(self, request_id: RequestId, request: CopySums) -> None:
        self._desk.outbox.reply(request_id, copy_sums(self._desk, request))

    def _copy_records(self, request_id: RequestId, request: CopyRecords) -> None:
        CopyingRecords(self._desk, request, self._replier(request_id)).start()

    def _copy_body(self, request_id: RequestId, request: CopyBody) -> None:
        copy_body(self._desk, request, self._replier(request_id))

    def _take_records(self, request_id: RequestId, request: TakeRecords) -> None:
        take_records(self._desk, request, self._replier(request_id))

    def _transfers(self, request_id: RequestId, _request: Transfers) -> None:
        self._changes.ask_transfers(self._replier(request_id))

    def _plan(self, request_id: RequestId, request: Plan) -> None:
        self._desk.outbox.reply(request_id, what_if(self._desk.placement, request))

    def _scrub(self, request_id: RequestId, request: Scrub) -> None:
        self._scrubbing.scrub(request, self._replier(request_id))
