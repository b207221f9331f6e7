"""Causal contexts: the exact set of dots that somebody has seen.

A context is a version vector and, beyond it, single dots. Gaps are legal and never rounded up:
a context that holds dots 1 and 3 of an actor says nothing of dot 2. Rounding up would be
smaller, and would let a client's next write erase a sibling that the client was never shown.
Dots that become contiguous with the vector are absorbed into it, so equal sets have one form
and one encoding.

Contexts are values: nothing changes one once it is made, operations return `self` where they
would make an equal one, and `EMPTY` is shared. A context without gaps, by far the most frequent,
costs one dictionary and never touches the code for gaps.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias, cast

from sadik_causality import runs as runs_
from sadik_causality.dots import ACTOR_BYTES_MAX, COUNTER_MAX, Actor, Dot, DotError, check_actor
from sadik_causality.runs import Runs

PlainContext: TypeAlias = list[list[bytes | int]]
"""``[[actor, contiguous, missing, present, missing, present, ...], ...]``, actors rising."""

_ENTRY_TYPES: Final = (list, tuple)

ACTORS_MAX: Final = 1 << 16
RUNS_MAX: Final = 1 << 20


class ContextError(ValueError):
    """What was given is not the plain form of a context; the message says why."""


class Context:
    """An immutable set of dots: a version vector, and runs of dots beyond it.

    Make one from `EMPTY`, `from_dots` or `from_plain`; the constructor trusts its arguments and
    is for this module.
    """

    __slots__ = ("_beyond", "_plain", "_vector")

    def __init__(self, vector: dict[Actor, int], beyond: dict[Actor, Runs]) -> None:
        # vector: the length (>= 1) of the gapless prefix 1..n of each actor that has one.
        # beyond: the runs after it, the first starting at n + 2 or later; never an empty tuple.
        self._vector: Final = vector
        self._beyond: Final = beyond
        self._plain: PlainContext | None = None

    @classmethod
    def from_dots(cls, dots: Iterable[Dot]) -> "Context":
        """The context that covers exactly ``dots``, in any order, with or without repeats."""
        histories: dict[Actor, list[int]] = {}
        for actor, counter in sorted(dots):
            assert 1 <= counter <= COUNTER_MAX, "a counter is at least 1 and below 2**63"
            boundaries = histories.setdefault(actor, [counter, counter])
            if counter > boundaries[-1]:
                boundaries += (counter, counter + 1)
            else:
                boundaries[-1] = counter + 1
        if not histories:
            return EMPTY
        return EMPTY._replacing({actor: tuple(bounds) for actor, bounds in histories.items()})

    @classmethod
    def from_prefixes(cls, prefixes: dict[Actor, int]) -> "Context":
        """The context that covers the first so many dots, at least one, of each actor.

        ``prefixes`` is kept, and must not be changed once given.
        """
        return cls(prefixes, {}) if prefixes else EMPTY

    @property
    def is_gapless(self) -> bool:
        """Whether of every actor all dots up to one are covered, and none beyond it."""
        return not self._beyond

    def covers(self, dot: Dot) -> bool:
        """Whether ``dot`` is one of those seen."""
        actor, counter = dot
        if counter <= self._vector.get(actor, 0):
            return True
        if not self._beyond:
            return False
        return runs_.contains(self._beyond.get(actor, runs_.NOTHING), counter)

    def covers_all(self, dots: Iterable[Dot]) -> bool:
        """Whether every one of ``dots`` is covered; true of none at all."""
        if self._beyond:
            return all(map(self.covers, dots))
        prefix = self._vector.get
        for actor, counter in dots:  # noqa: SIM110 - for one dot a generator costs more than the rest
            if counter > prefix(actor, 0):
                return False
        return True

    def counter(self, actor: Actor) -> int:
        """The greatest counter of ``actor`` that is covered, gaps or not; 0 if there is none."""
        if self._beyond:
            beyond = self._beyond.get(actor)
            if beyond is not None:
                return beyond[-1] - 1
        return self._vector.get(actor, 0)

    def with_dot(self, dot: Dot) -> "Context":
        """This context and ``dot``, which leaves a gap before it unless it is the next."""
        actor, counter = dot
        assert 1 <= counter <= COUNTER_MAX, "a counter is at least 1 and below 2**63"
        prefix = self._vector.get(actor, 0)
        if counter <= prefix:
            return self
        beyond = self._beyond.get(actor) if self._beyond else None
        if beyond is None:
            if counter == prefix + 1:
                return Context({**self._vector, actor: counter}, self._beyond)
            return Context(self._vector, {**self._beyond, actor: (counter, counter + 1)})
        if runs_.contains(beyond, counter):
            return self
        if counter == beyond[-1]:
            return Context(self._vector, {**self._beyond, actor: (*beyond[:-1], counter + 1)})
        return self._replacing(
            {actor: runs_.union(self._history(actor), (counter, counter + 1))},
        )

    def with_dots(self, dots: Iterable[Dot]) -> "Context":
        """This context and every one of ``dots``."""
        added = list(dots)
        if len(added) > 1:
            return self.join(Context.from_dots(added))
        return self.with_dot(added[0]) if added else self

    def join(self, other: "Context") -> "Context":
        """The dots of either: the least upper bound. Returns `self` if ``other`` adds none."""
        if other is self:
            return self
        if self._beyond or other._beyond:
            if not self._beyond and self.dominates(other):
                return self
            return self._join_with_gaps(other)
        mine = self._vector
        grown: dict[Actor, int] | None = None
        for actor, counter in other._vector.items():
            if counter > mine.get(actor, 0):
                if grown is None:
                    grown = mine.copy()
                grown[actor] = counter
        return self if grown is None else Context(grown, self._beyond)

    def dominates(self, other: "Context") -> bool:
        """Whether every dot of ``other`` is covered here; a context dominates itself."""
        if other is self:
            return True
        mine = self._vector
        if not self._beyond:
            for actor, counter in other._vector.items():
                if counter > mine.get(actor, 0):
                    return False
            for actor, beyond in other._beyond.items():
                if beyond[-1] - 1 > mine.get(actor, 0):
                    return False
            return True
        return all(
            runs_.includes(self._history(actor), other._history(actor)) for actor in other._actors()
        )

    def missing_from(self, other: "Context") -> "Context":
        """The dots covered here that ``other`` lacks, as a context (it usually has gaps)."""
        if other is self or not self:
            return EMPTY
        lacking: dict[Actor, Runs] = {}
        for actor in self._actors():
            left = runs_.difference(self._history(actor), other._history(actor))
            if left:
                lacking[actor] = left
        return EMPTY._replacing(lacking) if lacking else EMPTY

    def without_dots(self, dots: Iterable[Dot]) -> "Context":
        """This context except ``dots``, leaving a gap where each was."""
        return self.missing_from(Context.from_dots(dots))

    def actors(self) -> list[Actor]:
        """Every actor of whom a dot is covered, sorted."""
        return sorted(self._actors())

    def spans(self) -> Iterator[tuple[Actor, int, int]]:
        """Yield (actor, first, last), the covered dots as runs, both ends included, sorted.

        There are as many as there are gaps, however many dots each run holds.
        """
        for actor in self.actors():
            history = self._history(actor)
            for index in range(0, len(history), 2):
                yield actor, history[index], history[index + 1] - 1

    def to_plain(self) -> PlainContext:
        """The canonical plain form, for an encoder: equal contexts give equal lists.

        One list an actor, sorted by actor: the actor, the length of its gapless prefix (0 if dot
        1 is missing), then in turn how many counters are missing and how many are present. Dots
        1, 2, 3, 7 and 8 of actor ``b"a"`` are ``[[b"a", 3, 3, 2]]``. It is made once, and not to be
        changed: a context goes to a record, to replicas and to a client.
        """
        if self._plain is None:
            self._plain = self._made_plain()
        return self._plain

    def _made_plain(self) -> PlainContext:
        if not self._beyond:
            return [[actor, counter] for actor, counter in sorted(self._vector.items())]
        if not self._vector and len(self._beyond) == 1:
            # A blind write that replaces the version before it: two dots somewhere.
            ((actor, beyond),) = self._beyond.items()
            if len(beyond) == 2:
                return [[actor, 0, beyond[0] - 1, beyond[1] - beyond[0]]]
        plain: PlainContext = []
        for actor in self.actors():
            end = self._vector.get(actor, 0) + 1
            entry: list[bytes | int] = [actor, end - 1]
            beyond = self._beyond.get(actor, runs_.NOTHING)
            for boundary in beyond:
                entry.append(boundary - end)
                end = boundary
            plain.append(entry)
        return plain

    @classmethod
    def from_plain(
        cls, plain: object, *, actors_max: int = ACTORS_MAX, runs_max: int = RUNS_MAX
    ) -> "Context":
        """Read what `to_plain` made and a decoder returned (lists or tuples), trusting nothing.

        ``actors_max`` bounds the actors, ``runs_max`` the runs beyond the prefixes of all actors
        together. Raises `ContextError` for a wrong type, a number out of range, actors that are
        unsorted or repeated, and any form that is not the canonical one.
        """
        if not isinstance(plain, (list, tuple)):
            raise ContextError(f"a context is a list, not {type(plain).__name__}")
        if len(plain) > actors_max:
            raise ContextError(f"a context of {len(plain)} actors; at most {actors_max} are taken")
        vector: dict[Actor, int] = {}
        beyond: dict[Actor, Runs] = {}
        last = b""
        runs_left = runs_max
        for entry in plain:
            if type(entry) in _ENTRY_TYPES and len(entry) == 2:
                # Nearly every entry: an actor and the length of its gapless prefix.
                actor, count = entry
                if (
                    type(actor) is bytes
                    and last < actor
                    and len(actor) <= ACTOR_BYTES_MAX
                    and type(count) is int
                    and 1 <= count <= COUNTER_MAX
                ):
                    last = actor
                    vector[actor] = count
                    continue
            actor = _entry_actor(entry)
            if actor <= last:
                raise ContextError("the actors of a context rise, each once")
            last = actor
            runs_left -= len(entry) // 2 - 1
            if runs_left < 0:
                raise ContextError(f"a context of more than {runs_max} runs beyond its vector")
            boundaries = _entry_boundaries(entry)
            if boundaries[0] > 1:
                vector[actor] = boundaries[0] - 1
            if len(boundaries) > 1:
                beyond[actor] = boundaries[1:]
        return Context(vector, beyond) if plain else EMPTY

    def encoded_size(self) -> int:
        """The bytes of `to_plain` in CBOR, counted without encoding."""
        plain = self.to_plain()
        size = _head_size(len(plain))
        for entry in plain:
            actor = cast(bytes, entry[0])
            size += _head_size(len(entry)) + _head_size(len(actor)) + len(actor)
            size += sum(_head_size(cast(int, number)) for number in entry[1:])
        return size

    def __bool__(self) -> bool:
        return bool(self._vector or self._beyond)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Context):
            return NotImplemented
        return self._vector == other._vector and self._beyond == other._beyond

    def __hash__(self) -> int:
        return hash((frozenset(self._vector.items()), frozenset(self._beyond.items())))

    def __repr__(self) -> str:
        shown = (
            f"{actor.hex()}:{first}" if first == last else f"{actor.hex()}:{first}-{last}"
            for actor, first, last in self.spans()
        )
        return f"Context({', '.join(shown)})"

    def _actors(self) -> Iterator[Actor]:
        yield from self._vector
        for actor in self._beyond:
            if actor not in self._vector:
                yield actor

    def _history(self, actor: Actor) -> Runs:
        """All that is covered of ``actor``, the prefix included, as one set of runs."""
        counter = self._vector.get(actor, 0)
        beyond = self._beyond.get(actor, runs_.NOTHING)
        return (1, counter + 1, *beyond) if counter else beyond

    def _replacing(self, histories: dict[Actor, Runs]) -> "Context":
        """This context with the whole (not empty) history of some actors replaced."""
        vector = self._vector.copy()
        beyond = self._beyond.copy()
        for actor, history in histories.items():
            if history[0] == 1:
                vector[actor] = history[1] - 1
                history = history[2:]
            if history:
                beyond[actor] = history
            else:
                beyond.pop(actor, None)
        return Context(vector, beyond)

    def _join_with_gaps(self, other: "Context") -> "Context":
        if not self._beyond:
            joined = self._continued(other)
            if joined is not None:
                return joined
        grown: dict[Actor, Runs] = {}
        for actor in other._actors():
            mine, theirs = self._history(actor), other._history(actor)
            if not runs_.includes(mine, theirs):
                grown[actor] = runs_.union(mine, theirs)
        return self._replacing(grown) if grown else self

    def _continued(self, other: "Context") -> "Context | None":
        """The dots of either where ``other`` leaves no gap behind what is known here; else None.

        So it is with nearly every write that replaces the version before it: it tells of the
        last two dots of an actor, of whom all before are known here.
        """
        vector = {**self._vector}
        for actor, counter in other._vector.items():
            if counter > vector.get(actor, 0):
                vector[actor] = counter
        for actor, beyond in other._beyond.items():
            reached = vector.get(actor, 0)
            if len(beyond) > 2 or beyond[0] > reached + 1:
                return None
            vector[actor] = max(reached, beyond[1] - 1)
        return self if vector == self._vector else Context(vector, self._beyond)


EMPTY: Final = Context({}, {})
"""The context that covers nothing."""


def _entry_actor(entry: object) -> Actor:
    if not isinstance(entry, (list, tuple)):
        raise ContextError(f"an actor's entry is a list, not {type(entry).__name__}")
    if len(entry) < 2 or len(entry) % 2:
        raise ContextError("an actor's entry is the actor, a count, and pairs of counts")
    try:
        return check_actor(entry[0])
    except DotError as error:
        raise ContextError(str(error)) from None


def _entry_boundaries(entry: list[object] | tuple[object, ...]) -> Runs:
    """The end of the prefix, then the boundaries of the runs beyond it."""
    end = 1
    boundaries: list[int] = []
    for index in range(1, len(entry)):
        count = entry[index]
        # Not isinstance: True is an int, but it is no count, and it encodes differently.
        if type(count) is not int:
            raise ContextError(f"a count of counters is an integer, not {type(count).__name__}")
        if count < 1 and not (count == 0 and index == 1 and len(entry) > 2):
            raise ContextError("a count of counters is at least 1, but for a missing prefix")
        end += count
        if end > COUNTER_MAX + 1:
            raise ContextError("a counter is below 2**63")
        boundaries.append(end)
    return tuple(boundaries)


def _head_size(number: int) -> int:
    """The bytes of a CBOR head that carries ``number`` (RFC 8949, section 3)."""
    if number < 24:
        return 1
    if number < 1 << 8:
        return 2
    if number < 1 << 16:
        return 3
    return 5 if number < 1 << 32 else 9
