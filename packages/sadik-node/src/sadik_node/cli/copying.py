"""What ``import`` and ``export`` share: phases of many small steps, and the account at the end."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import click

from sadik_client import (
    AnswerError,
    SadikError,
    Settings,
    StoppedError,
    UnreachableError,
    encode_key,
)
from sadik_client.blocking import Client
from sadik_node.cli.common import Session, fail, fail_unreachable, key_label, print_json, say
from sadik_node.cli.progress import Progress
from sadik_node.cli.workers import work_through

__all__ = [
    "DIGEST_META",
    "Outcome",
    "copy_options",
    "digest_of",
    "open_cluster",
    "report",
    "run_phase",
]

DIGEST_META = "sha256"
"""The metadata under which `import` stores a value's SHA-256 beside it, in hex."""

_LEARNING_S = 10.0
_LAST_TRY_S = 6.0  # what a node may take for a try that begins as the patience ends

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


def open_cluster(session: Session, patience_s: int, jobs: int) -> Client:
    """A client of the session's whole cluster: long work must not end because one node does.

    It tries a request until the patience ends, through whichever node answers. The verb ends if
    its own node does not.
    """
    settings = Settings(ring=False, timeout_s=patience_s + _LAST_TRY_S, connections_max=jobs)
    client = session.connect(settings)
    try:
        client.learn(timeout_s=_LEARNING_S)
    except UnreachableError as error:
        client.close()
        fail_unreachable(error)
    except AnswerError:
        pass  # it will not say now; then this node is all that there is
    except SadikError as error:
        client.close()
        fail(f"{session.url} does not answer as a node does: {error}")
    return client


def run_phase(
    what: str,
    items: Sequence[_Item],
    step: Callable[[_Item], Outcome],
    *,
    client: Client,
    jobs: int,
) -> list[Outcome]:
    """Take every item through one step, several at a time, and tell of problems as they come."""
    outcomes: list[Outcome] = []
    try:
        results = work_through(items, step, jobs=jobs, stop=client.stop)
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
                    {"kind": each.kind, "key": encode_key(each.key), "reason": each.reason}
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
