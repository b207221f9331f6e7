"""``sadik-sim registers``: campaigns over register machines, and their planted bugs."""

from __future__ import annotations

import sys

import click

from sadik_sim.planted import run_sources
from sadik_sim.registers.bugs import REGISTER_BUGS
from sadik_sim.registers.run import execute_registers

__all__ = ["registers"]


@click.command()
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1), help="0 to N-1.")
@click.option("--first", default=0, type=click.IntRange(0), help="Begin at this seed instead of 0.")
@click.option("--bugs", is_flag=True, help="Plant each known bug, and say which seed finds it.")
def registers(seeds: int, first: int, bugs: bool) -> None:
    """Write-once registers under every fault: one value each, whatever happens.

    Exits with 1 if a seed breaks an invariant, or with --bugs if a bug that no unit test finds
    is not found.

    \b
    Example:
      sadik-sim registers --seeds 500
    """
    if bugs:
        run_sources()
        _find_bugs(range(first, first + seeds))
        return
    failed = answers = decided = 0
    for seed in range(first, first + seeds):
        result = execute_registers(seed)
        answers += result.answers
        decided += result.decided_under_faults
        if result.invariant:
            failed += 1
            click.echo(f"seed {seed} FAILED: {result.invariant}\n  what: {result.detail}")
    click.echo(
        f"{seeds} seeds, {answers} answers, {decided} registers decided under faults, "
        f"{failed} failed"
    )
    sys.exit(1 if failed else 0)


def _find_bugs(seeds: range) -> None:
    missed = 0
    for name, bug in REGISTER_BUGS.items():
        if bug.found_by:
            click.echo(f"{name:24} by {bug.found_by}")
            continue
        for seed in seeds:
            result = execute_registers(seed, name)
            if result.invariant:
                click.echo(f"{name:24} seed {seed:4}  {result.invariant}")
                break
        else:
            missed += 1
            click.echo(f"{name:24} NOT FOUND in {len(seeds)} seeds")
    sys.exit(1 if missed else 0)
