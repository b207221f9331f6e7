"""Hosts with a network of their own: network namespaces, joined by a bridge in one more.

Nothing of the machine's own network is touched, and nothing outlives the block: what a run that was
killed left behind, the next one removes. Needs root and ``ip`` (iproute2).

A *cut* loses what one host sends another, silently and at once, on connections that stand, too: the
sender is made to address its frames to nobody. So links are cut in one direction each.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

__all__ = ["CLIENT", "Network", "why_no_network"]

_PREFIX: Final = "sadik-chaos-"
_NAMESPACES: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_NOBODY: Final = "02:00:00:00:ff:ff"
CLIENT: Final = 0
"""The host that this process is on, within the block."""


def why_no_network() -> str:
    """Why there can be no such network here; empty where there can be one."""
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    try:
        with Network(1):
            pass
    except (OSError, subprocess.CalledProcessError) as error:
        return f"needs network namespaces: {getattr(error, 'stderr', None) or error}"
    return ""


class Network:
    """Hosts 1 to ``hosts``, and the clients' host 0, where the threads and processes that this
    one starts within the block are as well. ``delay_ms`` is how long a frame takes from one of the
    hosts 1 to ``hosts`` to another, and by how much that varies at most.
    """

    def __init__(self, hosts: int, *, delay_ms: tuple[float, float] | None = None) -> None:
        self.hosts = range(hosts + 1)
        self._delay_ms = delay_ms
        self._slow_switch: subprocess.Popen[bytes] | None = None
        self._switch = f"{_PREFIX}{os.getpid()}-switch"
        self._home = -1
        self.cuts: set[tuple[int, int]] = set()

    def name(self, host: int) -> str:
        """The namespace of a host."""
        return f"{_PREFIX}{os.getpid()}-{host}"

    def address(self, host: int) -> str:
        """The address of a host."""
        return f"10.77.0.{host + 1}"

    def before(self, host: int) -> list[str]:
        """What stands before a command that shall run on a host."""
        return ["ip", "netns", "exec", self.name(host)]

    def cut(self, sender: int, receiver: int) -> None:
        """Lose all that ``sender`` sends ``receiver``."""
        self.cuts.add((sender, receiver))
        self._aim(sender, receiver, _NOBODY)

    def separate(self, some: Iterable[int], others: Iterable[int]) -> None:
        """Cut all between two groups of hosts, both ways."""
        others = list(others)
        for one in some:
            for other in others:
                self.cut(one, other)
                self.cut(other, one)

    def heal(self) -> None:
        """Mend every cut."""
        for sender, receiver in sorted(self.cuts):
            self._aim(sender, receiver, _mac(receiver))
        self.cuts.clear()

    def _aim(self, sender: int, receiver: int, mac: str) -> None:
        neighbour = f"{self.address(receiver)} lladdr {mac} dev eth0 nud permanent"
        _ip("-n", self.name(sender), "neigh", "replace", *neighbour.split())

    def __enter__(self) -> Self:
        _sweep()
        try:
            self._make()
            self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
            _enter(_NAMESPACES / self.name(CLIENT))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove()

    def _make(self) -> None:
        for host in self.hosts:
            _ip("netns", "add", self.name(host))
        if self._delay_ms is None:
            self._make_bridge()
        else:
            self._start_switch(*self._delay_ms)
        for host in self.hosts:
            name = self.name(host)
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", name, "link", "set", link, "up")
        for host in self.hosts:
            for other in self.hosts:
                if other != host:
                    self._aim(host, other, _mac(other))

    def _make_bridge(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "br0", "up")
        for host in self.hosts:
            port = f"port{host}"
            link = f"link add eth0 address {_mac(host)} type veth peer name {port}"
            _ip("-n", self.name(host), *link.split(), "netns", self._switch)
            _ip("-n", self._switch, "link", "set", port, "master", "br0", "up")

    def _start_switch(self, delay_ms: float, jitter_ms: float) -> None:
        program = str(Path(__file__).with_name("chaos_switch.py"))
        self._slow_switch = subprocess.Popen(
            [sys.executable, program, str(delay_ms), str(jitter_ms), *map(self.name, self.hosts)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._slow_switch.stdout is not None
        if self._slow_switch.stdout.readline() != b"ready\n":
            raise OSError("the switch did not start: it needs /dev/net/tun")
        for host in self.hosts:
            _ip("-n", self.name(host), "link", "set", "eth0", "address", _mac(host))

    def _remove(self) -> None:
        if self._slow_switch is not None:
            self._slow_switch.communicate()
        if self._home >= 0:
            _set_namespace(self._home)
            os.close(self._home)
            self._home = -1
        for name in [*map(self.name, self.hosts), self._switch]:
            if (_NAMESPACES / name).exists():
                _ip("netns", "delete", name)


def _mac(host: int) -> str:
    return f"02:00:00:00:00:{host + 1:02x}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def _enter(namespace: Path) -> None:
    file = os.open(namespace, os.O_RDONLY)
    try:
        _set_namespace(file)
    finally:
        os.close(file)


def _set_namespace(file: int) -> None:
    """Move this thread, and those that it starts from now on, to another network."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(file, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _sweep() -> None:
    """Remove the namespaces of runs whose process is gone."""
    for path in _NAMESPACES.glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists():
            _ip("netns", "delete", path.name)
