"""Reading a study from TOML: every mistake is told with the place where it was made.

Numbers with a point are read as decimals, so what a file says is what is simulated, to the
nanosecond, on every machine.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from decimal import Decimal, localcontext
from itertools import product
from pathlib import Path
from typing import Any, Final

from sadik_machine import MILLISECOND, SECOND
from sadik_sim.study.durations import BadDuration, Durations, durations_from
from sadik_sim.study.spec import Incident, Setting, Site, Study, Workload

__all__ = ["BadStudy", "read_study", "shipped_studies", "study_from_text"]

_SHIPPED: Final = Path(__file__).resolve().parent.parent / "studies"
_KINDS: Final = ("cut", "crash", "pause", "slow_disk")
_WEIGHT_OF_FIRST: Final = 1_000_000
_MISSING: Final = object()
_SYNCS: Final = {"shape": "uniform", "low_ms": Decimal("0.25"), "high_ms": 2}


class BadStudy(ValueError):  # noqa: N818 - names what was read
    """A file that describes no study; the message says where and what is accepted."""


def shipped_studies() -> list[str]:
    """The names of the studies that come with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def read_study(name_or_path: str) -> Study:
    """A shipped study by its name, or one from a file.

    Raises `BadStudy`, or OSError where the file cannot be read.
    """
    path = Path(name_or_path)
    if name_or_path in shipped_studies():
        path = _SHIPPED / f"{name_or_path}.toml"
    elif path.suffix != ".toml":
        names = ", ".join(shipped_studies())
        raise BadStudy(f"{name_or_path}: neither a .toml file nor one of {names}")
    return study_from_text(path.read_text(encoding="utf-8"), path.stem)


def study_from_text(text: str, name: str) -> Study:
    """The study that a TOML text describes. Raises `BadStudy`."""
    try:
        plain = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise BadStudy(f"{name}: no TOML: {error}") from error
    top = _Table(plain, name)
    sites = _sites(top)
    names = tuple(site.name for site in sites)
    settings = tuple(setting for table in top.tables("settings") for setting in _settings(table))
    study = Study(
        name=name,
        title=top.text("title", name),
        about=top.text("about", ""),
        seeds=top.integer("seeds", 1, 1, 1000),
        length_ns=top.integer("seconds", _MISSING, 1, 86_400) * SECOND,
        partitions=top.integer("partitions", 16, 8, 4096),
        hedge_ns=top.integer("hedge_ms", 0, 0, 60_000) * MILLISECOND or None,
        sites=sites,
        delays=_links(top, names),
        syncs=top.durations("sync", _SYNCS),
        workload=_workload(top.table("workload")),
        incidents=tuple(
            _incident(table, names) for table in top.tables("incidents", optional=True)
        ),
        settings=settings,
        samples=top.integer("samples", 20_000, 100, 1_000_000),
    )
    top.finish()
    most = max((setting.n for setting in settings), default=0)
    if not settings or most > len(study.node_sites):
        raise BadStudy(f"{name}: settings: one or more, and no N above the number of nodes")
    if study.partitions & (study.partitions - 1):
        raise BadStudy(f"{name}: partitions: a power of two, not {study.partitions}")
    return study


class _Table:
    """A TOML table from which known names are taken; what is left at the end is a mistake."""

    def __init__(self, plain: object, where: str) -> None:
        if not isinstance(plain, dict):
            raise BadStudy(f"{where}: a table, not {plain!r}")
        self._plain: dict[str, Any] = dict(plain)
        self.where = where

    def take(self, name: str, default: object = _MISSING) -> Any:
        value = self._plain.pop(name, default)
        if value is _MISSING:
            raise BadStudy(f"{self.where}: {name} is missing")
        return value

    def integer(self, name: str, default: object, low: int, high: int) -> int:
        value = self.take(name, default)
        if type(value) is not int or not low <= value <= high:
            raise BadStudy(f"{self.where}.{name}: a whole number, {low} to {high}, not {value}")
        return value

    def text(self, name: str, default: object = _MISSING) -> str:
        value = self.take(name, default)
        if not isinstance(value, str):
            raise BadStudy(f"{self.where}.{name}: a text, not {value!r}")
        return value

    def one_of(self, name: str, accepted: tuple[str, ...], default: object = _MISSING) -> str:
        value = self.take(name, default)
        if value not in accepted:
            raise BadStudy(f"{self.where}.{name}: one of {', '.join(accepted)}, not {value!r}")
        return str(value)

    def texts(self, name: str, accepted: tuple[str, ...], default: object) -> tuple[str, ...]:
        value = self.take(name, default)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or any(v not in accepted for v in values):
            raise BadStudy(f"{self.where}.{name}: among {', '.join(accepted)}, not {value!r}")
        return tuple(values)

    def durations(self, name: str, default: object = _MISSING) -> Durations:
        described = self.take(name, default)
        if not isinstance(described, Mapping):
            raise BadStudy(f"{self.where}.{name}: a table with a shape, or with quantiles")
        try:
            return durations_from(described)
        except BadDuration as error:
            raise BadStudy(f"{self.where}.{name}: {error}") from error

    def table(self, name: str) -> _Table:
        return _Table(self.take(name), f"{self.where}.{name}")

    def tables(self, name: str, *, optional: bool = False) -> list[_Table]:
        plain = self.take(name, [] if optional else _MISSING)
        if not isinstance(plain, list):
            raise BadStudy(f"{self.where}.{name}: a list of tables, as [[{name}]] makes it")
        return [_Table(one, f"{self.where}.{name}[{index}]") for index, one in enumerate(plain)]

    def named(self, name: str) -> Iterator[tuple[str, _Table]]:
        plain = self.take(name)
        if not isinstance(plain, dict) or not plain:
            raise BadStudy(f"{self.where}.{name}: one table a name, as [{name}.here] makes it")
        for key, value in plain.items():
            yield key, _Table(value, f"{self.where}.{name}.{key}")

    def finish(self) -> None:
        """Refuse what nobody took."""
        if self._plain:
            raise BadStudy(f"{self.where}: nobody knows {', '.join(sorted(self._plain))}")


