"""Bugs of merging and of contexts: something is overwritten, erased unseen, or comes back."""

# ruff: noqa: ARG001 - a planted method takes what the method in its place takes

from __future__ import annotations

from typing import Any

from sadik_causality import EMPTY, Container, Context
from sadik_machine import HybridClock
from sadik_sim.planted.bug import Patch, PlantedBug
from sadik_vnode.coordinator.sending import Sending
from sadik_vnode.coordinator.writing import Writing
from sadik_vnode.record import Record
from sadik_vnode.replica import Replica

__all__ = ["BUGS"]

_TORN_VERSIONS = 6
_ACTORS_KEPT = 2


def _overwrites() -> list[Patch]:
    take = Replica.take

    def overwrite(
        self: Replica, key: Any, incoming: Record, rows: Any, then: Any, done: Any, failed: Any
    ) -> None:
        if not incoming.live_dots():
            take(self, key, incoming, rows, then, done, failed)
            return

        def make(before: Record) -> Any:
            from sadik_vnode.key_state import Change  # noqa: PLC0415 - beside its only use

            extra = rows()
            if extra is None:
                return None
            return Change(Record(incoming.container, before.own_actor), extra, then)

        self.update(key, make, done, failed)

    return [(Replica, "take", overwrite)]


def _row_replaces_all() -> list[Patch]:
    return [(Record, "replaces", lambda self, _: self.only is not None)]


def _latest_wins() -> list[Patch]:
    merge = Container.merge

    def latest(self: Container[Any], other: Container[Any]) -> Container[Any]:
        merged = merge(self, other)
        if merged is self or len(merged.versions) < 2:
            return merged
        dot = max(merged.versions, key=lambda d: (_timestamp(merged.versions[d]), d))
        return Container({dot: merged.versions[dot]}, merged.context)

    return [(Container, "merge", latest)]


def _timestamp(version: Any) -> int:
    return int(version.parsed().timestamp) if hasattr(version, "parsed") else 0


def _context_forgotten() -> list[Patch]:
    merge = Container.merge

    def forgetful(self: Container[Any], other: Container[Any]) -> Container[Any]:
        merged = merge(self, other)
        if merged is self:
            return self
        return Container(merged.versions, self.context.join(Context.from_dots(merged.versions)))

    return [(Container, "merge", forgetful)]


def _pruned() -> list[Patch]:
    rows = Record.rows

    def pruned(self: Record, key: Any, before: Record) -> Any:
        context = self.container.context
        live = {actor: None for actor, _ in self.container.versions}
        gone = [actor for actor in context.actors() if actor not in live]
        kept = Context.from_dots(
            (actor, counter)
            for actor, first, last in context.spans()
            if actor not in gone[:-_ACTORS_KEPT]
            for counter in range(first, last + 1)
        )
        lean = Record(Container(self.container.versions, kept), self.own_actor)
        return rows(lean, key, before)

    return [(Record, "rows", pruned)]


def _covered_kept() -> list[Patch]:
    merge = Container.merge

    def keeping(self: Container[Any], other: Container[Any]) -> Container[Any]:
        merged = merge(self, other)
        if merged is self:
            return self
        return Container({**self.versions, **merged.versions}, merged.context)

    return [(Container, "merge", keeping)]


def _siblings_explode() -> list[Patch]:
    write = Container.write

    def keeping(self: Container[Any], seen: Context, dot: Any, value: Any) -> Container[Any]:
        written = write(self, seen, dot, value)
        kept = {d: v for d, v in self.versions.items() if d[0] == dot[0]}
        return Container({**kept, **written.versions}, written.context)

    return [(Container, "write", keeping)]


def _gaps_rounded_up() -> list[Patch]:
    def rounded(self: Context, dot: Any) -> bool:
        actor, counter = dot
        return bool(counter <= self.counter(actor))

    return [(Context, "covers", rounded)]


def _answer_covers_all() -> list[Patch]:
    refusal = Writing._refusal

    def generous(self: Writing, held: Any, seen: Context, dot: Any) -> Any:
        return refusal(self, held, seen.join(held.context), dot)

    return [(Writing, "_refusal", generous)]


def _message_covers_all() -> list[Patch]:
    watch = Writing._watch

    def generous(self: Writing, after: Any) -> None:
        watch(self, after)
        assert self._sending is not None
        self._sending._covered = after.context

    return [(Writing, "_watch", generous)]


def _parts_cover_all() -> list[Patch]:
    def split(self: Container[Any]) -> Any:
        for dot in self.live_dots():
            yield Container({dot: self.versions[dot]}, self.context)

    return [(Container, "split", split)]


