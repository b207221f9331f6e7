"""What a study is: sites, the links between them, a workload, incidents, and settings to compare.

Everything is a cold value in nanoseconds and integers, so that a study can be handed to another
process. `sadik_sim.study.reading` makes one from a TOML file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from attrs import field, frozen

from sadik_machine import SECOND
from sadik_sim.study.durations import Durations

__all__ = ["Incident", "Phase", "Setting", "Site", "Study", "Workload"]


@frozen
class Site:
    """A place with nodes and clients. ``share`` weighs how many of the operations are its own."""

    name: str
    nodes: int
    share: int
    within: Durations = field(repr=False)
    """One-way delays between two nodes of the site."""


@frozen
class Setting:
    """One choice of quorums. ``strict`` means no sloppy quorum: only owners count."""

    n: int
    r: int
    w: int
    pr: int = 0
    pw: int = 0
    strict: bool = False

    @property
    def label(self) -> str:
        """``N=3 R=1 W=2 strict``: what tables and legends call it."""
        parts = [f"N={self.n}", f"R={self.r}", f"W={self.w}"]
        parts += [f"PR={self.pr}"] if self.pr else []
        parts += [f"PW={self.pw}"] if self.pw else []
        return " ".join([*parts, "strict" if self.strict else "sloppy"])


@frozen
class Workload:
    """What clients do.

    ``updates``: a write is a read and then a write with its context; otherwise blind writes, which
    replace what their coordinator holds. ``owner_clients``: clients ask a node of their own site
    that owns the key, where there is one (Dynamo, section 6.4); otherwise any of their site. After
    each acknowledged write ``probes`` reads of its key follow from random sites, at instants drawn
    evenly from the following ``probe_ns``: they are what t-visibility is measured by.
    """

    per_second: int
    read_percent: int
    keys: int
    weights: tuple[int, ...] = field(repr=False)
    """How often each key is drawn."""
    value_bytes: int
    updates: bool
    owner_clients: bool
    probes: int
    probe_ns: int
    timeout_ns: int


@frozen
class Incident:
    """Something that goes wrong for a while: ``cut``, ``crash``, ``pause`` or ``slow_disk``.

    It concerns the nodes of ``sites``; a cut parts them from all other sites, or, with ``towards``,
    from those alone. ``syncs`` are what the disks are like meanwhile.
    """

    kind: str
    at_ns: int
    for_ns: int
    sites: tuple[str, ...]
    nodes: int
    """How many nodes of each site, the first ones; 0 for all."""
    towards: tuple[str, ...] = ()
    syncs: Durations = field(default=(), repr=False)


@frozen
class Phase:
    """A stretch of a run with the same incidents: from ``begin_ns`` up to ``end_ns``."""

    name: str
    begin_ns: int
    end_ns: int
    is_calm: bool
    """Whether nothing was ever wrong before its end."""


@frozen
class Study:
    """A study. Times are nanoseconds since the workload begins."""

    name: str
    title: str
    about: str
    seeds: int
    length_ns: int
    partitions: int
    hedge_ns: int | None
    """None: reads are not hedged."""
    sites: tuple[Site, ...]
    delays: dict[tuple[str, str], Durations] = field(repr=False)
    """One-way delays between nodes of two sites, by (from, to)."""
    syncs: Durations = field(repr=False)
    """How long a disk's sync takes."""
    workload: Workload
    incidents: tuple[Incident, ...]
    settings: tuple[Setting, ...]
    samples: int
    """Draws for each prediction."""

    @property
    def node_sites(self) -> tuple[str, ...]:
        """The site of each node. Sites take turns, so that the founder's has no lead."""
        most = max(site.nodes for site in self.sites)
        return tuple(s.name for turn in range(most) for s in self.sites if turn < s.nodes)

    def delay(self, one: str, other: str) -> Durations:
        """One-way delays from a node of one site to another node of the same or another site."""
        if one == other:
            return next(site.within for site in self.sites if site.name == one)
        return self.delays[one, other]

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The run cut at the beginning and the end of every incident."""
        return tuple(self._phases())

    def _phases(self) -> Iterator[Phase]:
        times = {t for i in self.incidents for t in (i.at_ns, i.at_ns + i.for_ns)}
        cuts = sorted({0, self.length_ns, *(t for t in times if t < self.length_ns)})
        for begin, end in pairwise(cuts):
            present = [i for i in self.incidents if i.at_ns <= begin < i.at_ns + i.for_ns]
            past = any(i.at_ns < end for i in self.incidents)
            name = " and ".join(dict.fromkeys(_name_of(i) for i in present))
            if not name:
                name = f"after {begin // SECOND} s" if past else "calm"
            yield Phase(name, begin, end, is_calm=not past)


def _name_of(incident: Incident) -> str:
    who = ", ".join(incident.sites)
    match incident.kind:
        case "cut":
            rest = f" from {', '.join(incident.towards)}" if incident.towards else ""
            return f"{who} cut off{rest}"
        case "slow_disk":
            return f"slow disk at {who}"
        case "crash":
            return f"{who} down"
        case _:
            return f"{who} paused"
