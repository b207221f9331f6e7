"""``sadik-sim``: campaigns, replays, shrinking, planted bugs, studies."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import attrs
import click

from sadik_sim.campaign import (
    Campaign,
    dask_executor,
    default_jobs,
    local_executor,
    run_campaign,
    seeds_until_found,
)
from sadik_sim.plan import PROFILES, Options, Plan, draw_plan, plan_from_json, plan_to_json
from sadik_sim.planted import BUGS, run_sources
from sadik_sim.report import failure_lines, replay_lines, summary_lines
from sadik_sim.run import RunResult
from sadik_sim.shrink import Shrinker, shrink

__all__ = ["main"]

_PLAIN_EVERY_S = 10.0
_TERMINAL_EVERY_S = 0.2


class _Lazy(click.Group):
    """A group with commands whose modules are imported only when they are wanted."""

    _MODULES: ClassVar = {
        "registers": "sadik_sim.registers.command",
        "study": "sadik_sim.study.command",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._MODULES])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._MODULES:
            module = importlib.import_module(self._MODULES[cmd_name])
            command: click.Command = getattr(module, cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run Sadik's own machines under virtual time: one seed, one history.

    \b
    Example:
      sadik-sim run --seeds 20                       # find faults: none, it is hoped
      sadik-sim replay 3 --bug ack-before-store      # watch a known one be found
      sadik-sim study three-continents --out out     # measure latency and staleness
    """


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a run's size; their defaults are those of every command."""
    shown = {
        "nodes": (click.IntRange(1, 50), "Nodes of the cluster."),
        "seconds": (click.IntRange(1, 3600), "Virtual seconds under faults."),
        "operations": (click.IntRange(0), "Client operations in that time."),
        "clients": (click.IntRange(1), "Clients that do them."),
        "keys": (click.IntRange(1, 1000), "Keys, of which the first are hot."),
        "profile": (click.Choice(sorted(PROFILES)), "Kinds of fault to draw from."),
        "partitions": (click.Choice(["8", "16", "32", "64"]), "Partitions of the ring."),
        "replicas": (click.IntRange(1, 7), "Owners of a partition."),
    }
    for field in reversed(attrs.fields(Options)):
        kind, text = shown[field.name]
        default = str(field.default) if isinstance(kind, click.Choice) else field.default
        decorate = click.option(
            f"--{field.name}", type=kind, default=default, show_default=True, help=text
        )
        command = decorate(command)
    return command


def _options(values: dict[str, Any]) -> Options:
    options = Options(**{**values, "partitions": int(values["partitions"])})
    if options.nodes < options.replicas:
        options = attrs.evolve(options, replicas=options.nodes)
    return options


@main.command()
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1), help="0 to N-1.")
@click.option("--first", default=0, type=click.IntRange(0), help="Begin at this seed instead of 0.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; as many as cores by default.")
@click.option("--dask", metavar="ADDRESS", help="Run on the Dask cluster at this address instead.")
@click.option("--failures", default=10, show_default=True, help="Stop after so many failures.")
@_with_options
def run(
    seeds: int, first: int, jobs: int | None, dask: str | None, failures: int, **values: Any
) -> None:
    """Run seeds 0 to N-1; exit with 1 if any breaks an invariant.

    \b
    Example:
      sadik-sim run --seeds 1000
      sadik-sim run --seeds 50 --profile disks --nodes 3
    """
    options = _options(values)
    progress = _Progress(seeds)
    began = time.monotonic()
    with ExitStack() as stack:
        if dask is not None:
            executor, workers = _dask(stack, dask)
        else:
            workers = min(jobs or default_jobs(), seeds)
            executor = stack.enter_context(local_executor(workers))

        def on_result(campaign: Campaign, result: RunResult) -> None:
            if result.invariant:
                progress.clear()
                click.echo("\n".join(failure_lines(result, options)))
            progress.show(campaign)

        campaign = run_campaign(
            range(first, first + seeds), options, executor,
            jobs=workers, on_result=on_result, failures_max=failures,
        )  # fmt: skip
    progress.clear()
    click.echo("\n".join(summary_lines(campaign, time.monotonic() - began)))
    if campaign.failures:
        click.echo(f"FAILED seeds: {' '.join(str(f.seed) for f in campaign.failures)}")
        sys.exit(1)


def _dask(stack: ExitStack, address: str) -> Any:
    try:
        return stack.enter_context(dask_executor(address))
    except ImportError:
        raise click.ClickException(
            "--dask needs the extra: pip install 'sadik-sim[dask]'"
        ) from None
    except OSError as error:
        raise click.ClickException(f"no Dask scheduler at {address}: {error}") from None


