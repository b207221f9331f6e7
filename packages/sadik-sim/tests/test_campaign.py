"""Campaigns: seeds over an executor, summed up."""

import signal
import subprocess
import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sadik_sim.campaign import (
    Campaign,
    dask_executor,
    local_executor,
    run_campaign,
    run_seeds,
    seeds_until_found,
)
from sadik_sim.plan import Options
from sadik_sim.run import RunResult
from sadik_sim.sometimes import SOMETIMES, UNREACHABLE, never_happened

pytestmark = pytest.mark.system

QUICK = Options(seconds=3, operations=60)


class Inline(Executor):
    """An executor that runs everything at once, here."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def totals(campaign: Campaign) -> tuple[Any, ...]:
    return campaign.seeds, campaign.events, campaign.acked, campaign.happened, campaign.counts


def test_a_campaign_is_the_sum_of_its_seeds() -> None:
    seen: list[int] = []
    campaign = run_campaign(
        range(6), QUICK, Inline(), jobs=2, on_result=lambda _, result: seen.append(result.seed)
    )
    alone = Campaign()
    for result in run_seeds(range(6), QUICK):
        alone.add(result)
    assert sorted(seen) == list(range(6))
    assert totals(campaign) == totals(alone)
    assert campaign.failures == []


def test_processes_come_to_the_same_sum() -> None:
    with local_executor(2) as executor:
        campaign = run_campaign(range(4), QUICK, executor, jobs=2)
    assert totals(campaign) == totals(run_campaign(range(4), QUICK, Inline(), jobs=1))


KILLED = """
import os, signal
from sadik_sim.campaign import local_executor

if __name__ == "__main__":
    with local_executor(1) as executor:
        executor.submit(os.getpid).result()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_worker_outlives_a_campaign_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    # A worker has the other end of this pipe as well: it ends when the last of them does.
    campaign = subprocess.run(
        [sys.executable, str(script)], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert campaign.returncode == -signal.SIGKILL


def test_failures_are_kept_by_seed_and_end_the_campaign() -> None:
    def failing(seeds: list[int], options: Options) -> list[RunResult]:
        broken = "replicas converge"
        return [RunResult(seed, broken, "", 0, 1, 1, 1, {}, {}, "") for seed in reversed(seeds)]

    class Failing(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return super().submit(failing, *args, **kwargs)

    campaign = run_campaign(range(1000), QUICK, Failing(), jobs=1, failures_max=3)
    assert 3 <= len(campaign.failures) < 20
    assert [f.seed for f in campaign.failures] == list(range(len(campaign.failures)))


def test_a_planted_bug_is_counted_in_seeds() -> None:
    seeds, result = seeds_until_found("ack-before-store", QUICK, 10)
    assert result is not None
    assert seeds == result.seed + 1
    assert seeds_until_found(
        "clock-dragged", Options(seconds=1, operations=0, profile="quiet"), 2
    ) == (
        2,
        None,
    )


def test_what_never_happened_is_told() -> None:
    assert never_happened({}) == [name for name in SOMETIMES if name not in UNREACHABLE]
    assert never_happened(dict.fromkeys(SOMETIMES, 1)) == []
    assert set(UNREACHABLE) <= set(SOMETIMES)


@pytest.mark.slow
def test_a_dask_cluster_comes_to_the_same_sum() -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        dask_executor(cluster.scheduler_address) as (executor, workers),
    ):
        assert workers == 2
        campaign = run_campaign(range(6), QUICK, executor, jobs=workers)
    assert totals(campaign) == totals(run_campaign(range(6), QUICK, Inline(), jobs=1))


def test_results_travel_between_threads_too() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert run_campaign(range(2), QUICK, executor, jobs=1).seeds == 2
