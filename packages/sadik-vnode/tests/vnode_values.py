"""What replicas hold and say, drawn at random: containers of one key, and messages of every kind.

A dot names one version for ever, so the version of a dot is a function of it.
"""

from __future__ import annotations

import math
import random
import types
import typing
from typing import Any

from hypothesis import strategies as st

from sadik_causality import Container, Context, Dot
from sadik_machine import NodeId
from sadik_vnode.version import PlainVersion, Version, tombstone, version_of

ACTORS = [b"a", b"b", b"node-one0001", b"\xff" * 12]

DOTS: st.SearchStrategy[Dot] = st.tuples(st.sampled_from(ACTORS), st.integers(1, 6))


def version_named(dot: Dot, *, scale: int = 1) -> Version:
    """The one version of ``dot``: every third is a delete, bodies differ in content and size."""
    actor, counter = dot
    if counter % 3 == 0:
        return tombstone(counter)
    body = bytes([counter]) * (scale * (counter + len(actor)))
    return version_of(body, counter, "text/plain", (("actor", actor.hex()),))


def container_of(known: list[Dot], live: list[Dot], *, scale: int = 1) -> Container[Version]:
    """A container that knows ``known`` and ``live``, and holds ``live``."""
    versions = {dot: version_named(dot, scale=scale) for dot in live}
    return Container(versions, Context.from_dots([*known, *live]))


CONTAINERS = st.builds(
    container_of, st.lists(DOTS, max_size=12), st.lists(DOTS, max_size=6, unique=True)
)
"""Any container that the rules allow, gaps in its context included."""


def one_version(
    dot: Dot,
    size: int,
    expires_ms: int | None,
    others: list[tuple[bytes, int]] | None = None,
    *,
    known: bool,
) -> Container[Version]:
    """A record of one version, under a context of no other dot, or of all before it too and of
    ``others``.
    """
    others = others or []
    version = version_of(b"v" * size, 7, None, (), expires_ms)
    counts = [[dot[0], dot[1]], *([actor, count] for actor, count in others if actor != dot[0])]
    context = Context.from_plain(sorted(counts)) if known else Context.from_dots([dot])
    return Container({dot: version}, context)


ONES = st.builds(
    one_version,
    st.tuples(st.sampled_from(ACTORS), st.sampled_from([1, 2, 23, 24, 300, 1 << 16, 1 << 32])),
    st.sampled_from([0, 1, 23, 24, 100, 255, 256, 300, 1 << 15, (1 << 15) + 1]),
    st.none() | st.sampled_from([0, 5_000]),
    st.lists(
        st.tuples(
            st.sampled_from([b"a0", *ACTORS]),
            st.sampled_from([1, 24, 256, 70_000, (1 << 32) - 1, 1 << 32]),
        ),
        max_size=3,
        unique_by=lambda other: other[0],
    ),
    known=st.booleans(),
)
DELETES = DOTS.map(lambda dot: Container({dot: tombstone(9)}, Context.from_dots([dot])))
STATES = st.one_of(ONES, DELETES, CONTAINERS).filter(lambda container: bool(container.context))
"""Any container of which something is known, most of them with one version."""


def same(one: Container[Version], other: Container[Version]) -> bool:
    """Equality by content: versions themselves compare by identity."""
    return contents(one) == contents(other) and one.context == other.context


def contents(container: Container[Version]) -> dict[Dot, tuple[bytes, bytes | None, int]]:
    """The versions of a container as values that compare."""
    return {dot: (v.head, v.body, v.size) for dot, v in container.versions.items()}


def drawn_message(cls: type[Any], source: random.Random) -> Any:
    """A message of this class that the codec lets through: any field may be what no node sends."""
    hints = typing.get_type_hints(cls)
    return cls(**{name: _drawn(hint, source) for name, hint in hints.items()})


_BYTES = (b"", b"k", b"other", b"\x01" * 8, b"\x02" * 8, b"\xff" * 8, b"a", b"b" * 12, b"c" * 13)
_INTS = (0, 1, 2, 3, 5, 100, -1, 1 << 63, (1 << 64) - 1, -(1 << 64))
_TEXTS = ("b", "", "a\0b", "ä", "x" * 200, "quorum", "one", "two")
_PLAIN: tuple[object, ...] = (
    None, 1, "x", math.nan, (), ((),), (((),),), ((b"a", 1),), ((b"a", 1), (b"b" * 12, 3)),
    ((b"a", 0, 2, 1),), ((b"", 1),), ((b"a", -1),), ((b"a", 1 << 63),), ((b"b", 1), (b"a", 1)),
)  # fmt: skip


def _drawn(hint: Any, source: random.Random) -> Any:
    if hint is int:
        return source.choice(_INTS)
    if hint is NodeId:
        return NodeId(source.choice([b"\x01" * 8, b"\x02" * 8, b"\xff" * 8]))
    if hint is bytes:
        return source.choice([*_BYTES, b"x" * 600])
    if hint is str:
        return source.choice(_TEXTS)
    if hint is bool:
        return source.randrange(2) == 0
    if hint is type(None):
        return None
    if hint is object:
        return source.choice(_PLAIN)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _drawn(source.choice(arguments), source)
    assert origin is tuple, hint
    if arguments[-1] is Ellipsis:
        return tuple(_drawn(arguments[0], source) for _ in range(source.randrange(4)))
    if hint == PlainVersion and source.randrange(4):
        dot = (source.choice(ACTORS), source.randrange(1, 4))
        return version_named(dot).to_plain(dot)
    return tuple(_drawn(argument, source) for argument in arguments)
