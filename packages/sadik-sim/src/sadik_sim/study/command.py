"""``sadik-sim study``: run a study, write what it found, draw it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import click

from sadik_sim.campaign import local_executor
from sadik_sim.study.measures import SettingReport, report_of
from sadik_sim.study.reading import BadStudy, read_study, shipped_studies
from sadik_sim.study.results import worst_visibility_error, write_csv, write_json
from sadik_sim.study.runner import StudyFailed, run_study
from sadik_sim.study.spec import Study

__all__ = ["study"]


@click.command()
@click.argument("name_or_file", metavar="FILE.toml|NAME", required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Directory for the results.  [default: study-NAME]")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1), default=None,
              help="Processes at once.  [default: one a core]")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 1000), default=None,
              help="Runs of each setting, instead of what the study says.")  # fmt: skip
@click.option("--no-plots", is_flag=True, help="Write JSON and CSV only.")
def study(
    name_or_file: str | None, out: Path | None, jobs: int | None, seeds: int | None, no_plots: bool
) -> None:
    """Measure latency, availability and staleness of a cluster over several sites.

    A study is a TOML file, or the name of a shipped one; without an argument those are listed.
    Results are written as JSON, CSV, PNG and SVG.

    \b
    Example:
      sadik-sim study
      sadik-sim study three-continents --out out
    """
    if name_or_file is None:
        for name in shipped_studies():
            click.echo(f"{name:18} {read_study(name).title}")
        return
    try:
        chosen = read_study(name_or_file)
    except (BadStudy, OSError) as error:
        raise click.ClickException(str(error)) from error
    if seeds is not None:
        chosen = attrs.evolve(chosen, seeds=seeds)
    directory = out or Path(f"study-{chosen.name}")
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with _executor(jobs or os.cpu_count() or 1) as executor:
            reports = report_of(chosen, run_study(chosen, executor, _tell))
    except StudyFailed as error:
        raise click.ClickException(str(error)) from error
    write_json(chosen, reports, directory)
    write_csv(reports, directory)
    click.echo(_summary(chosen, reports))
    if not no_plots:
        _plot(chosen, reports, directory)
    click.echo(f"results are in {directory}")


@contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    """Processes, where there are to be several and the machine has them; else None."""
    if jobs > 1:
        with ExitStack() as stack:
            try:
                executor = stack.enter_context(local_executor(jobs))
            except ImportError:
                click.echo("this Python has no process pool: one run after the other", err=True)
            else:
                yield executor
                return
    yield None


def _tell(done: int, count: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{done} of {count} runs", nl=done == count, err=True)
    else:
        click.echo(f"{done} of {count} runs", err=True)


def _plot(chosen: Study, reports: Sequence[SettingReport], directory: Path) -> None:
    try:
        from sadik_sim.study.plots import draw  # noqa: PLC0415 - an extra
    except ImportError as error:
        click.echo(f"no plots ({error}): pip install 'sadik-sim[study]' draws them", err=True)
        return
    draw(chosen, reports, directory)


def _summary(chosen: Study, reports: Sequence[SettingReport]) -> str:
    """One line a setting and phase: what most people look for first."""
    size = f"{len(chosen.node_sites)} nodes at {len(chosen.sites)} site(s)"
    latencies = f"{'read p50/p99 ms':>18}{'write p50/p99 ms':>18}"
    shares = f"{'reads ok':>10}{'writes ok':>10}{'fresh':>8}{'siblings':>9}"
    lines = [
        f"{chosen.title}: {size}, {chosen.seeds} run(s) a setting; latency at the slowest site",
        f"{'setting':32}{'phase':24}{latencies}{shares}",
    ]
    for report in reports:
        lines += [_line(report, phase.name) for phase in chosen.phases]
        error = worst_visibility_error(report)
        if error is not None:
            lines.append(
                f"{'':32}predicted t-visibility is off by {error[0]:.1f} points at most, "
                f"from {error[1]:.0f} ms on"
            )
    return "\n".join(lines)


def _line(report: SettingReport, phase: str) -> str:
    columns = [f"{report.setting.label:32}{phase[:23]:24}"]
    for kind in ("read", "write"):
        rows = [r for r in report.latency if r["phase"] == phase and r["kind"] == kind]
        median = max((r["p50_ms"] for r in rows if r["p50_ms"] is not None), default=None)  # type: ignore[type-var]
        tail = max((r["p99_ms"] for r in rows if r["p99_ms"] is not None), default=None)  # type: ignore[type-var]
        shown = "-" if median is None else f"{median:.1f}/{tail:.1f}"
        columns.append(f"{shown:>18}")
    for kind in ("read", "write"):
        rows = [r for r in report.availability if r["phase"] == phase and r["kind"] == kind]
        asked, ok = sum(r["asked"] for r in rows), sum(r["ok"] for r in rows)  # type: ignore[misc]
        columns.append(f"{100 * ok / asked if asked else 100:>9.1f}%")
    fresh = next(r for r in report.versions if r["phase"] == phase)["share"]
    siblings = next(r for r in report.siblings if r["phase"] == phase)["mean"]
    columns.append("       -" if fresh is None else f"{100 * fresh:>7.1f}%")  # type: ignore[operator]
    columns.append("        -" if siblings is None else f"{siblings:>9.2f}")
    return "".join(columns)
