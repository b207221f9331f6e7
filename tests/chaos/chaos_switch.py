"""A switch in user space that takes its time: frames come out later than they went in.

    python chaos_switch.py DELAY_MS JITTER_MS NAMESPACE...

It makes a TAP device ``eth0`` in each namespace, all but the first of which are apart by DELAY_MS
each way, give or take up to JITTER_MS; the first is the clients'. Frames between two hosts keep
their order. It prints a line when the devices are there, and ends with its standard input.

Kernels of virtual machines often lack ``netem``, which does this elsewhere.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time
from collections.abc import Sequence

_TUNSETIFF = 0x400454CA
_TAP, _NO_PACKET_INFORMATION = 0x0002, 0x1000
_CLONE_NEWNET = 0x40000000
_FRAME_BYTES_MAX = 65_536


def make_tap(namespace: str) -> int:
    """A device in a namespace; its file, by which frames come and go."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(home, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", b"eth0", _TAP | _NO_PACKET_INFORMATION)
        fcntl.ioctl(tap, _TUNSETIFF, request)
    finally:
        os.close(home)
    return tap


class Switch:
    """Ports by number; what came in and is not yet out."""

    def __init__(self, ports: Sequence[int], delay_s: float, jitter_s: float) -> None:
        self.ports = ports
        self.delay_s = delay_s
        self.jitter_s = jitter_s
        self.known: dict[bytes, int] = {}
        self.waiting: list[tuple[float, int, int, bytes]] = []
        self.last: dict[tuple[int, int], float] = {}
        self.count = 0
        self.dice = random.Random(1)

    def came_in(self, port: int, frame: bytes) -> None:
        """Find where a frame goes, and when."""
        self.known[frame[6:12]] = port
        target = self.known.get(frame[:6])
        targets = [target] if target is not None else range(len(self.ports))
        for other in targets:
            if other != port:
                self.count += 1
                heapq.heappush(self.waiting, (self._due(port, other), self.count, other, frame))

    def _due(self, port: int, other: int) -> float:
        now = time.monotonic()
        if 0 in (port, other):
            return now
        due = now + self.delay_s + self.dice.uniform(-self.jitter_s, self.jitter_s)
        due = max(due, self.last.get((port, other), 0.0))
        self.last[port, other] = due
        return due

    def send_due(self) -> float | None:
        """Send what is due; the seconds until something else is."""
        while self.waiting:
            due, _, other, frame = self.waiting[0]
            left = due - time.monotonic()
            if left > 0:
                return left
            heapq.heappop(self.waiting)
            try:
                os.write(self.ports[other], frame)
            except OSError:
                continue  # the device is down, or its queue full: lost, as frames are
        return None


def main(delay_ms: str, jitter_ms: str, *namespaces: str) -> None:
    """Switch until the standard input ends."""
    switch = Switch(
        [make_tap(namespace) for namespace in namespaces],
        float(delay_ms) / 1e3,
        float(jitter_ms) / 1e3,
    )
    poll = select.epoll()
    for file in (*switch.ports, 0):
        poll.register(file, select.EPOLLIN)
    numbers = {port: number for number, port in enumerate(switch.ports)}
    print("ready", flush=True)
    while True:
        left = switch.send_due()
        for file, _ in poll.poll(-1 if left is None else left):
            if file == 0:
                return
            try:
                while True:
                    switch.came_in(numbers[file], os.read(file, _FRAME_BYTES_MAX))
            except BlockingIOError:
                continue
            except OSError:
                continue  # the device is not up yet


if __name__ == "__main__":
    main(*sys.argv[1:])
