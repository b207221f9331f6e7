"""``sadik-node serve``: one node in the foreground of a process, until a signal ends it."""

from __future__ import annotations

import resource
import signal
import sys

import trio

from sadik_node.collector import collecting_the_young, look_at_all
from sadik_node.errors import NodeError, find_cause
from sadik_node.http.limits import connections_wanted
from sadik_node.log import Log
from sadik_node.node import Node
from sadik_node.settings import Settings

__all__ = ["SWITCH_INTERVAL_SECONDS", "run"]

SWITCH_INTERVAL_SECONDS = 0.0005
"""LMDB lets go of the interpreter lock at every put, and the thread that commits gets it back only
after this long beside a busy loop: with the default of 5 ms a batch of 100 took 200 ms."""


def run(settings: Settings) -> int:
    """Run a node until SIGTERM or SIGINT; the process's exit code.

    0: stopped in good order. 1: the machine failed (port taken, disk). 2: refused (configuration,
    a directory of another cluster). The last line on standard error says which and why.
    """
    log = Log(settings.node.name, settings.log.format)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    _raise_file_limit(connections_wanted(settings))
    try:
        trio.run(_serve, settings, log)
    except BaseException as error:
        refusal = find_cause(error, NodeError)
        if refusal is None:
            raise
        log.event("failed", str(refusal), exit_code=refusal.exit_code)
        return refusal.exit_code
    return 0


async def _serve(settings: Settings, log: Log) -> None:
    node = Node(settings, log=log)
    with (
        collecting_the_young(),
        trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_at_signal, signals, node)
            nursery.start_soon(look_at_all)
            await node.run()
            nursery.cancel_scope.cancel()


async def _stop_at_signal(signals: object, node: Node) -> None:
    async for _ in signals:  # type: ignore[attr-defined]
        node.stop()


def _raise_file_limit(connections: int) -> None:
    """Every connection is an open file; shells often allow only 1024 unless asked."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
