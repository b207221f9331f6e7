"""``top``: the whole cluster at work, in a terminal, until q or Ctrl-C.

One that hangs or is away gets a line without numbers, and does not hold up the view.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from sadik_node.cli.common import Session, client_options, print_json
from sadik_node.cli.scrapes import ClusterScrapes, Scrape
from sadik_node.cli.top_figures import Row, row_between, total_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["top"]

_STYLES = {"up": "green", "down": "bold red", "suspect": "yellow", "leaving": "cyan",
           "joining": "cyan"}  # fmt: skip


class Watch:
    """The cluster as it was at the last two looks."""

    def __init__(self, session: Session) -> None:
        self._scrapes = ClusterScrapes(session)
        self._last: dict[str, Scrape] = {}

    def look(self) -> list[Row]:
        """Every member's line, in the order of their names."""
        rows = []
        for member, scrape in self._scrapes.take():
            name = str(member["name"])
            rows.append(row_between(member, self._last.get(name), scrape))
            if scrape is not None:
                self._last[name] = scrape
        return rows

    def close(self) -> None:
        """Let go of all connections."""
        self._scrapes.close()


@click.command()
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    show_default=True,
    help="How often to look.",
)
@click.option("--once", is_flag=True, help="Look for one interval, print a table, and end.")
@client_options
def top(*, session: Session, every: float, once: bool) -> None:
    """Watch every node: requests a second, latencies, errors, hints and data. Ends at q or Ctrl-C.

    Rates and the p99 latencies are of the last interval. Where the output is no terminal, and with
    --json, it looks for one interval and prints what it saw.

    \b
    Example:
      sadik-node top
      sadik-node top --every 5
      sadik-node top --once --json
    """
    watch = Watch(session)
    try:
        if session.as_json or once or not sys.stdout.isatty():
            watch.look()
            time.sleep(every)
            rows = watch.look()
            if session.as_json:
                print_json({"nodes": [row.document() for row in rows],
                            "all": total_of(rows).document()})  # fmt: skip
            else:
                from rich.console import Console  # noqa: PLC0415 - slow; where a table is drawn

                Console(width=None if sys.stdout.isatty() else 120).print(_table(rows, session.url))
        else:
            _live(watch, session.url, every)
    finally:
        watch.close()


def _live(watch: Watch, url: str, every: float) -> None:
    from rich.live import Live  # noqa: PLC0415 - slow; only where a table is drawn

    with _keys() as pressed, contextlib.suppress(KeyboardInterrupt):
        # The first look is before the screen: what ends the verb is then read where it was typed.
        rows = watch.look()
        with Live(_table(rows, url), screen=True, auto_refresh=False) as live:
            while pressed(every) not in ("q", "Q", "\x03", "\x04"):
                live.update(_table(watch.look(), url), refresh=True)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A way to wait for a key, or for so many seconds; keys are read as they are pressed."""
    if not sys.stdin.isatty():

        def nothing(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield nothing
        return
    import termios  # noqa: PLC0415 - only on a terminal
    import tty  # noqa: PLC0415 - see above

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([number], [], [], seconds)
        return os.read(number, 1).decode("ascii", "replace") if ready else ""

    try:
        tty.setcbreak(number)
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _table(rows: list[Row], url: str) -> Table:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow; only where a table is drawn
    from rich.table import Table  # noqa: PLC0415 - see above
    from rich.text import Text  # noqa: PLC0415 - see above

    table = Table(
        title=f"Sadik at {url}, {time.strftime('%H:%M:%S')}",
        caption="rates and p99 of the last interval; q ends",
        box=SIMPLE_HEAD,
        padding=0,
        collapse_padding=True,
        pad_edge=False,
        show_footer=True,
    )
    total = total_of(rows)
    for title, word, shown in _COLUMNS:
        is_text = shown is _plain
        table.add_column(
            title,
            justify="left" if is_text else "right",
            footer=shown(getattr(total, word)),
            no_wrap=True,
            min_width=len(title) + 1,
        )
    for row in rows:
        cells = [Text(shown(getattr(row, word))) for _, word, shown in _COLUMNS]
        cells[1].stylize(_STYLES.get(row.state, ""))
        if row.errors:
            cells[_ERRORS].stylize("bold red")
        if row.hints:
            cells[_HINTS].stylize("yellow")
        table.add_row(*cells)
    return table


def _plain(value: Any) -> str:
    return str(value)


def _rate(value: Any) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _ms(value: Any) -> str:
    return "-" if value is None else f"≤{value:g}ms"


def _count(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _size(value: Any) -> str:
    if value is None:
        return "-"
    for unit, size in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return str(value)


_COLUMNS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("node", "name", _plain),
    ("state", "state", _plain),
    ("get/s", "reads", _rate),
    ("put/s", "writes", _rate),
    ("err/s", "errors", _rate),
    ("get p99", "read_ms", _ms),
    ("put p99", "write_ms", _ms),
    ("rows", "keys", _count),
    ("size", "bytes", _size),
    ("hints", "hints", _count),
    ("moves", "transfers", _count),
    ("conns", "connections", _count),
)
_ERRORS = 4
_HINTS = 9
