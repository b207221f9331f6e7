"""What clients were promised, checked at each answer: quorums overlap, contexts tell no more.

Where the owners that acknowledged a write and the owners that answer a read must overlap (strict
quorums with R+W > N, or PR+PW > N), a read that begins after the acknowledgement sees the write: it
shows it, or something that replaced it. That is told by causality: the context of the answer covers
the write's dot. And the context of a write's answer covers what its client had shown, and the new
version, and nothing else, or the client's next write would erase what it never saw.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import Factory, define

from sadik_causality import EMPTY, Context, Dot
from sadik_sim.violation import Violation, show
from sadik_sim.world import World
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Found, ListResult, Missing, Written

__all__ = ["Promises", "owners_promised"]

_SHORT_TOKEN_CHARS: Final = 8000
"""A longer context may have been cut down to what is live."""


def owners_promised(options: dict[str, Any], replicas: int, *, write: bool) -> int:
    """How many owners a request with these options waits for at least."""
    total, primaries = ("w", "pw") if write else ("r", "pr")
    promised = _count(options.get(primaries, 0), replicas)
    if not options.get("sloppy", True):
        promised = max(promised, _count(options.get(total, "quorum"), replicas))
    return promised


def _count(quorum: object, replicas: int) -> int:
    if isinstance(quorum, int):
        return quorum
    return {"quorum": replicas // 2 + 1, "all": replicas}.get(str(quorum), 1)


@define(slots=True)
class _Promised:
    """Of one key: what was acknowledged by at least so many owners, and whether it was deleted."""

    by_owners: dict[int, Context] = Factory(dict)
    was_put: bool = False
    delete_began: bool = False


class Promises:
    """What all clients of a run were told so far."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._keys: dict[bytes, _Promised] = {}
        self._opened: dict[str, tuple[Key, Context]] = {}
        """Contexts by token: each comes with an answer, and again with what follows from it."""

    def wrote(
        self, key: Key, name: bytes, token: str | None, options: dict[str, Any], result: Written
    ) -> None:
        """A put of the value ``name`` with the context ``token`` is acknowledged."""
        world = self._world
        dot = world.checks.acknowledged(key, name, result)
        given = self.opened(key, result.context)
        shown = EMPTY if token is None else self.opened(key, token)
        beyond = given.missing_from(shown)
        if list(beyond.spans()) != [(*dot, dot[1])]:
            extra = beyond.without_dots([dot])
            raise Violation(
                "a context covers only what was shown",
                f"the answer to the put of {name!r} covers {extra} beyond what its client had "
                f"shown and {show(dot)}",
                key.key,
                (dot,),
            )
        owners = owners_promised(options, world.replicas, write=True)
        self._counted(key, owners, options, result)
        self._promise(key.key, dot, owners)

    def _counted(
        self, key: Key, owners: int, options: dict[str, Any], result: Written | Found | Missing
    ) -> None:
        if result.tally.primaries < owners:
            raise Violation(
                "a quorum counts owner slots",
                f"{options} promises {owners} owners; {type(result).__name__} has {result.tally}",
                key.key,
            )

    def _promise(self, key: bytes, dot: Dot, owners: int) -> None:
        promised = self._keys.setdefault(key, _Promised())
        for count in range(1, owners + 1):
            known = promised.by_owners.get(count, EMPTY)
            promised.by_owners[count] = known.with_dot(dot)
        promised.was_put = promised.was_put or owners > self._world.replicas // 2

    def deletes(self, key: bytes) -> None:
        """A delete begins: from now on the key may be gone."""
        self._keys.setdefault(key, _Promised()).delete_began = True

    def due(self, key: bytes, options: dict[str, Any]) -> Context:
        """What a read that begins now with these options must see."""
        replicas = self._world.replicas
        asked = owners_promised(options, replicas, write=False)
        promised = self._keys.get(key)
        if promised is None or not asked or self._world.checks.has_rolled_back:
            return EMPTY
        return promised.by_owners.get(replicas - asked + 1, EMPTY)

    def read(
        self, key: Key, options: dict[str, Any], due: Context, result: Found | Missing
    ) -> None:
        """A read is answered; ``due`` is from its begin."""
        owners = owners_promised(options, self._world.replicas, write=False)
        self._counted(key, owners, options, result)
        if not due or self._world.checks.has_rolled_back:
            return
        token = result.context
        if token is not None and len(token) > _SHORT_TOKEN_CHARS:
            return
        seen = EMPTY if token is None else self.opened(key, token)
        seen = seen.join(self._world.checks.forgotten.context(key))
        if not seen.dominates(due):
            dots = tuple((actor, first) for actor, first, _ in due.missing_from(seen).spans())
            raise Violation(
                "strict reads see strict writes",
                f"a read of {key.key!r} lacks {show(dots[0])}, acknowledged before it began",
                key.key,
                dots,
            )

    def is_there(self, key: bytes) -> bool:
        """Whether a majority of the owners has acknowledged a value that nobody began to delete."""
        promised = self._keys.get(key)
        return (
            promised is not None
            and promised.was_put
            and not promised.delete_began
            and not self._world.checks.has_rolled_back
        )

    def in_session(self, key: Key, token: str, result: object) -> None:
        """A read that brought the context ``token`` is answered: it shows no less."""
        if not isinstance(result, Found | Missing):
            self._world.sometimes("session found nobody as new")
            return
        if result.context is not None and len(result.context) > _SHORT_TOKEN_CHARS:
            return
        seen = EMPTY if result.context is None else self.opened(key, result.context)
        seen = seen.join(self._world.checks.forgotten.context(key))
        lacking = self.opened(key, token).missing_from(seen)
        if lacking:
            dots = tuple((actor, first) for actor, first, _ in lacking.spans())
            raise Violation(
                "sessions never go backwards",
                f"a read of {key.key!r} lacks {show(dots[0])}, which its session had seen",
                key.key,
                dots,
            )

    def due_in_list(self) -> list[bytes]:
        """The keys that a listing which begins now must show, unless they are deleted meanwhile."""
        if self._world.checks.has_rolled_back:
            return []
        return [key for key, p in self._keys.items() if p.was_put and not p.delete_began]

    def listed(self, due: list[bytes], result: ListResult) -> None:
        """A whole listing is answered; ``due`` is from its begin."""
        if result.keys != sorted(dict.fromkeys(result.keys)):
            raise Violation("listings tell what is there", f"not in order: {result.keys}")
        if result.next is not None or self._world.checks.has_rolled_back:
            return
        for key in due:
            if key not in result.keys and not self._keys[key].delete_began:
                raise Violation("listings tell what is there", f"{key!r} is not listed", key)

    def opened(self, key: Key, token: str) -> Context:
        """The context in a token."""
        known = self._opened.get(token)
        if known is None or known[0] != key:
            assert self._world.sealer is not None, "a node that answers is a member of the cluster"
            context = self._world.sealer.open(key.bucket, key.key, token)
            known = self._opened[token] = (key, context)
        return known[1]
