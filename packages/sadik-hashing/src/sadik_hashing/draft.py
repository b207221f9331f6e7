"""Draft: an assignment while it is being made.

Nodes are numbers here, zones too. A slot is empty (``NOBODY``) or owned. The draft keeps the
rules that hold at every moment: no node twice in a partition, and never fewer empty slots in a
partition than zones it still has to reach. So an empty slot can always be filled, and a filled
partition always lies in as many zones as it can.

A slot is *fresh* if its node did not own the partition before. Giving a fresh slot to yet
another node costs nothing, for its data has to travel anyway.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from sadik_hashing.claimant import Assignment, Claimant
from sadik_hashing.quota import Quotas
from sadik_hashing.ranks import ranks_of

NOBODY: Final = -1
_DUE_MIN: Final = 1e-9
"""Stands in for a due of nothing, so that loads relative to a due stay finite."""


class Draft:
    """Owners by partition, loads by node, and the moves that keep the rules."""

    __slots__ = (
        "_kept",
        "_zones_met",
        "first_of",
        "first_share",
        "firsts",
        "fresh",
        "held",
        "nodes",
        "owners",
        "partitions",
        "quotas",
        "ranks",
        "slot_share",
        "slots",
        "zone_of",
    )

    def __init__(self, nodes: Sequence[Claimant], partitions: int, quotas: Quotas) -> None:
        count = len(nodes)
        zones = {zone: number for number, zone in enumerate(sorted({n.zone for n in nodes}))}
        self.nodes = nodes
        self.partitions = partitions
        self.quotas = quotas
        self.zone_of = [zones[node.zone] for node in nodes]
        self.ranks = [ranks_of(node.id, partitions) for node in nodes]
        self.owners = [[NOBODY] * quotas.width for _ in range(partitions)]
        self.slots = [0] * count
        """Slots that each node owns."""
        self.firsts = [0] * count
        """Partitions whose first owner each node is."""
        self.slot_share = [1 / max(due, _DUE_MIN) for due in quotas.slots]
        """What one slot adds to a node's load relative to its due."""
        self.first_share = [1 / max(due, _DUE_MIN) for due in quotas.firsts]
        # Dictionaries as ordered sets: the order of a scan must not depend on hashes.
        self.held: list[dict[int, None]] = [{} for _ in nodes]
        """The partitions that each node owns a slot of."""
        self.fresh: list[dict[int, None]] = [{} for _ in nodes]
        """Those of them whose slot is fresh."""
        self.first_of: list[dict[int, None]] = [{} for _ in nodes]
        """Those of them whose first owner it is."""
        self._kept: list[frozenset[int]] = [frozenset()] * partitions
        self._zones_met: list[dict[int, int]] = [{} for _ in range(partitions)]

    # Taking over the assignment that there is.

    def keep(self, present: Assignment) -> None:
        """Take over what the present owners may keep; owners that are no claimants leave."""
        number = {node.id: index for index, node in enumerate(self.nodes)}
        width = self.quotas.width
        rows: list[list[int]] = []
        for partition, ids in enumerate(present):
            row: list[int] = []
            for node in (number.get(node_id, NOBODY) for node_id in ids):
                # Should the present assignment name a node twice, it counts once.
                row.append(NOBODY if node in row else node)
                if row[-1] != NOBODY:
                    self.slots[node] += 1
            self._kept[partition] = frozenset(row)
            rows.append(row)
        for partition, row in enumerate(rows):
            self._fit(row, width)
            self.owners[partition] = row
        self._index()

    def _fit(self, row: list[int], width: int) -> None:
        """Make a row as wide as it must be, with an empty slot for every zone it lacks."""
        while len(row) > width and NOBODY in row:
            row.remove(NOBODY)
        while len(row) > width:
            victim = self._victim(row)
            row.remove(victim)
            self.slots[victim] -= 1
        row.extend([NOBODY] * (width - len(row)))
        while self._zones_lacking(row) > row.count(NOBODY):
            victim = self._victim(row)
            row[row.index(victim)] = NOBODY
            self.slots[victim] -= 1

    def _victim(self, row: list[int]) -> int:
        """Return the owner that a row loses least by: one that shares a zone, and overloaded."""
        zones = [self.zone_of[node] for node in row if node != NOBODY]
        return max(
            (node for node in row if node != NOBODY),
            key=lambda node: (
                zones.count(self.zone_of[node]) > 1,
                self.slots[node] * self.slot_share[node],
                node != row[0],
                node,
            ),
        )

    def _zones_lacking(self, row: list[int]) -> int:
        return self.quotas.spread - len({self.zone_of[node] for node in row if node != NOBODY})

    def _index(self) -> None:
        """Build what is kept by node, each node's partitions in a shuffled order of its own."""
        for partition, row in enumerate(self.owners):
            met = self._zones_met[partition]
            for node in row:
                if node != NOBODY:
                    zone = self.zone_of[node]
                    met[zone] = met.get(zone, 0) + 1
                    self.held[node][partition] = None
            if row[0] != NOBODY:
                self.firsts[row[0]] += 1
                self.first_of[row[0]][partition] = None
        for node, ranks in enumerate(self.ranks):
            for index in (self.held, self.first_of):
                index[node] = dict.fromkeys(sorted(index[node], key=ranks.__getitem__))

    # Empty slots.

    def empty_slots(self) -> Iterator[tuple[int, int]]:
        """Yield partition and position of every empty slot, those of first owners first."""
        rows = self.owners
        yield from ((p, 0) for p in range(self.partitions) if rows[p][0] == NOBODY)
        for partition in range(self.partitions):
            for position in range(1, self.quotas.width):
                if rows[partition][position] == NOBODY:
                    yield partition, position

    def may_fill(self, partition: int) -> list[int]:
        """Return the nodes that may take an empty slot of a partition; there is always one."""
        row, met = self.owners[partition], self._zones_met[partition]
        zone_of = self.zone_of
        new_zone_only = self.quotas.spread - len(met) >= row.count(NOBODY)
        return [
            node
            for node in range(len(self.nodes))
            if node not in row and not (new_zone_only and zone_of[node] in met)
        ]

    def fill(self, partition: int, position: int, node: int) -> None:
        """Give an empty slot to a node."""
        assert self.owners[partition][position] == NOBODY
        self._take(partition, position, node)

    # Full partitions.

    def may_replace(self, partition: int, giver: int, taker: int) -> bool:
        """Whether the taker may have the giver's slot of a partition that is full."""
        if taker in self.owners[partition]:
            return False
        giver_zone, taker_zone = self.zone_of[giver], self.zone_of[taker]
        if giver_zone == taker_zone:
            return True
        met = self._zones_met[partition]
        return taker_zone not in met or met[giver_zone] > 1

    def replace(self, partition: int, giver: int, taker: int) -> None:
        """Give one node's slot, where it stands in the list, to another."""
        assert self.may_replace(partition, giver, taker)
        row, met = self.owners[partition], self._zones_met[partition]
        position = row.index(giver)
        zone = self.zone_of[giver]
        met[zone] -= 1
        if not met[zone]:
            del met[zone]
        self.slots[giver] -= 1
        del self.held[giver][partition]
        self.fresh[giver].pop(partition, None)
        if position == 0:
            self.firsts[giver] -= 1
            del self.first_of[giver][partition]
        self._take(partition, position, taker)

    def promote(self, partition: int, node: int) -> None:
        """Make an owner the first one: it and the first owner change places."""
        row = self.owners[partition]
        first, position = row[0], row.index(node)
        row[0], row[position] = node, first
        self.firsts[first] -= 1
        del self.first_of[first][partition]
        self.firsts[node] += 1
        self.first_of[node][partition] = None

    def changed(self, partition: int) -> bool:
        """Whether a partition has an owner that it did not have before."""
        return not self._kept[partition].issuperset(self.owners[partition])

    def _take(self, partition: int, position: int, node: int) -> None:
        self.owners[partition][position] = node
        zone, met = self.zone_of[node], self._zones_met[partition]
        met[zone] = met.get(zone, 0) + 1
        self.slots[node] += 1
        self.held[node][partition] = None
        if node not in self._kept[partition]:
            self.fresh[node][partition] = None
        if position == 0:
            self.firsts[node] += 1
            self.first_of[node][partition] = None

    def assignment(self) -> Assignment:
        """Return the assignment by node ids; every slot must be filled."""
        ids = [node.id for node in self.nodes]
        assert all(NOBODY not in row for row in self.owners)
        return tuple(tuple(ids[node] for node in row) for row in self.owners)
