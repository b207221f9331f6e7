"""Distributions of durations as tables of integers, to be drawn from evenly.

A study says how long a message or a sync takes by a named shape or by measured quantiles. Either
becomes `STEPS` nanosecond values, the quantiles at the middle of each step, so drawing one is
an index into a list and the same on every machine: the tables are computed in decimal arithmetic,
never by the machine's floating-point library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Final

from sadik_machine import MILLISECOND

__all__ = ["SHAPES", "STEPS", "BadDuration", "Durations", "durations_from"]

STEPS: Final = 1000

Durations = tuple[int, ...]
"""Nanoseconds in ascending order, each as likely as the next."""

SHAPES: Final = {
    "fixed": ("ms",),
    "uniform": ("low_ms", "high_ms"),
    "exponential": ("low_ms", "mean_ms"),
    "pareto": ("low_ms", "alpha"),
    "loglogistic": ("median_ms", "p99_ms"),
}
"""The named shapes and the numbers that each takes.

``exponential`` is ``low_ms`` and on top of it an exponential distribution of mean ``mean_ms``;
``pareto`` starts at ``low_ms`` with tail index ``alpha``; ``loglogistic`` is bell-shaped with a
heavy tail, as round trips over the Internet are, given by two of its quantiles.
"""

_CAP_MS: Final = Decimal(3_600_000)
_DIGITS: Final = 20


class BadDuration(ValueError):  # noqa: N818 - names what was described
    """A description of durations that is none; the message says why."""


def durations_from(described: Mapping[str, object]) -> Durations:
    """The table of a description as a study file has it.

    Either ``{shape = "uniform", low_ms = 1, high_ms = 2}`` with the numbers of `SHAPES`,
    or ``{quantiles = [[0, 1.0], [50, 1.2], [100, 9]]}``: percentages with milliseconds, both
    rising, from 0 to 100, straight lines between. Raises `BadDuration`.
    """
    with localcontext() as context:
        context.prec = _DIGITS
        if "quantiles" in described:
            if set(described) != {"quantiles"}:
                raise BadDuration("quantiles stand alone, without a shape")
            points = _points(described["quantiles"])
            values = [_between(points, place) for place in _places()]
        else:
            shape, numbers = _shape(described)
            values = [_quantile(shape, numbers, place) for place in _places()]
        return tuple(int(min(value, _CAP_MS) * MILLISECOND) for value in values)


def _places() -> list[Decimal]:
    return [Decimal(2 * step + 1) / (2 * STEPS) for step in range(STEPS)]


def _shape(described: Mapping[str, object]) -> tuple[str, list[Decimal]]:
    shape = described.get("shape")
    if not isinstance(shape, str) or shape not in SHAPES:
        raise BadDuration(f"shape: one of {', '.join(SHAPES)}, not {shape!r}")
    names = SHAPES[shape]
    if set(described) != {"shape", *names}:
        raise BadDuration(f"{shape} takes {', '.join(names)} and nothing else")
    numbers = [_number(name, described[name]) for name in names]
    first, last = numbers[0], numbers[-1]
    if shape in ("uniform", "loglogistic") and last <= first:
        raise BadDuration(f"{names[0]} lies below {names[1]}")
    if shape in ("pareto", "loglogistic") and not (first and last):
        raise BadDuration(f"{' and '.join(names)} are above 0")
    return shape, numbers


def _number(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadDuration(f"{name}: a number, not {value!r}")
    if not 0 <= value <= _CAP_MS:
        raise BadDuration(f"{name}: 0 to {_CAP_MS}, not {value}")
    return Decimal(value)


def _quantile(shape: str, numbers: Sequence[Decimal], place: Decimal) -> Decimal:
    first, last = numbers[0], numbers[-1]
    match shape:
        case "fixed":
            return first
        case "uniform":
            return first + (last - first) * place
        case "exponential":
            return first - last * (1 - place).ln()
        case "pareto":
            return first * ((1 - place).ln() / -last).exp()
        case _:
            spread = (last / first).ln() / Decimal(99).ln()
            return first * ((place / (1 - place)).ln() * spread).exp()


def _points(value: object) -> list[tuple[Decimal, Decimal]]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) < 2:
        raise BadDuration("quantiles: a list of [percent, milliseconds], two or more")
    points: list[tuple[Decimal, Decimal]] = []
    for pair in value:
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise BadDuration(f"quantiles: [percent, milliseconds], not {pair!r}")
        percent, ms = _number("percent", pair[0]), _number("milliseconds", pair[1])
        if points and (percent <= points[-1][0] or ms < points[-1][1]):
            raise BadDuration("quantiles: percentages rise, and milliseconds never fall")
        points.append((percent, ms))
    if points[0][0] != 0 or points[-1][0] != 100:
        raise BadDuration("quantiles: from 0 percent to 100")
    return points


def _between(points: Sequence[tuple[Decimal, Decimal]], place: Decimal) -> Decimal:
    percent = place * 100
    for (low, low_ms), (high, high_ms) in pairwise(points):
        if percent <= high:
            return low_ms + (high_ms - low_ms) * (percent - low) / (high - low)
    return points[-1][1]
