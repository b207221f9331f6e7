"""Dotted causal containers: what a replica knows of one key.

A container holds the live versions by dot and a causal context: every dot that it has ever held
or been told of. A dot in the context that is not live was replaced. That is enough to merge two
containers without comparing versions: one that only one side holds is new if the other side's
context lacks its dot, and was replaced if the context covers it. (Preguiça, Baquero, Almeida et
al. 2012; Almeida, Baquero, Gonçalves, Preguiça, Fonte 2014, "Scalable and Accurate Causality
Tracking for Eventually Consistent Stores".)

Invariant: the context covers every live dot. A dot names one value for ever, so the value of a
dot that both sides hold is taken from either.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Generic, TypeVar

from sadik_causality.context import EMPTY, Context, ContextError
from sadik_causality.dots import Dot

V = TypeVar("V")
U = TypeVar("U")


def write_context(seen: Context, replaced: Iterable[Dot], dot: Dot) -> Context:
    """What a write covers, and what its client may be told that it covers.

    Exactly ``seen`` (the context that the client sent; `EMPTY` for a blind write), ``replaced``
    (the live dots that a blind write took the place of) and the new ``dot``. Never the context
    of the coordinator: that covers siblings which the client was not shown, and the client's
    next write would erase them.
    """
    return seen.with_dots(replaced).with_dot(dot)


class Container(Generic[V]):
    """Live versions by dot, and the context of all dots known: an immutable value.

    ``versions`` must not be changed once given, and ``context`` must cover its dots: use
    `checked` for what came from outside. The values are never looked at.
    """

    __slots__ = ("context", "versions")

    def __init__(self, versions: dict[Dot, V], context: Context) -> None:
        self.versions: Final = versions
        self.context: Final = context

    @classmethod
    def empty(cls) -> "Container[V]":
        """What is known of a key that nobody ever wrote."""
        return cls({}, EMPTY)

    @classmethod
    def checked(cls, versions: dict[Dot, V], context: Context) -> "Container[V]":
        """A container of decoded parts; raises `ContextError` if a live dot is not covered."""
        if not context.covers_all(versions):
            raise ContextError("a container's context covers every version in it")
        return cls(versions, context)

    @classmethod
    def delta(cls, seen: Context, replaced: Iterable[Dot], dot: Dot, value: V) -> "Container[V]":
        """One write as the other replicas need it: the new version, over its `write_context`."""
        return cls({dot: value}, write_context(seen, replaced, dot))

    def live_dots(self) -> list[Dot]:
        """The dots of the live versions, sorted: what equality, repair and tree hashes compare."""
        return sorted(self.versions)

    def live_context(self) -> Context:
        """A context of exactly the live dots: what a blind write that replaces them covers."""
        return Context.from_dots(self.versions)

    def same_live(self, other: "Container[U]") -> bool:
        """Whether both hold the same live dots; contexts may differ. Cheaper than sorting."""
        return self.versions.keys() == other.versions.keys()

    def write(self, seen: Context, dot: Dot, value: V) -> "Container[V]":
        """The container after a write: replaces exactly the versions that ``seen`` covers.

        ``dot`` must be new to this container and to ``seen`` (asserted, for a dot used twice
        loses a version). A context that covers dots beyond this record's own actor means that
        the record lost its tail: check before making the dot.
        """
        assert not self.context.covers(dot), "a dot is made once"
        assert not seen.covers(dot), "a client cannot have seen a dot before it is made"
        versions = {live: kept for live, kept in self.versions.items() if not seen.covers(live)}
        versions[dot] = value
        return Container(versions, self.context.join(seen).with_dot(dot))

    def merge(self, other: "Container[V]") -> "Container[V]":
        """What both know together; commutative, associative and idempotent.

        Keeps a version that both hold, or that one holds and the other's context lacks; joins the
        contexts. Returns `self`, the same object, if ``other`` adds and replaces nothing.
        """
        if other is self or not other.context:
            return self
        if not self.context:
            return other
        mine, theirs = self.versions, other.versions
        versions = mine
        covered_here, covered_there = self.context.covers, other.context.covers
        if len(mine) == 1 == len(theirs):
            # Nearly every write: each side has one version, mostly the newer of the same actor.
            (dot,), (other_dot,) = mine, theirs
            if dot != other_dot:
                is_kept, is_new = not covered_there(dot), not covered_here(other_dot)
                if is_new:
                    versions = {**mine, **theirs} if is_kept else theirs
                elif not is_kept:
                    versions = {}
        elif mine.keys() != theirs.keys():
            versions = {
                dot: value for dot, value in mine.items() if dot in theirs or not covered_there(dot)
            }
            for dot, value in theirs.items():
                if dot not in mine and not covered_here(dot):
                    versions[dot] = value
        changed = versions is not mine and versions.keys() != mine.keys()
        context = self.context.join(other.context)
        if not changed and context is self.context:
            return self
        return Container(versions, context)

    def descends(self, other: "Container[U]") -> bool:
        """Whether this knows all that ``other`` knows: merging it would change nothing."""
        theirs, covered_there = other.versions, other.context.covers
        return self.context.dominates(other.context) and all(
            dot in theirs or not covered_there(dot) for dot in self.versions
        )

    def missing_in(self, other: "Container[U]") -> "Container[V] | None":
        """What a replica that answered ``other`` lacks, to send for repair; None if nothing.

        Merged there it gives what merging this whole container would, but carries only the
        versions that are new to it. The live versions that it has already are left out of the
        context too, which would otherwise erase them. To repair only where live dots differ, ask
        `same_live` first.
        """
        if other.descends(self):
            return None
        known = other.context.covers
        versions = {dot: value for dot, value in self.versions.items() if not known(dot)}
        if len(versions) == len(self.versions):
            return self
        unsent = [dot for dot in self.versions if dot not in versions]
        return Container(versions, self.context.without_dots(unsent))

    def split(self) -> "Iterator[Container[V]]":
        """Yield parts of one version each, sorted by dot, then the rest of the context.

        Each version comes with a context of just its dot, and the last part, which has no
        version, with all other dots (left out if there are none). Merging all parts in any order
        gives this container, and merging only some never erases a version that it holds.
        """
        for dot in self.live_dots():
            yield Container({dot: self.versions[dot]}, EMPTY.with_dot(dot))
        rest = self.context.without_dots(self.versions)
        if rest:
            yield Container({}, rest)

    def without_values(self) -> "Container[None]":
        """The same dots and context without the values, for who has to remember only those."""
        return Container(dict.fromkeys(self.versions), self.context)

    def __bool__(self) -> bool:
        """Whether anything is known: a live version, or only that there was one."""
        return bool(self.context)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Container):
            return NotImplemented
        return bool(self.versions == other.versions) and self.context == other.context

    __hash__ = None  # type: ignore[assignment]  # it holds a dictionary

    def __repr__(self) -> str:
        shown = ", ".join(f"{a.hex()}:{n}: {self.versions[a, n]!r}" for a, n in self.live_dots())
        return f"Container({{{shown}}}, {self.context!r})"
