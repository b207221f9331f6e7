"""Claim: which nodes own which partitions.

Dynamo's strategy 3 (DeCandia et al. 2007, section 6.2): Q equal partitions, each with an explicit
ordered list of N owners. The solver keeps what it can of the present assignment and changes as
little as gives every node its quota (``sadik_hashing.quota``):

1. owners that left, or that crowd a zone while another zone has none, leave their slots empty;
2. empty slots go to the nodes that have least of their quota, first owners' slots before others;
3. while a node has too many slots, or too few, one moves along the shortest path from a node
   that can spare it to one that lacks it, through slots that move anyway if there is such a path;
4. likewise for first owners, by changing places within a partition's list, which moves no data.

Each of 3 and 4 is a maximum flow found by augmenting paths (Ford and Fulkerson 1956). An edge from
u to v is a partition where v may have u's slot, and a shortest path uses no partition twice in a
way that breaks its rules, so the quotas are always met exactly: every node ends within one slot
of its due, and within one first slot of its due.

There is no randomness: order comes from ids, loads and ranks, so the same members and present
assignment always give the same plan, on every node.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from sadik_hashing.claimant import Assignment, Claimant, in_order
from sadik_hashing.draft import Draft
from sadik_hashing.quota import quotas_of
from sadik_hashing.tokens import Partitions

_Step: TypeAlias = tuple[int, int, int]
"""Partition, giver, taker."""


def claim(
    claimants: Iterable[Claimant],
    partitions: int,
    replicas: int,
    present: Assignment | None = None,
) -> Assignment:
    """Return the owners of every partition.

    Each of the ``partitions`` (a power of two from 8 to 4096) gets ``replicas`` distinct owners,
    or as many as there are nodes. They lie in as many zones as can be; after that each node's
    share of slots, and of first slots, goes by weight, to within one. ``present`` is the
    assignment that there is; without one, or with rows that are empty, owners are found afresh.

    Raises ``ValueError`` without claimants, with two of one id, for ``partitions`` or
    ``replicas`` out of range, and for a present assignment of another number of partitions.
    """
    count = Partitions(partitions).count
    nodes = in_order(claimants)
    if present is not None and len(present) != count:
        raise ValueError(f"the present assignment has {len(present)} partitions, not {count}")
    draft = Draft(nodes, count, quotas_of(nodes, count, replicas))
    if present is not None:
        draft.keep(present)
    _fill(draft)
    _level_slots(draft)
    _level_firsts(draft)
    return draft.assignment()


def _fill(draft: Draft) -> None:
    """Give every empty slot to the node that would then have least relative to its due."""
    for partition, position in draft.empty_slots():
        if position == 0:
            load, share = draft.firsts, draft.first_share
        else:
            load, share = draft.slots, draft.slot_share
        _, _, node = min(
            ((load[node] + 1) * share[node], draft.ranks[node][partition], node)
            for node in draft.may_fill(partition)
        )
        draft.fill(partition, position, node)


def _level_slots(draft: Draft) -> None:
    quotas = draft.quotas

    def path(givers: Sequence[int], takers: Sequence[int]) -> list[_Step]:
        """Prefer a path of fresh slots: such a path moves nothing that would have stayed."""
        found = _path(givers, takers, lambda giver: _fresh_edges(draft, giver)) or _path(
            givers, takers, lambda giver: _edges(draft, giver, takers)
        )
        assert found is not None, "a quota can always be met"
        return found

    _level(
        draft.slots,
        draft.slot_share,
        quotas.slots_min,
        quotas.slots_max,
        path,
        draft.replace,
    )


def _level_firsts(draft: Draft) -> None:
    quotas = draft.quotas

    def path(givers: Sequence[int], takers: Sequence[int]) -> list[_Step]:
        found = _path(givers, takers, lambda giver: _first_edges(draft, giver))
        assert found is not None, "a quota of first slots can always be met"
        return found

    _level(
        draft.firsts,
        draft.first_share,
        quotas.firsts_min,
        quotas.firsts_max,
        path,
        lambda partition, _giver, taker: draft.promote(partition, taker),
    )


def _level(
    load: list[int],
    share: list[float],
    load_min: Sequence[int],
    load_max: Sequence[int],
    path: Callable[[Sequence[int], Sequence[int]], list[_Step]],
    apply: Callable[[int, int, int], None],
) -> None:
    """Move load along paths until every node is between its bounds.

    Givers and takers are offered to ``path`` in order of need: those beyond a bound first, then
    those with most (least) relative to their due.
    """
    everyone = range(len(load))

    def by_want(node: int) -> tuple[bool, float, int]:
        return load[node] >= load_min[node], (load[node] + 1) * share[node], node

    def by_excess(node: int) -> tuple[bool, float, int]:
        return load[node] <= load_max[node], -load[node] * share[node], node

    while True:
        over = [node for node in everyone if load[node] > load_max[node]]
        under = [node for node in everyone if load[node] < load_min[node]]
        if over:
            givers = [min(over, key=by_excess)]
            takers = sorted((n for n in everyone if load[n] < load_max[n]), key=by_want)
        elif under:
            givers = sorted((n for n in everyone if load[n] > load_min[n]), key=by_excess)
            takers = [min(under, key=by_want)]
        else:
            return
        for partition, giver, taker in path(givers, takers):
            apply(partition, giver, taker)


def _path(
    givers: Sequence[int],
    takers: Sequence[int],
    edges: Callable[[int], dict[int, int]],
) -> list[_Step] | None:
    """Return the steps of a shortest path from one of the givers to one of the takers.

    ``edges`` gives the nodes that a node can pass load to, each with the partition by which. Of
    the takers that one node reaches, the foremost in ``takers`` is taken.
    """
    came: dict[int, _Step | None] = dict.fromkeys(givers)
    queue = deque(givers)
    while queue:
        giver = queue.popleft()
        reached = edges(giver)
        for taker in takers:
            if taker in reached and taker not in came:
                step: _Step | None = (reached[taker], giver, taker)
                steps: list[_Step] = []
                while step is not None:
                    steps.append(step)
                    step = came[step[1]]
                return steps
        for taker, partition in reached.items():
            if taker not in came:
                came[taker] = (partition, giver, taker)
                queue.append(taker)
    return None


def _fresh_edges(draft: Draft, giver: int) -> dict[int, int]:
    reached: dict[int, int] = {}
    for partition in draft.fresh[giver]:
        for taker in range(len(draft.nodes)):
            if taker not in reached and draft.may_replace(partition, giver, taker):
                reached[taker] = partition
    return reached


def _edges(draft: Draft, giver: int, takers: Sequence[int]) -> dict[int, int]:
    """Return whom a node can give a slot to: the foremost taker alone, if any, else all others."""
    for taker in takers:
        if taker != giver:
            partition = _slot_for(draft, giver, taker)
            if partition is not None:
                return {taker: partition}
    reached: dict[int, int] = {}
    waiting = dict.fromkeys(range(len(draft.nodes)))
    for node in (giver, *takers):
        waiting.pop(node, None)
    for partition in draft.held[giver]:
        if not waiting:
            break
        for taker in [node for node in waiting if draft.may_replace(partition, giver, node)]:
            reached[taker] = partition
            del waiting[taker]
    return reached


def _slot_for(draft: Draft, giver: int, taker: int) -> int | None:
    """Return a partition where the taker may have the giver's slot.

    It is one where the giver is first owner exactly if that brings both nearer to their quotas
    of first slots, if there is one such, so that fewer owners change places later.
    """
    quotas = draft.quotas
    give_first = (
        draft.firsts[taker] < quotas.firsts_min[taker]
        and draft.firsts[giver] > quotas.firsts_min[giver]
    ) or (
        draft.firsts[taker] < quotas.firsts_max[taker]
        and draft.firsts[giver] > quotas.firsts_max[giver]
    )
    second_best: int | None = None
    for partition in draft.held[giver]:
        if draft.may_replace(partition, giver, taker):
            if (draft.owners[partition][0] == giver) == give_first:
                return partition
            if second_best is None:
                second_best = partition
    return second_best


def _first_edges(draft: Draft, giver: int) -> dict[int, int]:
    """Return who can become first instead of a node; a list that changes anyway is preferred."""
    reached: dict[int, int] = {}
    for partition in sorted(draft.first_of[giver], key=lambda p: not draft.changed(p)):
        for taker in draft.owners[partition][1:]:
            reached.setdefault(taker, partition)
    return reached
