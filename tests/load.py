"""Clients that go on while a block runs: what the loads of this folder have in common."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from real_cluster import RealNode

__all__ = ["ClientThread", "Load"]

_PATIENCE_S = 30


class ClientThread(threading.Thread):
    """One client. ``ending`` is set when it shall stop; ``unexpected`` are answers that no node
    should have given.
    """

    def __init__(self, number: int, ending: threading.Event) -> None:
        super().__init__(name=f"client {number}")
        self.number = number
        self.ending = ending
        self.unexpected: list[str] = []


C = TypeVar("C", bound=ClientThread)


class Load(Generic[C]):
    """Several clients of ``nodes``, which may be replaced while the block runs."""

    clients: Sequence[C] = ()

    def __init__(self, nodes: Sequence[RealNode], bucket: str) -> None:
        self.nodes = list(nodes)
        self.bucket = bucket
        self.ending = threading.Event()

    def __enter__(self) -> Self:
        for client in self.clients:
            client.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ending.set()
        for client in self.clients:
            client.join(_PATIENCE_S)
        if error is None:
            unexpected = [each for client in self.clients for each in client.unexpected]
            assert not unexpected, unexpected[:5]
