"""Probabilistically bounded staleness: what a study's numbers should be, by Monte Carlo.

The model is WARS of Bailis, Venkataraman, Franklin, Hellerstein and Stoica ("Probabilistically
Bounded Staleness for Practical Partial Quorums", VLDB 2012, section 5.1): a write reaches replica i
after W_i and its acknowledgement returns after A_i; a read reaches it after R_i and its answer
returns after S_i. All are drawn independently. A read that begins t after the write was
acknowledged is stale when none of the replicas it hears had the write when the read arrived.

Followed as our protocol has it, which differs from the paper's in four places:

- A write may be forwarded to its coordinator first, and its answer comes back that way.
- The coordinator is a replica itself. It sends to the others when its own copy is on disk, and
  every acknowledgement waits for a sync. A read that finds a version whose sync is under way waits
  for it and shows it, so a version is visible from its arrival on, not from the end of the sync.
- A read asks R replicas, not all N: the node asked if it is an owner, then the owners in order.
- Which replicas these are follows from where clients and owners are, so it is drawn for each key.

What the model leaves out: read repair (it makes reads fresher than predicted), hedged reads,
later writes of the same key, syncs that wait for one another, messages that wait in a stream
behind a slow one (both later than predicted), and anything that goes wrong.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from attrs import Factory, define, frozen

from sadik_sim.study.durations import Durations
from sadik_sim.study.spec import Setting

__all__ = ["Model", "Prediction", "predict"]


@frozen
class Model:
    """A cluster as the model sees it; nodes are numbers, keys are what their owners are.

    ``delays`` are one-way between two nodes; a node reaches itself in no time. ``entries`` gives
    for each key the nodes that clients would ask, each as likely as the next within a site,
    and each site with its weight.
    """

    weights: Sequence[int]
    """How often each key is drawn."""
    owners: Sequence[Sequence[int]]
    """The owners of each key in order."""
    entries: Sequence[Sequence[tuple[int, str, Sequence[int]]]]
    """Per key: (weight, site, nodes)."""
    delays: Sequence[Sequence[Durations]]
    syncs: Durations
    is_forwarded: bool
    """Whether every write goes to the first owner: blind writes do, those with a context only
    where the node asked is no owner."""


@define(slots=True)
class Prediction:
    """Draws, ascending, in nanoseconds."""

    fresh_after: list[int] = Factory(list)
    """How long after an acknowledgement a read is fresh; 0 or less for at once."""
    reads: dict[str, list[int]] = Factory(dict)
    """Latencies of reads by the client's site."""
    writes: dict[str, list[int]] = Factory(dict)

    def visibility(self, age_ns: int) -> float:
        """The probability that a read so long after an acknowledgement is fresh."""
        return bisect_right(self.fresh_after, age_ns) / len(self.fresh_after)


def predict(model: Model, setting: Setting, samples: int, source: random.Random) -> Prediction:
    """Draw ``samples`` pairs of a write and a read of the same key."""
    prediction = Prediction()
    bounds = list(accumulate(model.weights))
    for _ in range(samples):
        key = bisect_right(bounds, source.randrange(bounds[-1]))
        site, writer = _entry(model, key, source)
        latency, arrivals = _write(model, setting, key, writer, source)
        prediction.writes.setdefault(site, []).append(latency)
        site, reader = _entry(model, key, source)
        heard = _heard(model, setting, key, reader)
        there = [_draw(model, reader, node, source) for node in heard]
        back = [_draw(model, node, reader, source) for node in heard]
        prediction.reads.setdefault(site, []).append(
            max(one + other for one, other in zip(there, back, strict=True))
        )
        prediction.fresh_after.append(
            min(arrivals[n] - t for n, t in zip(heard, there, strict=True)) - latency
        )
    prediction.fresh_after.sort()
    for latencies in (*prediction.reads.values(), *prediction.writes.values()):
        latencies.sort()
    return prediction


def _entry(model: Model, key: int, source: random.Random) -> tuple[str, int]:
    entries = model.entries[key]
    dice = source.randrange(sum(weight for weight, _, _ in entries))
    for weight, site, nodes in entries:
        dice -= weight
        if dice < 0:
            return site, nodes[source.randrange(len(nodes))]
    raise AssertionError("weights add up")


def _draw(model: Model, one: int, other: int, source: random.Random) -> int:
    if one == other:
        return 0
    table = model.delays[one][other]
    return table[source.randrange(len(table))]


def _write(
    model: Model, setting: Setting, key: int, entry: int, source: random.Random
) -> tuple[int, dict[int, int]]:
    """When the client knows, and when the version arrives at each owner."""
    owners, syncs = model.owners[key], model.syncs
    coordinator = owners[0] if model.is_forwarded or entry not in owners else entry
    arrivals = {coordinator: _draw(model, entry, coordinator, source)}
    stored = arrivals[coordinator] + syncs[source.randrange(len(syncs))]
    acks = [stored]
    for owner in owners:
        if owner != coordinator:
            arrivals[owner] = stored + _draw(model, coordinator, owner, source)
            sync = syncs[source.randrange(len(syncs))]
            acks.append(arrivals[owner] + sync + _draw(model, owner, coordinator, source))
    acks.sort()
    enough = acks[max(setting.w, setting.pw) - 1]
    return enough + _draw(model, coordinator, entry, source), arrivals


def _heard(model: Model, setting: Setting, key: int, reader: int) -> list[int]:
    """Whom a read asks: oneself first, then the owners in order."""
    in_order = sorted(model.owners[key], key=lambda owner: owner != reader)
    return in_order[: max(setting.r, setting.pr)]
