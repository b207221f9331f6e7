"""A context is exactly a set of dots: no operation adds one that was not given."""

import subprocess
import sys
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import COUNTER_MAX, EMPTY, Context, ContextError, Dot

ACTORS = (b"\x01", b"\x01\x00", b"twelve bytes")
EVERY_DOT = [(actor, counter) for actor in ACTORS for counter in range(1, 14)]

dots = st.tuples(st.sampled_from(ACTORS), st.integers(1, 12))
dot_sets = st.frozensets(dots, max_size=24)


def covered(context: Context) -> frozenset[Dot]:
    return frozenset(filter(context.covers, EVERY_DOT))


@given(dot_sets)
def test_gaps_are_never_rounded_up(seen: frozenset[Dot]) -> None:
    context = Context.from_dots(seen)
    assert covered(context) == seen
    assert context.covers_all(seen)
    assert bool(context) == bool(seen)
    spanned = {(a, n) for a, first, last in context.spans() for n in range(first, last + 1)}
    assert spanned == seen
    assert context.actors() == sorted({actor for actor, _ in seen})
    for actor in ACTORS:
        assert context.counter(actor) == max((n for a, n in seen if a == actor), default=0)


@given(dot_sets, dot_sets)
def test_operations_are_those_of_sets(one: frozenset[Dot], two: frozenset[Dot]) -> None:
    left, right = Context.from_dots(one), Context.from_dots(two)
    assert covered(left.join(right)) == one | two
    assert covered(left.missing_from(right)) == one - two
    assert covered(left.without_dots(two)) == one - two
    assert covered(left.with_dots(two)) == one | two
    assert left.dominates(right) == (one >= two)
    assert left.covers_all(two) == (one >= two)
    assert (left == right) == (one == two)


@given(dot_sets, dots)
def test_one_more_dot_is_one_more_dot(seen: frozenset[Dot], dot: Dot) -> None:
    context = Context.from_dots(seen)
    assert covered(context.with_dot(dot)) == seen | {dot}
    assert covered(context) == seen, "a context is never changed"


@given(dot_sets, dot_sets, dot_sets)
def test_join_laws(one: frozenset[Dot], two: frozenset[Dot], three: frozenset[Dot]) -> None:
    a, b, c = map(Context.from_dots, (one, two, three))
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(a) == a == a.join(EMPTY) == EMPTY.join(a)


@given(dot_sets, dot_sets)
def test_a_join_that_adds_nothing_makes_nothing(one: frozenset[Dot], two: frozenset[Dot]) -> None:
    both = Context.from_dots(one | two)
    assert both.join(Context.from_dots(one)) is both


@given(dot_sets.flatmap(lambda s: st.tuples(st.just(s), st.permutations(sorted(s)))))
def test_equal_sets_have_one_form_and_one_encoding(
    case: tuple[frozenset[Dot], list[Dot]],
) -> None:
    seen, order = case
    bulk, single = Context.from_dots(seen), EMPTY
    for dot in order:
        single = single.with_dot(dot)
    by_join = EMPTY
    for dot in order:
        by_join = by_join.join(Context.from_dots([dot]))
    for other in (single, by_join, bulk.join(by_join)):
        assert other == bulk
        assert hash(other) == hash(bulk)
        assert cbor2.dumps(other.to_plain()) == cbor2.dumps(bulk.to_plain())


@given(dot_sets)
def test_round_trip(seen: frozenset[Dot]) -> None:
    context = Context.from_dots(seen)
    encoded = cbor2.dumps(context.to_plain())
    assert Context.from_plain(cbor2.loads(encoded)) == context
    assert Context.from_plain(cbor2.loads(encoded, immutable=True)) == context
    assert context.encoded_size() == len(encoded)


@pytest.mark.parametrize("counter", [23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, COUNTER_MAX])
def test_encoded_size_at_the_edges_of_number_sizes(counter: int) -> None:
    for context in (
        Context.from_plain([[b"a", counter]]),
        Context.from_dots([(b"b", counter)]),
        Context.from_dots([(b"b", max(1, counter - 1)), (b"c" * 12, 7)]),
    ):
        assert context.encoded_size() == len(cbor2.dumps(context.to_plain()))
        assert Context.from_plain(context.to_plain()) == context


def test_many_actors_are_counted_right() -> None:
    context = Context.from_dots((n.to_bytes(2, "big"), 2 * n) for n in range(1, 300))
    assert context.encoded_size() == len(cbor2.dumps(context.to_plain()))
    assert Context.from_plain(context.to_plain()) == context


