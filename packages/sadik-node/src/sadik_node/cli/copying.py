"""What ``import`` and ``export`` share: phases of many small steps, and the account at the end."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

import click

from sadik_node.cli.common import Session, fail, fail_unreachable, key_label, print_json, say
from sadik_node.cli.node_pool import NodePool, StoppedError
from sadik_node.cli.progress import Progress
from sadik_node.cli.workers import work_through
from sadik_node.client_http import NodeError, NodeUnreachableError

__all__ = [
    "DIGEST_HEADER",
    "Outcome",
    "copy_options",
    "digest_of",
    "open_pool",
    "report",
    "run_phase",
]

DIGEST_HEADER = "Sadik-Meta-Sha256"
"""Under which `import` stores a value's SHA-256 beside it, in hex."""

_Item = TypeVar("_Item")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class Outcome(NamedTuple):
    """What became of one key."""

    kind: str
    """``copied``, ``unchanged``, ``skipped`` or ``failed``; the last two are problems."""
    key: bytes
    reason: str = ""
    size_bytes: int = 0
    digest: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether the copy is not whole because of it."""
        return self.kind in ("skipped", "failed")


def copy_options(command: _Command) -> _Command:
    """Add ``--jobs`` and ``--patience``."""
    jobs = click.option(
        "--jobs",
        type=click.IntRange(1, 64),
        default=8,
        show_default=True,
        help="Values at a time.",
    )
    patience = click.option(
        "--patience",
        type=click.IntRange(1, 3600),
        default=60,
        show_default=True,
        help="Seconds to keep trying one value while nodes fail.",
    )
    return jobs(patience(command))


def digest_of(value: bytes) -> str:
    """The SHA-256 of a value, in hex."""
    return hashlib.sha256(value).hexdigest()


def open_pool(session: Session, patience_s: int) -> NodePool:
    """The nodes of the session's cluster; the verb ends if its own does not answer."""
    pool = NodePool(session.client.url, patience_s=float(patience_s))
    try:
        pool.learn()
    except NodeUnreachableError as error:
        fail_unreachable(error)
    except NodeError as error:
        pool.close()
        fail(f"{error.url} does not answer as a node does: {error.reason}")
    return pool


def run_phase(
    what: str,
    items: Sequence[_Item],
    step: Callable[[_Item], Outcome],
    *,
    pool: NodePool,
    jobs: int,
) -> list[Outcome]:
    """Take every item through one step, several at a time, and tell of problems as they come."""
    outcomes: list[Outcome] = []
    try:
        results = work_through(items, step, jobs=jobs, stop=pool.stop)
        with Progress(what, len(items)) as progress, contextlib.closing(results):
            for outcome in results:
                outcomes.append(outcome)
                progress.advance(outcome.size_bytes)
                if outcome.is_problem:
                    say(f"{outcome.kind} {key_label(outcome.key)}: {outcome.reason}")
    except (KeyboardInterrupt, StoppedError):
        fail(f"{what} was interrupted; run it again to go on where it was")
    return outcomes


def report(session: Session, what: str, outcomes: Sequence[Outcome]) -> bool:
    """Give the account of the whole copy; whether it is whole."""
    problems = sorted((each for each in outcomes if each.is_problem), key=lambda each: each.key)
    counts = Counter(each.kind for each in outcomes)
    size_bytes = sum(each.size_bytes for each in outcomes if not each.is_problem)
    if session.as_json:
        print_json(
            {
                **{kind: counts[kind] for kind in ("copied", "unchanged", "skipped", "failed")},
                "bytes": size_bytes,
                "problems": [
                    {"kind": each.kind, "key": quote(each.key, safe="/"), "reason": each.reason}
                    for each in problems
                ],
            }
        )
    else:
        click.echo(
            f"{what}: {counts['copied']} copied, {counts['unchanged']} unchanged, "
            f"{counts['skipped']} skipped, {counts['failed']} failed; "
            f"{size_bytes} bytes verified by hash"
        )
    return not problems