def _sites(top: _Table) -> tuple[Site, ...]:
    sites = []
    for name, table in top.named("sites"):
        sites.append(
            Site(
                name,
                table.integer("nodes", _MISSING, 1, 64),
                table.integer("share", 1, 0, 1000),
                table.durations("within", {"shape": "uniform", "low_ms": Decimal("0.1"),
                                           "high_ms": Decimal("0.4")}),
            )
        )  # fmt: skip
        table.finish()
    if not any(site.share for site in sites):
        raise BadStudy(f"{top.where}.sites: one at least has a share of the clients")
    return tuple(sites)


def _links(top: _Table, names: tuple[str, ...]) -> dict[tuple[str, str], Durations]:
    delays: dict[tuple[str, str], Durations] = {}
    for table in top.tables("links", optional=True):
        pair = table.texts("between", names, _MISSING)
        if len(dict.fromkeys(pair)) != 2:
            raise BadStudy(f"{table.where}.between: two sites, not {pair}")
        there = table.durations("delay")
        delays[pair[0], pair[1]] = there
        back = table.take("back", None)
        if back is None:
            delays[pair[1], pair[0]] = there
        else:
            delays[pair[1], pair[0]] = _Table({"back": back}, table.where).durations("back")
        table.finish()
    for one, other in product(names, names):
        if one != other and (one, other) not in delays:
            raise BadStudy(f"{top.where}.links: nothing says how far {one} is from {other}")
    return delays


def _workload(table: _Table) -> Workload:
    keys = table.integer("keys", 100, 1, 10_000)
    exponent = table.take("zipf", 1)
    if isinstance(exponent, bool) or not isinstance(exponent, int | Decimal) or exponent < 0:
        raise BadStudy(f"{table.where}.zipf: an exponent, 0 or above, not {exponent!r}")
    workload = Workload(
        per_second=table.integer("per_second", _MISSING, 1, 100_000),
        read_percent=table.integer("read_percent", 50, 0, 100),
        keys=keys,
        weights=_zipf(keys, Decimal(exponent)),
        value_bytes=table.integer("value_bytes", 100, 16, 1 << 20),
        updates=table.one_of("writes", ("blind", "update"), "blind") == "update",
        owner_clients=table.one_of("clients", ("any", "owner"), "any") == "owner",
        probes=table.integer("probes", 2, 0, 100),
        probe_ns=table.integer("probe_ms", 500, 1, 60_000) * MILLISECOND,
        timeout_ns=table.integer("timeout_ms", 2000, 1, 60_000) * MILLISECOND,
    )
    table.finish()
    return workload


def _zipf(keys: int, exponent: Decimal) -> tuple[int, ...]:
    """Zipf's law in whole numbers: the key of rank k has a weight of k to minus the exponent."""
    with localcontext() as context:
        context.prec = 28
        shares = ((Decimal(rank).ln() * -exponent).exp() for rank in range(1, keys + 1))
        return tuple(max(int(_WEIGHT_OF_FIRST * share), 1) for share in shares)


def _incident(table: _Table, names: tuple[str, ...]) -> Incident:
    kind = table.one_of("kind", _KINDS)
    incident = Incident(
        kind,
        table.integer("at_s", _MISSING, 0, 86_400) * SECOND,
        table.integer("for_s", _MISSING, 1, 86_400) * SECOND,
        table.texts("site", names, _MISSING),
        table.integer("nodes", 0, 0, 64) if kind != "cut" else 0,
        table.texts("towards", names, ()) if kind == "cut" else (),
        table.durations("sync") if kind == "slow_disk" else (),
    )
    table.finish()
    return incident


def _settings(table: _Table) -> Iterator[Setting]:
    """A table with lists stands for every combination of what they hold."""
    swept = [
        _each(table, name, default) for name, default in
        (("n", 3), ("r", _MISSING), ("w", _MISSING), ("pr", 0), ("pw", 0), ("strict", False))
    ]  # fmt: skip
    table.finish()
    for n, r, w, pr, pw, strict in product(*swept):
        numbers = (n, r, w, pr, pw)
        if any(type(number) is not int for number in numbers) or type(strict) is not bool:
            raise BadStudy(f"{table.where}: numbers, and true or false for strict")
        if not (1 <= n <= 16 and 1 <= r <= n and 1 <= w <= n and 0 <= pr <= n and 0 <= pw <= n):
            raise BadStudy(f"{table.where}: R, W, PR and PW lie within N, not {numbers}")
        yield Setting(*numbers, strict)


def _each(table: _Table, name: str, default: object) -> list[Any]:
    value = table.take(name, default)
    return value if isinstance(value, list) else [value]
