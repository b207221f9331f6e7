"""Clients that take a server's connections and time and ask for nothing: idle ones, and slow ones.

The slow ones are Debian's slowhttptest: headers, or bodies, that never end and come some bytes a
second. A node gives up on each after a while; then new ones come, for as long as the block runs.
"""

from __future__ import annotations

import resource
import socket
import subprocess
from pathlib import Path
from typing import Self

from real_cluster import RealNode

__all__ = ["FILES_SPARE", "IdleClients", "SlowClients", "raise_file_limit"]

FILES_SPARE = 500
"""Files that a test has open besides connections."""

_ROUND_S = 14
"""A little more than a node gives a header, or a body without progress."""


def raise_file_limit(wanted: int) -> bool:
    """Let this process have so many files open; whether it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return True


class IdleClients:
    """So many connections to a node on which nothing is said, while the block runs."""

    def __init__(self, node: RealNode, count: int) -> None:
        self._address = (node.host, node.http_port)
        self._count = count
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                sock = socket.create_connection(self._address, timeout=10)
                self._sockets.append(sock)
                sock.setblocking(False)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for sock in self._sockets:
            sock.close()

    @property
    def connected(self) -> int:
        """How many the node has not closed."""
        return sum(map(_is_connected, self._sockets))


def _is_connected(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


class SlowClients:
    """So many slow headers and as many slow bodies at a node, while the block runs.

    ``path`` is that of slowhttptest; what it says goes into files in ``place``. `keep_on` has to
    be called every now and then.
    """

    def __init__(self, path: str, node: RealNode, count: int, place: Path) -> None:
        # It spins, which would be another machine's time; here it gets what nobody else wants.
        program = ["nice", "-n", "19", path]
        shared = [
            *("-c", str(count), "-r", str(count), "-i", "1", "-x", "8", "-p", "5"),
            *("-l", str(_ROUND_S), "-v", "1", "-u", f"{node.url}/v1/kv/slow/object"),
        ]
        self._commands = {
            "headers": [*program, "-H", *shared],
            "bodies": [*program, "-B", "-t", "PUT", "-s", "1000000", *shared],
        }
        self._place = place
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.rounds = 0
        """How often as many clients have begun."""

    def __enter__(self) -> Self:
        self.keep_on()
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()

    def keep_on(self) -> None:
        """Begin again where a round is over."""
        for kind, command in self._commands.items():
            process = self._running.get(kind)
            if process is not None and process.poll() is None:
                continue
            said = self._place / f"slow-{kind}.log"
            assert process is None or process.returncode == 0, said.read_text("utf-8", "replace")
            with said.open("ab") as log:
                self._running[kind] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            self.rounds += 1