def _repair_covers_all() -> list[Patch]:
    missing_in = Container.missing_in

    def generous(self: Container[Any], other: Container[Any]) -> Container[Any] | None:
        missing = missing_in(self, other)
        return None if missing is None else Container(missing.versions, self.context)

    return [(Container, "missing_in", generous)]


def _tombstone_reaped_at_once() -> list[Patch]:
    rows = Record.rows

    def reaping(self: Record, key: Any, before: Record) -> Any:
        versions = self.container.versions.values()
        if versions and all(version.is_deleted for version in versions):
            return [(key.record_row, None)]
        return rows(self, key, before)

    return [(Record, "rows", reaping)]


def _clock_dragged() -> list[Patch]:
    def adopt(self: HybridClock, now: int, timestamp: int) -> bool:
        self._last = max(self._last, timestamp)
        return True

    return [(HybridClock, "adopt", adopt)]


def _context_ignored() -> list[Patch]:
    write = Container.write

    def blind(self: Container[Any], seen: Context, dot: Any, value: Any) -> Container[Any]:
        return write(self, EMPTY, dot, value)

    return [(Container, "write", blind)]


def _context_runs_ahead() -> list[Patch]:
    watch = Writing._watch

    def ahead(self: Writing, after: Any) -> None:
        watch(self, after)
        sending = self._sending
        assert sending is not None
        actor, counter = sending._dot
        sending._covered = sending._covered.with_dot((actor, counter + 1000))

    return [(Writing, "_watch", ahead), (Sending, "is_row", property(lambda _: False))]


def _record_torn() -> list[Patch]:
    encode = Record.encode

    def torn(self: Record) -> bytes:
        row = encode(self)
        return row[:512] if len(self.container.versions) > _TORN_VERSIONS else row

    return [(Record, "encode", torn)]


BUGS = (
    PlantedBug(
        "context-runs-ahead",
        26,
        "The context that a new version travels with covers dots that nobody has made.",
        _context_runs_ahead,
    ),
    PlantedBug(
        "record-torn",
        24,
        "A record of many siblings is cut off when it is stored.",
        _record_torn,
    ),
    PlantedBug(
        "overwrites",
        10,
        "A replica puts what it is sent in the place of what it holds, instead of merging.",
        _overwrites,
    ),
    PlantedBug(
        "row-replaces-all",
        10,
        "A row that another node sends is stored as it came, whatever it does not know of.",
        _row_replaces_all,
    ),
    PlantedBug(
        "latest-wins",
        19,
        "Of siblings the one with the latest timestamp stays.",
        _latest_wins,
    ),
    PlantedBug(
        "context-forgotten",
        10,
        "A merge keeps the versions and forgets the context that replaced others.",
        _context_forgotten,
    ),
    PlantedBug(
        "covered-kept",
        10,
        "A merge keeps versions that the other side has seen replaced.",
        _covered_kept,
    ),
    PlantedBug(
        "siblings-explode",
        9,
        "A write leaves the versions of its own actor that its context covered.",
        _siblings_explode,
    ),
    PlantedBug(
        "context-ignored",
        9,
        "A write replaces nothing, whatever its context covered.",
        _context_ignored,
    ),
    PlantedBug(
        "gaps-rounded-up",
        26,
        "A context covers every dot up to the greatest that it names.",
        _gaps_rounded_up,
    ),
    PlantedBug(
        "answer-covers-all",
        26,
        "The answer to a write covers all that its coordinator holds.",
        _answer_covers_all,
    ),
    PlantedBug(
        "message-covers-all",
        26,
        "A coordinator sends a new version with the context of its whole record.",
        _message_covers_all,
    ),
    PlantedBug(
        "parts-cover-all",
        26,
        "Each part of a record that is sent in parts bears the context of the whole.",
        _parts_cover_all,
    ),
    PlantedBug(
        "repair-covers-all",
        10,
        "A read repair covers the versions that it leaves out because the replica has them.",
        _repair_covers_all,
    ),
    PlantedBug(
        "tombstone-reaped-at-once",
        13,
        "A record of nothing but tombstones is removed at once.",
        _tombstone_reaped_at_once,
    ),
    PlantedBug(
        "vectors-pruned",
        15,
        "A record's context keeps two of the actors that have nothing live, and forgets the rest.",
        _pruned,
    ),
    PlantedBug(
        "clock-dragged",
        33,
        "The hybrid clock adopts whatever another node shows.",
        _clock_dragged,
        {"profile": "clocks"},
    ),
)
