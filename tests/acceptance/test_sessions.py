"""A session reads its own writes through any node, or is told that it cannot: never its own past.

The nodes run in this process, so that the links between them can be cut in both directions or one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from attrs import define

from plain_http import Said, ask
from sadik_node.testing import Cluster, start_cluster

PATH = "/v1/kv/sessions/k"


@pytest.fixture
def three() -> Iterator[Cluster]:
    with start_cluster() as cluster:
        yield cluster


def values_of(said: Said) -> list[int]:
    if said.status == 300:
        return [int(sibling["text"]) for sibling in said.json()["siblings"]]
    return [int(said.body)]


@define
class Session:
    """One client: it writes 1, 2, 3 ... and remembers what it has been shown."""

    context: str | None = None
    written: int = 0
    seen: int = 0
    """The greatest number that it wrote and was told so, or read."""

    def write(self, url: str) -> bool:
        """Write the next number over all that was seen; whether it was acknowledged."""
        self.written += 1
        value = b"%d" % self.written
        if self.context is None:
            said = ask(url, "PUT", f"{PATH}?timeout=1000", value)
        else:
            said = ask(url, "PUT", f"{PATH}?timeout=1000", value, Sadik_Context=self.context)
        assert said.status in (204, 503, 504), said
        if said.status == 204:
            self.seen, self.context = self.written, said.headers["sadik-context"]
        return said.status == 204

    def read(self, url: str) -> bool:
        """Read from whoever answers first, but nothing older than what was seen; whether it was."""
        assert self.context is not None
        said = ask(url, "GET", f"{PATH}?r=1&timeout=200", Sadik_Context=self.context)
        assert said.status in (200, 300, 504), said
        if said.status == 504:
            return False
        newest = max(values_of(said))
        assert newest >= self.seen, "it reads its own past"
        self.seen, self.context = newest, said.headers["sadik-context"]
        return True


def test_without_a_session_a_reader_on_the_other_side_reads_the_past(three: Cluster) -> None:
    """So the tests below would notice a read that is too old."""
    session = Session()
    assert session.write(three.url("n1"))
    three.wait_until_hints_drained()
    three.isolate("n3")
    three.wait_until_noticed()
    assert session.write(three.url("n1"))
    assert values_of(ask(three.url("n3"), "GET", f"{PATH}?r=1")) == [1]


def test_a_session_on_the_other_side_of_a_partition_is_told_so(three: Cluster) -> None:
    session = Session()
    assert session.write(three.url("n1"))
    three.wait_until_hints_drained()
    three.isolate("n3")
    three.wait_until_noticed()
    assert session.read(three.url("n3")), "n3 has the first write"
    assert session.write(three.url("n1"))
    assert session.read(three.url("n2"))
    assert not session.read(three.url("n3")), "n3 cannot have the second"
    three.heal()
    three.wait_until_ready()
    three.wait_until_hints_drained()
    assert session.read(three.url("n3"))
    assert session.seen == session.written == 2


@pytest.mark.parametrize("seed", range(3))
def test_a_session_never_reads_its_own_past_whatever_is_cut(three: Cluster, seed: int) -> None:
    choice = random.Random(seed)
    session = Session()
    assert session.write(three.url("n1"))
    outcomes = []
    for _ in range(12):
        one, other = choice.sample(three.names, 2)
        match choice.randrange(4):
            case 0:
                three.isolate(one)
            case 1:
                three.cut(one, other, one_way=True)
            case 2:
                three.heal()
            case _:
                three.heal(one, other)
        if choice.random() < 0.5:
            three.wait_until_noticed()
        session.write(three.url(one))
        outcomes += [session.read(url) for url in three.urls]
    three.heal()
    three.wait_until_ready()
    three.wait_until_hints_drained()
    assert all(session.read(url) for url in three.urls)
    assert outcomes.count(True) >= 12, "the cluster was of some use all the same"
