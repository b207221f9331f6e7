"""A container merges by causality alone: nothing unseen is dropped, nothing replaced returns."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadik_causality import EMPTY, Container, Context, ContextError, Dot, write_context

ACTORS = (b"\x01", b"\x02\x00", b"twelve bytes")
EVERY_DOT = [(actor, counter) for actor in ACTORS for counter in range(1, 10)]
A1, A2, A3, B1 = (b"a", 1), (b"a", 2), (b"a", 3), (b"b", 1)

dots = st.tuples(st.sampled_from(ACTORS), st.integers(1, 8))
dot_sets = st.frozensets(dots, max_size=12)


def value_of(dot: Dot) -> str:
    """A dot names one value for ever, so the value is a function of the dot."""
    return f"{dot[0].hex()}:{dot[1]}"


def make(live: frozenset[Dot], replaced: frozenset[Dot]) -> Container[str]:
    return Container.checked(
        {dot: value_of(dot) for dot in live}, Context.from_dots(live | replaced)
    )


containers = st.builds(make, dot_sets, dot_sets)


def known(container: Container[str]) -> dict[Dot, str]:
    """The naive twin of a container: what is known of each dot, live or replaced."""
    return {
        dot: "live" if dot in container.versions else "replaced"
        for dot in EVERY_DOT
        if container.context.covers(dot)
    }


def merged_by_hand(one: dict[Dot, str], two: dict[Dot, str]) -> dict[Dot, str]:
    """Per dot, unknown < live < replaced, and merging takes the greater."""
    both = one | two
    return both | {dot: "replaced" for dot in both if "replaced" in (one.get(dot), two.get(dot))}


@given(containers, containers)
def test_merge_is_what_it_is_dot_by_dot(one: Container[str], two: Container[str]) -> None:
    merged = one.merge(two)
    assert known(merged) == merged_by_hand(known(one), known(two))
    assert merged.versions == {dot: value_of(dot) for dot in merged.live_dots()}


@given(containers, containers, containers)
def test_merge_laws(a: Container[str], b: Container[str], c: Container[str]) -> None:
    empty: Container[str] = Container.empty()
    assert a.merge(b) == b.merge(a)
    assert a.merge(b).merge(c) == a.merge(b.merge(c))
    assert a.merge(a) == a == a.merge(empty) == empty.merge(a)
    assert a.merge(b).merge(a) == a.merge(b)


@given(containers, containers)
def test_descent_is_merging_for_nothing(one: Container[str], two: Container[str]) -> None:
    merged = one.merge(two)
    assert merged.descends(one)
    assert merged.descends(two)
    assert one.descends(two) == (merged == one)
    assert (merged is one) == one.descends(two), "a merge that adds nothing makes nothing"
    assert merged.merge(two) is merged


@given(containers, containers)
def test_repair_sends_what_is_missing_and_no_more(
    mine: Container[str], answered: Container[str]
) -> None:
    missing = mine.missing_in(answered)
    if missing is None:
        assert answered.descends(mine)
        return
    assert answered.merge(missing) == answered.merge(mine) != answered
    assert not any(answered.context.covers(dot) for dot in missing.versions)
    assert missing.context.covers_all(missing.versions)
    assert mine.missing_in(answered.without_values()) == missing, "dots are enough to know"


@given(containers, st.randoms(use_true_random=False))
def test_parts_merge_back_in_any_order(container: Container[str], order: Random) -> None:
    parts = list(container.split())
    assert [part.live_dots() for part in parts if part.versions] == [
        [dot] for dot in container.live_dots()
    ]
    assert not any(part.versions for part in parts[len(container.versions) :])
    order.shuffle(parts)
    together: Container[str] = Container.empty()
    for part in parts:
        together = together.merge(part)
        assert container.descends(together), "some of the parts never say more than all"
    assert together == container


@given(containers, containers, st.integers(0, 12))
def test_a_transfer_cut_short_loses_nothing(
    sent: Container[str], there: Container[str], taken: int
) -> None:
    partly = there
    for part in list(sent.split())[:taken]:
        partly = partly.merge(part)
    assert partly.merge(sent) == there.merge(sent)
    gone = set(there.versions) - set(partly.versions)
    assert all(sent.context.covers(dot) and dot not in sent.versions for dot in gone)


@given(containers, dot_sets)
def test_a_write_replaces_exactly_what_its_context_covers(
    before: Container[str], shown: frozenset[Dot]
) -> None:
    seen, dot = Context.from_dots(shown), (b"new", 1)
    after = before.write(seen, dot, "new")
    assert set(after.versions) == (set(before.versions) - shown) | {dot}
    assert after.versions[dot] == "new"
    assert after.context == before.context.join(seen).with_dot(dot)


@given(containers, containers, dot_sets)
def test_a_delta_does_elsewhere_what_the_write_did_here(
    here: Container[str], there: Container[str], shown: frozenset[Dot]
) -> None:
    seen, dot = Context.from_dots(shown), (b"new", 1)
    delta = Container.delta(seen, (), dot, "new")
    assert here.write(seen, dot, "new") == here.merge(delta)
    assert there.merge(here).merge(delta) == there.merge(here.write(seen, dot, "new"))
    assert there.merge(delta).live_dots() == sorted(set(there.versions) - shown | {dot})


@given(dot_sets, dot_sets)
def test_a_writes_context_is_what_was_sent_what_was_replaced_and_the_dot(
    sent: frozenset[Dot], replaced: frozenset[Dot]
) -> None:
    context = write_context(Context.from_dots(sent), replaced, (b"new", 7))
    assert context == Context.from_dots(sent | replaced | {(b"new", 7)})
    assert not context.covers((b"new", 6))


@given(containers)
def test_a_blind_write_replaces_what_the_coordinator_holds(before: Container[str]) -> None:
    dot = (b"new", 1)
    after = before.write(before.live_context(), dot, "new")
    assert after.live_dots() == [dot]
    assert before.merge(Container.delta(EMPTY, before.live_dots(), dot, "new")) == after


def test_live_dots_are_sorted_whatever_the_order_of_arrival() -> None:
    arrived = [B1, A3, A1, A2]
    container: Container[str] = Container.empty()
    for dot in arrived:
        container = container.merge(Container.delta(EMPTY, (), dot, value_of(dot)))
    assert container.live_dots() == [A1, A2, A3, B1]


def test_same_live_ignores_contexts() -> None:
    one = Container({A2: "x"}, Context.from_dots([A2]))
    two = Container({A2: "x"}, Context.from_dots([A1, A2]))
    assert one.same_live(two)
    assert one.same_live(two.without_values())
    assert not one.same_live(Container({}, two.context))
    assert not one.descends(two)


def test_a_version_outside_its_context_is_refused() -> None:
    with pytest.raises(ContextError):
        Container.checked({A2: "x"}, Context.from_dots([A1, A3]))


def test_a_dot_is_made_once() -> None:
    container: Container[str] = Container.empty()
    container = container.write(EMPTY, A1, "first")
    with pytest.raises(AssertionError, match="made once"):
        container.write(EMPTY, A1, "again")
    with pytest.raises(AssertionError, match="before it is made"):
        container.write(Context.from_dots([A2]), A2, "seen too early")


def test_nothing_known_is_less_than_nothing_live() -> None:
    empty: Container[str] = Container.empty()
    assert not empty
    assert list(empty.split()) == []
    assert Container({}, Context.from_dots([A1])), "it remembers that there was a version"


def test_containers_are_values_that_no_operation_changes() -> None:
    before = make(frozenset([A1, B1]), frozenset([A2]))
    copy = make(frozenset([A1, B1]), frozenset([A2]))
    before.write(Context.from_dots([A1]), A3, "x")
    before.merge(Container({}, Context.from_dots([A1, B1])))
    before.missing_in(Container({}, EMPTY))
    list(before.split())
    assert before == copy
    assert repr(before) == repr(copy)
    with pytest.raises(TypeError):
        hash(before)
