"""Running a study: each setting under each seed is one run, and runs share nothing.

A run forms the cluster on its own links and disks, lets the clients and the incidents loose for the
length of the study, and returns what was answered and what it cost; beside it what was predicted
from the same owners and the same tables.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import Executor

from attrs import define, frozen

from sadik_machine import SECOND, NodeId
from sadik_sim.network import Delay
from sadik_sim.study.clients import Answer, Clients, draw_operations, fill, key_of
from sadik_sim.study.incidents import StudyDisk, schedule
from sadik_sim.study.pbs import Model, Prediction, predict
from sadik_sim.study.spec import Setting, Study
from sadik_sim.study.watch import Cost, Watch
from sadik_sim.world import World
from sadik_vnode import EngineConfig

__all__ = ["Job", "Observation", "StudyFailed", "jobs_of", "observe", "run_study"]

_NEVER_NS = 365 * 86_400 * SECOND
_AFTERWARDS_NS = 5 * SECOND
_COUNTED = ("read_repairs", "hints_written", "hints_delivered", "hints_dropped", "forwards")


class StudyFailed(RuntimeError):  # noqa: N818 - names what became of it
    """A study that no cluster can carry out; the message says why."""


@frozen
class Job:
    """One run."""

    study: Study
    setting: Setting
    seed: int


@define(slots=True)
class Observation:
    """What one run gave. It travels between processes."""

    setting: Setting
    seed: int
    answers: list[Answer]
    cost: Cost
    counters: dict[str, int]
    """Of all engines together; those of a node that crashed count from its restart."""
    prediction: Prediction


def jobs_of(study: Study) -> list[Job]:
    """Every setting under every seed."""
    return [Job(study, s, seed) for s in study.settings for seed in range(study.seeds)]


def run_study(
    study: Study,
    executor: Executor | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> list[Observation]:
    """All runs of a study, in order; ``tell`` hears how many are done, of how many.

    Raises `StudyFailed`.
    """
    jobs = jobs_of(study)
    found: list[Observation] = []
    results: Iterator[Observation]
    results = map(observe, jobs) if executor is None else executor.map(observe, jobs)
    for observation in results:
        found.append(observation)
        if tell is not None:
            tell(len(found), len(jobs))
    return found


def observe(job: Job) -> Observation:
    """Carry one run out. Raises `StudyFailed`."""
    study, setting = job.study, job.setting
    world = _world(job)
    watch = world.checks
    assert isinstance(watch, Watch)
    _prepare(world, study)
    watch.cost = Cost()
    began = world.events.now
    clients = Clients(world, watch, study.workload, setting)
    model = _model(world, study)
    for incident in study.incidents:
        schedule(world, incident, began)
    source = random.Random(f"sadik study {job.seed}")
    for operation in draw_operations(source, study):
        world.events.at(began + operation.at_ns, clients.carry_out, operation)
    world.run(study.length_ns + study.workload.timeout_ns + _AFTERWARDS_NS)
    engines = [node.engine for node in world.nodes.values() if node.engine is not None]
    return Observation(
        setting,
        job.seed,
        clients.answers,
        watch.cost,
        {name: sum(getattr(e.counters, name) for e in engines) for name in _COUNTED},
        predict(model, setting, study.samples, random.Random(f"sadik prediction {job.seed}")),
    )


def _prepare(world: World, study: Study) -> None:
    """Form the cluster and write every key once."""
    try:
        world.form()
    except AssertionError as error:
        raise StudyFailed(f"{error}: are the links of the study too slow?") from error
    refused = fill(world, study.workload)
    if refused is not None:
        raise StudyFailed(f"the cluster refuses the study's writes: {refused}")


def _world(job: Job) -> World:
    study = job.study
    # The instant of a hedge is a setting of the study, not what a node makes of its peers' speed.
    hedge_ns = _NEVER_NS if study.hedge_ns is None else study.hedge_ns
    config = EngineConfig(hedge_ns=hedge_ns, hedge_early=False)
    world = World(
        job.seed,
        study.node_sites,
        partitions=study.partitions,
        replicas=job.setting.n,
        config=config,
    )
    world.checks = Watch(world)
    nodes = list(world.nodes.values())
    tables: dict[tuple[str, str], Delay] = {}
    for one in nodes:
        one.disk = StudyDisk(world.streams.disks, study.syncs)
        for other in nodes:
            pair = (one.site, other.site)
            delay = tables.get(pair) or tables.setdefault(pair, Delay(list(study.delay(*pair))))
            world.network.delays[one.id, other.id] = delay
    return world


def _model(world: World, study: Study) -> Model:
    """The cluster that was formed, as the prediction sees it."""
    nodes = list(world.nodes.values())
    place: dict[NodeId, int] = {node.id: index for index, node in enumerate(nodes)}
    owners = [
        [place[owner] for owner in Clients.owners(nodes[0], key_of(key))]
        for key in range(study.workload.keys)
    ]
    entries = []
    for owned in owners:
        asked = []
        for site in study.sites:
            here = [index for index, node in enumerate(nodes) if node.site == site.name]
            if study.workload.owner_clients:
                here = [index for index in here if index in owned] or here
            if site.share:
                asked.append((site.share, site.name, here))
        entries.append(asked)
    return Model(
        weights=study.workload.weights,
        owners=owners,
        entries=entries,
        delays=[[study.delay(one.site, other.site) for other in nodes] for one in nodes],
        syncs=study.syncs,
        is_forwarded=not study.workload.updates,
    )
