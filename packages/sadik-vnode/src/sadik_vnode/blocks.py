"""Blocks of a step: what is asked for within one goes together at its end.

They are classes, for a generator with a decorator costs some times as much, and puts pass three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sadik_vnode.outbox import Outbox
    from sadik_vnode.replica import Replica

__all__ = ["JoinedMessages", "OneStore", "UpdatesTogether"]


class JoinedMessages:
    """See `Outbox.together`."""

    __slots__ = ("_begin", "_outbox")

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._begin = 0

    def __enter__(self) -> None:
        self._begin = self._outbox.wanted

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is None:
            self._outbox.join_since(self._begin)


class OneStore:
    """See `Outbox.one_store`."""

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def __enter__(self) -> None:
        self._outbox.begin_store()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if kind is None:
                self._outbox.end_store()
        finally:
            self._outbox.gather_no_more()


class UpdatesTogether:
    """See `Replica.together`."""

    __slots__ = ("_replica",)

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def __enter__(self) -> None:
        self._replica.gather()

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        gathered = self._replica.take_gathered()
        if kind is not None or not gathered:
            return
        if len(gathered) == 1:
            self._replica.update(*gathered[0])
        else:
            self._replica.update_many(gathered)
