"""What a person is told of a failing run: enough to see what happened, and where to look."""

from __future__ import annotations

import shlex
from pathlib import PurePath
from typing import Final

import attrs

from sadik_machine import SECOND
from sadik_sim.campaign import Campaign, commit_of
from sadik_sim.plan import Options, Plan
from sadik_sim.planted import BUGS
from sadik_sim.run import RunResult, execute
from sadik_sim.sometimes import SOMETIMES, never_happened
from sadik_sim.story import Story, origin_of, origins
from sadik_sim.violation import INVARIANTS, Violation

__all__ = ["failure_lines", "options_words", "replay_lines", "summary_lines"]

_BLIND_SEEDS: Final = 1000
_LINE_MAX: Final = 400


def options_words(options: Options, bug: str = "") -> str:
    """The options of the command line that differ from their defaults."""
    words = []
    for field in attrs.fields(Options):
        value = getattr(options, field.name)
        if value != field.default:
            words += [f"--{field.name}", str(value)]
    if bug:
        words += ["--bug", bug]
    return shlex.join(words)


def failure_lines(result: RunResult, options: Options, bug: str = "") -> list[str]:
    """One failing seed of a campaign, in a few lines."""
    words = options_words(options, bug)
    replay = f"sadik-sim replay {result.seed} {words}".strip()
    return [
        f"seed {result.seed} FAILED: {result.invariant}",
        f"  what:    {_short(result.detail)}",
        f"  rule:    {INVARIANTS[result.invariant]}",
        f"  commit:  {commit_of() or 'unknown'}",
        f"  options: {words or 'the defaults'}",
        f"  replay:  {replay}",
        f"  shrink:  {replay.replace('replay', 'shrink', 1)}",
    ]


def summary_lines(campaign: Campaign, seconds: float) -> list[str]:
    """A whole campaign: how much, how fast, what happened and what never did."""
    rate = campaign.seeds / seconds if seconds else 0.0
    done = f"{campaign.seeds} seeds, {len(campaign.failures)} failed"
    size = f"{campaign.events} events, {campaign.acked} writes acknowledged"
    lines = [f"{done}; {size}; {seconds:.0f} s, {rate:.1f} seeds/s", "sometimes:"]
    lines += [f"  {count:9} {name}" for name, count in sorted(campaign.happened.items())]
    missing = never_happened(campaign.happened)
    if missing:
        grave = " - the workload is blind there" if campaign.seeds >= _BLIND_SEEDS else ""
        lines.append(f"never happened in {campaign.seeds} seeds{grave}:")
        lines += [f"            {name}: {SOMETIMES[name]}" for name in missing]
    return lines


def replay_lines(plan: Plan, *, tail: int = 60) -> tuple[list[str], RunResult]:
    """Run a plan once more and tell its story; the last line is ``trace`` and the hash."""
    story = Story(keep=tail)
    broken: list[Violation] = []
    made: list[tuple[str, ...]] = []

    def on_violation(violation: Violation) -> None:
        broken.append(violation)
        made.append(origin_of(violation.effect))

    with origins():
        result = execute(plan, trace=story, on_violation=on_violation)
    lines = _setting_lines(plan)
    if not result.invariant:
        lines.append(
            f"seed {plan.seed}: no invariant broken; {result.events} events, {result.messages} "
            f"messages, {result.acked} writes acknowledged"
        )
    else:
        lines += _broken_lines(story, result, broken[0], made[0])
        told = story.tell(result.key)
        if result.key:
            lines.append(f"the story of {result.key.decode(errors='replace')}, newest last:")
            lines += [_short(line) for line in told[-tail:]]
        else:
            lines.append("the last steps of all nodes:")
            lines += [_short(story.shorten(line)) for line in story.tail()]
    lines.append(f"trace {result.trace}")
    return lines, result


def _setting_lines(plan: Plan) -> list[str]:
    options = plan.options
    size = f"{options.nodes} nodes, {options.replicas} replicas, {options.seconds} s"
    lines = [f"seed {plan.seed}: {size}, {len(plan.operations)} operations"]
    if plan.bug:
        lines.append(f"planted bug {plan.bug}: {BUGS[plan.bug].what}")
    faults = [f"{n} {v}‰" for n, v in attrs.asdict(plan.network).items() if v]
    if faults:
        lines.append(f"  links: {', '.join(faults)}")
    if plan.limits:
        lines.append(f"  limits: {', '.join(f'{name} {value}' for name, value in plan.limits)}")
    lines += [
        f"  {fault.at_ns / SECOND:9.6f} s {fault.kind} {','.join(fault.nodes)} for "
        f"{fault.duration_ns / SECOND:.3f} s" + (f" ({fault.strength})" if fault.strength else "")
        for fault in plan.faults
    ]
    return lines


def _broken_lines(
    story: Story, result: RunResult, violation: Violation, made: tuple[str, ...]
) -> list[str]:
    lines = [
        f"BROKEN after {result.at_ns / SECOND:.6f} s: {result.invariant}",
        f"  rule:  {INVARIANTS[result.invariant]}",
        f"  what:  {_short(story.shorten(result.detail))}",
    ]
    if result.dots:
        lines.append(f"  dots:  {', '.join(map(story.shorten, result.dots[:8]))}")
    if violation.effect is not None:
        effect = story.shorten(str(violation.effect))
        lines.append(f"  when {violation.node} was about to: {_short(effect)}")
    if made:
        lines.append("  made at (innermost first):")
        lines += [f"    {place}" for place in made]
    if result.where:
        lines.append("  raised at (innermost last):")
        lines += [f"    {_relative(place)}" for place in result.where[-6:]]
    return lines


def _relative(place: str) -> str:
    path, _, rest = place.partition(":")
    parts = PurePath(path).parts
    start = next((i for i, part in enumerate(parts) if part.startswith("sadik_")), 0)
    return "/".join(parts[start:]) + ":" + rest


def _short(text: str) -> str:
    return text if len(text) <= _LINE_MAX else f"{text[:_LINE_MAX]}…"
