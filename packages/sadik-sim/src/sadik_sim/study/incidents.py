"""What goes wrong in a study, at its time and for its time."""

from __future__ import annotations

import random

from sadik_sim.disk import Disk, DiskFaults
from sadik_sim.node import SimNode
from sadik_sim.study.durations import Durations
from sadik_sim.study.spec import Incident
from sadik_sim.world import World

__all__ = ["StudyDisk", "schedule"]


class StudyDisk(Disk):
    """A disk whose syncs take as long as a study says."""

    __slots__ = ("syncs",)

    def __init__(self, source: random.Random, syncs: Durations) -> None:
        super().__init__(source, DiskFaults())
        self.syncs = syncs

    def sync_ns(self) -> int:
        """How long the next sync takes."""
        return self.syncs[self.source.randrange(len(self.syncs))]


def schedule(world: World, incident: Incident, began: int) -> None:
    """Let the incident begin and end, ``began`` being the start of the workload."""
    nodes = _concerned(world, incident)
    begin, end = {
        "cut": (_cut, _heal),
        "crash": (_crash, _restart),
        "pause": (_pause, _resume),
        "slow_disk": (_slow_down, _speed_up),
    }[incident.kind]
    usual = [node.disk.syncs if isinstance(node.disk, StudyDisk) else () for node in nodes]
    world.events.at(began + incident.at_ns, begin, world, incident, nodes)
    over = began + incident.at_ns + incident.for_ns
    world.events.at(over, end, world, incident, nodes, usual)


def _concerned(world: World, incident: Incident) -> list[SimNode]:
    found: list[SimNode] = []
    for site in incident.sites:
        here = [node for node in world.nodes.values() if node.site == site]
        found += here[: incident.nodes or len(here)]
    return found


def _directions(
    world: World, incident: Incident, nodes: list[SimNode]
) -> list[tuple[SimNode, SimNode]]:
    others = [
        node
        for node in world.nodes.values()
        if node not in nodes and (not incident.towards or node.site in incident.towards)
    ]
    return [pair for a in nodes for b in others for pair in ((a, b), (b, a))]


def _cut(world: World, incident: Incident, nodes: list[SimNode]) -> None:
    for sender, receiver in _directions(world, incident, nodes):
        world.network.cut(sender.id, receiver.id)


def _heal(world: World, incident: Incident, nodes: list[SimNode], _usual: object) -> None:
    for sender, receiver in _directions(world, incident, nodes):
        world.network.heal(sender.id, receiver.id)


def _crash(_world: World, _incident: Incident, nodes: list[SimNode]) -> None:
    for node in nodes:
        node.crash()


def _restart(_world: World, _incident: Incident, nodes: list[SimNode], _usual: object) -> None:
    for node in nodes:
        if not node.is_running:
            node.start()


def _pause(_world: World, _incident: Incident, nodes: list[SimNode]) -> None:
    for node in nodes:
        node.pause()


def _resume(_world: World, _incident: Incident, nodes: list[SimNode], _usual: object) -> None:
    for node in nodes:
        node.resume()


def _slow_down(_world: World, incident: Incident, nodes: list[SimNode]) -> None:
    for node in nodes:
        assert isinstance(node.disk, StudyDisk)
        node.disk.syncs = incident.syncs


def _speed_up(
    _world: World, _incident: Incident, nodes: list[SimNode], usual: list[Durations]
) -> None:
    for node, syncs in zip(nodes, usual, strict=True):
        assert isinstance(node.disk, StudyDisk)
        node.disk.syncs = syncs