def test_the_plain_form_is_as_documented() -> None:
    seen = [(b"b", 4), (b"a", 8), (b"a", 1), (b"a", 7), (b"a", 3), (b"a", 2)]
    assert Context.from_dots(seen).to_plain() == [[b"a", 3, 3, 2], [b"b", 0, 3, 1]]
    assert EMPTY.to_plain() == []
    assert EMPTY.encoded_size() == 1


@given(st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 6)))
def test_prefixes_are_all_dots_up_to_their_last(prefixes: dict[bytes, int]) -> None:
    context = Context.from_prefixes(dict(prefixes))
    dots = {(actor, n) for actor, count in prefixes.items() for n in range(1, count + 1)}
    assert context == Context.from_dots(dots)
    assert context.is_gapless
    assert (context is EMPTY) == (not prefixes)


def test_a_context_with_a_gap_says_so() -> None:
    assert not Context.from_dots([(b"a", 2)]).is_gapless
    assert not Context.from_dots([(b"a", 1), (b"a", 3)]).is_gapless
    assert Context.from_dots([(b"a", 1), (b"a", 2), (b"b", 1)]).is_gapless


def test_a_gap_that_is_filled_is_absorbed() -> None:
    context = Context.from_dots([(b"a", 1), (b"a", 3)])
    assert context.with_dot((b"a", 2)).to_plain() == [[b"a", 3]]


def test_a_long_history_with_a_hole_stays_small() -> None:
    whole = Context.from_plain([[b"a", COUNTER_MAX]])
    holed = whole.without_dots([(b"a", 10**6)])
    assert not holed.covers((b"a", 10**6))
    assert holed.covers_all([(b"a", 10**6 - 1), (b"a", 10**6 + 1), (b"a", COUNTER_MAX)])
    assert holed.encoded_size() < 24
    assert holed.with_dot((b"a", 10**6)) == whole


def test_a_counter_out_of_range_is_a_fault_of_the_caller() -> None:
    for counter in (0, COUNTER_MAX + 1):
        with pytest.raises(AssertionError):
            EMPTY.with_dot((b"a", counter))
        with pytest.raises(AssertionError):
            Context.from_dots([(b"a", counter)])


MALFORMED: list[Any] = [
    None,
    b"",
    "context",
    7,
    {b"a": 1},
    [b"a", 1],
    [[]],
    [[b"a"]],
    [[b"a", 1, 1]],
    [["a", 1]],
    [[b"", 1]],
    [[b"thirteen byte", 1]],
    [[b"a", 0]],
    [[b"a", -1]],
    [[b"a", -1, 3, 1]],
    [[b"a", True]],
    [[b"a", 1.0]],
    [[b"a", b"1"]],
    [[b"a", COUNTER_MAX + 1]],
    [[b"a", 1, COUNTER_MAX - 1, 1]],
    [[b"a", 1, 0, 1]],
    [[b"a", 1, 1, 0]],
    [[b"a", 1, -1, 3]],
    [[b"a", 1, 1, True]],
    [[b"b", 1], [b"a", 1]],
    [[b"a", 1], [b"a", 2]],
    [[b"a", 1], [b"a", 1]],
]


@pytest.mark.parametrize("plain", MALFORMED, ids=repr)
def test_what_is_not_canonical_is_refused(plain: object) -> None:
    with pytest.raises(ContextError):
        Context.from_plain(plain)


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=14) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=2), inner),
    max_leaves=8,
)
near = st.lists(
    st.lists(st.sampled_from([b"a", b"b", 0, 1, 2, -1, COUNTER_MAX, True, None]), max_size=5),
    max_size=3,
)


@given(junk | near)
def test_junk_is_refused_or_is_what_it_says(plain: object) -> None:
    try:
        context = Context.from_plain(plain)
    except ContextError:
        return
    assert context.to_plain() == plain


def test_sizes_are_bounded() -> None:
    plain = Context.from_dots([(b"a", 2), (b"a", 4), (b"b", 1), (b"c", 9)]).to_plain()
    assert Context.from_plain(plain, actors_max=3, runs_max=3).to_plain() == plain
    with pytest.raises(ContextError, match="3 actors"):
        Context.from_plain(plain, actors_max=2)
    with pytest.raises(ContextError, match="2 runs"):
        Context.from_plain(plain, runs_max=2)


def test_the_encoding_does_not_depend_on_the_hash_seed() -> None:
    program = (
        "from sadik_causality import Container, Context, EMPTY\n"
        "dots = {(bytes([n % 7, n % 5]), n * n % 31 + 1) for n in range(60)}\n"
        "context = Context.from_dots(dots)\n"
        "box = Container.empty()\n"
        "for dot in sorted(dots): box = box.write(EMPTY, dot, 1)\n"
        "print(context.to_plain(), context, box, [part for part in box.split()])\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert len(printed[0]) > 1000