class _Progress:
    """One line that is written over on a terminal; elsewhere a line now and then."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_terminal = sys.stderr.isatty()
        self._began = self._shown_at = time.monotonic()

    def show(self, campaign: Campaign) -> None:
        """Say how far it is, if it is time to."""
        now = time.monotonic()
        every = _TERMINAL_EVERY_S if self._is_terminal else _PLAIN_EVERY_S
        if now - self._shown_at < every:
            return
        self._shown_at = now
        rate = campaign.seeds / (now - self._began)
        line = (
            f"{campaign.seeds}/{self._total} seeds, {rate:.1f}/s, {len(campaign.failures)} failed"
        )
        click.echo(
            f"\r{line}\033[K" if self._is_terminal else line, nl=not self._is_terminal, err=True
        )

    def clear(self) -> None:
        """Make room for other lines."""
        if self._is_terminal:
            click.echo("\r\033[K", nl=False, err=True)


_BUG = click.option(
    "--bug",
    type=click.Choice(sorted(BUGS)),
    metavar="BUG",
    help="With this planted bug; `sadik-sim bugs --list` names them.",
)


def _plan(what: str, bug: str | None, values: dict[str, Any]) -> Plan:
    """The plan of a seed, or of a file."""
    if what.isdecimal():
        plan = draw_plan(int(what), _options(values), bug or "")
    else:
        try:
            plan = plan_from_json(Path(what).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{what}: {error}") from None
        plan = attrs.evolve(plan, bug=bug) if bug is not None else plan
    if plan.bug:
        run_sources()
    return plan


@main.command()
@click.argument("what", metavar="SEED|FILE")
@click.option("--tail", default=60, show_default=True, help="Lines of the story.")
@_BUG
@_with_options
def replay(what: str, tail: int, bug: str | None, **values: Any) -> None:
    """Run one seed, or a schedule file, once more and tell what happened.

    The last line is ``trace`` and a hash over every step: the same seed, the same hash. Exits with
    1 if it breaks an invariant.

    \b
    Example:
      sadik-sim replay 17
      sadik-sim replay 3 --bug ack-before-store --tail 10
    """
    lines, result = replay_lines(_plan(what, bug, values), tail=tail)
    click.echo("\n".join(lines))
    if result.invariant:
        sys.exit(1)


@main.command("shrink")
@click.argument("what", metavar="SEED|FILE")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The schedule file.")
@click.option("--runs", default=400, show_default=True, help="Try so many runs at most.")
@_BUG
@_with_options
def shrink_command(what: str, out: Path | None, runs: int, bug: str | None, **values: Any) -> None:
    """Find the least schedule that still breaks the invariant; write it to a file and tell it.

    \b
    Example:
      sadik-sim shrink 3 --bug ack-before-store
    """
    plan = _plan(what, bug, values)
    is_terminal = sys.stderr.isatty()

    def tried(shrinker: Shrinker) -> None:
        if is_terminal:
            kept = shrinker.plan
            click.echo(
                f"\r{shrinker.runs} runs: {kept.options.nodes} nodes, {kept.options.seconds} s, "
                f"{len(kept.faults)} faults, {len(kept.operations)} operations\033[K",
                nl=False,
                err=True,
            )

    try:
        least, _ = shrink(plan, runs_max=runs, tried=tried)
    except ValueError as error:
        raise click.ClickException(f"{what}: {error}") from None
    if is_terminal:
        click.echo("\r\033[K", nl=False, err=True)
    path = out or Path(f"sadik-sim-{least.bug or 'seed'}-{least.seed}.json")
    path.write_text(plan_to_json(least), "utf-8")
    lines, _ = replay_lines(least)
    click.echo("\n".join(lines[:-1]))
    click.echo(f"schedule: {path} (replay it: sadik-sim replay {path})")
    click.echo(lines[-1])


@main.command()
@click.option("--limit", default=200, show_default=True, help="Seeds for each bug.")
@click.option("--jobs", type=click.IntRange(1), help="Processes; as many as cores by default.")
@click.option("--list", "is_list", is_flag=True, help="Only say what each bug is.")
@click.argument("names", nargs=-1, type=click.Choice(sorted(BUGS)), metavar="[BUG]...")
def bugs(limit: int, jobs: int | None, is_list: bool, names: tuple[str, ...]) -> None:
    """Plant each known BUG, or those named, and say how many seeds it takes to find it.

    Exits with 1 if a bug is not found that has no unit test of its own.

    \b
    Example:
      sadik-sim bugs --list
      sadik-sim bugs ack-before-store siblings-explode
    """
    chosen = [BUGS[name] for name in names or BUGS]
    if is_list:
        for bug in chosen:
            click.echo(f"{bug.name:28} {bug.what}")
        return
    run_sources()
    missed = []
    with local_executor(min(jobs or default_jobs(), len(chosen))) as executor:
        futures = {
            bug.name: executor.submit(seeds_until_found, bug.name, Options(**bug.options), limit)
            for bug in chosen
            if not bug.found_by
        }
        for bug in chosen:
            if bug.found_by:
                click.echo(f"{bug.name:28} row {bug.row:2}  by {bug.found_by}")
                continue
            seeds, result = futures[bug.name].result()
            if result is None:
                missed.append(bug.name)
                click.echo(f"{bug.name:28} row {bug.row:2}  NOT FOUND in {seeds} seeds")
            else:
                click.echo(f"{bug.name:28} row {bug.row:2}  {seeds:4} seeds  {result.invariant}")
    found = len(chosen) - len(missed)
    click.echo(f"{found} of {len(chosen)} planted bugs are found")
    if missed:
        sys.exit(1)
