"""Preference lists: whom a request for a key may go to, in order.

First the partition's owners, then fallbacks: every other node, to stand in for an owner that is
down (DeCandia et al. 2007, sections 4.3 and 4.6). Each fallback comes from a zone that has
appeared least in the list so far, so a zone that the owners lack comes first and then zones take
turns; within a zone, and between zones that are even, the partition's ranks decide
(``sadik_hashing.ranks``). So what an owner leaves behind when it fails is spread over all nodes,
and every node that knows the same members finds the same list.
"""

from collections.abc import Iterable, Sequence

from sadik_hashing.claimant import Assignment, Placed
from sadik_hashing.ranks import rank_of, ranks_of

_Ranked = tuple[int, bytes, str]
"""Rank at a partition, id, zone."""


def preference_list(
    owners: Sequence[bytes], nodes: Iterable[Placed], partition: int
) -> list[bytes]:
    """Return the owners in order, then every other of the nodes as a fallback.

    The order of ``nodes`` does not matter, and no node appears twice. Owners are listed whether
    or not they are among the nodes: whether an owner is up is for the caller to judge.
    """
    zone_of = {node.id: node.zone for node in nodes}
    ranked = [
        (rank_of(node, partition), node, zone)
        for node, zone in zone_of.items()
        if node not in owners
    ]
    return _listed(owners, zone_of, ranked)


def _listed(
    owners: Sequence[bytes], zone_of: dict[bytes, str], others: list[_Ranked]
) -> list[bytes]:
    listed = list(dict.fromkeys(owners))
    seen: dict[str, int] = {}
    for node in listed:
        if node in zone_of:
            seen[zone_of[node]] = seen.get(zone_of[node], 0) + 1
    # A node's turn is how often its zone has appeared when it is reached, so sorting by turn and
    # then rank is the same as looking for the zone that appeared least, time and again.
    turns: list[tuple[int, int, bytes]] = []
    for rank, node, zone in sorted(others):
        turn = seen.get(zone, 0)
        seen[zone] = turn + 1
        turns.append((turn, rank, node))
    turns.sort()
    listed.extend(node for _, _, node in turns)
    return listed


class PreferenceTable:
    """The preference lists of all partitions for one set of members.

    A list is made when first asked for and then kept, so that a look-up on the path of a request
    is an index into a list. Change one partition's owners with ``assign``; for other members make
    another table.

    Raises ``ValueError`` for two nodes of one id.
    """

    __slots__ = ("_lists", "_owners", "_ranks", "_zone_of")

    def __init__(self, assignment: Assignment, nodes: Iterable[Placed]) -> None:
        placed = sorted(nodes, key=lambda node: node.id)
        self._owners: list[tuple[bytes, ...]] = list(assignment)
        self._zone_of = {node.id: node.zone for node in placed}
        if len(self._zone_of) != len(placed):
            raise ValueError("two nodes have one id")
        self._ranks = {node: ranks_of(node, len(assignment)) for node in self._zone_of}
        self._lists: list[tuple[bytes, ...] | None] = [None] * len(assignment)

    def __len__(self) -> int:
        """Return the number of partitions."""
        return len(self._lists)

    def __getitem__(self, partition: int) -> tuple[bytes, ...]:
        """Return the preference list of a partition."""
        return self._lists[partition] or self._make(partition)

    def owners(self, partition: int) -> tuple[bytes, ...]:
        """Return the owners of a partition, which are the beginning of its list."""
        return self._owners[partition]

    def assign(self, partition: int, owners: Sequence[bytes]) -> None:
        """Give a partition other owners."""
        self._owners[partition] = tuple(owners)
        self._lists[partition] = None

    def _make(self, partition: int) -> tuple[bytes, ...]:
        owners = self._owners[partition]
        ranked = [
            (self._ranks[node][partition], node, zone)
            for node, zone in self._zone_of.items()
            if node not in owners
        ]
        made = tuple(_listed(owners, self._zone_of, ranked))
        self._lists[partition] = made
        return made
