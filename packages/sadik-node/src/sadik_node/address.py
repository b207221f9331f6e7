"""A host and a port, as an operator writes them.

``127.0.0.1:7070``, ``[::1]:7070``, ``n1.example:7071``. The port is always said: a forgotten one is
a mistake to report, not to guess around.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from attrs import frozen

__all__ = ["Address"]

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST_CHARACTERS_MAX = 253
_LABEL_CHARACTERS_MAX = 63


@frozen
class Address:
    """Where something listens or is dialled. ``host`` bears no brackets."""

    host: str
    port: int
    """0 to 65535; 0, where it is accepted, is a port of the system's choice."""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``, an IPv6 address in brackets.

        Raises:
            ValueError: it is not that; the message says what is wrong.
        """
        host, colon, port_text = text.rpartition(":")
        if not colon or not _PORT.fullmatch(port_text):
            raise ValueError("has no port")
        port = int(port_text)
        if port > 0xFFFF:
            raise ValueError(f"has the port {port}, above 65535")
        if not host:
            raise ValueError("names no host (0.0.0.0 and [::] mean all addresses)")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            if not _is_ip(host, 6):
                raise ValueError(f"has {host!r} in brackets, which is no IPv6 address")
        elif ":" in host:
            raise ValueError("has an IPv6 address without brackets")
        elif not _is_ip(host, 4) and not _is_host_name(host):
            raise ValueError(f"has {host!r} for a host, which is neither a name nor an IP address")
        return cls(host, port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it, judged from the text alone."""
        if _is_ip(self.host):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host.lower() == "localhost"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of the machine, so that nobody can dial it."""
        return _is_ip(self.host) and ipaddress.ip_address(self.host).is_unspecified

    def advertised(self, bound_port: int) -> Address:
        """What to tell others to dial when nothing was configured.

        The address itself with the port that was really bound; in place of "all addresses" the
        name of this machine, which its peers must then be able to resolve.
        """
        return Address(socket.gethostname() if self.is_wildcard else self.host, bound_port)


def _is_ip(host: str, version: int | None = None) -> bool:
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return False
    return version is None or parsed.version == version


def _is_host_name(host: str) -> bool:
    labels = host.removesuffix(".").split(".")
    return (
        len(host) <= _HOST_CHARACTERS_MAX
        # All digits at the end would be an IPv4 address, and a wrong one.
        and not labels[-1].isdigit()
        and all(
            len(label) <= _LABEL_CHARACTERS_MAX and _HOST_NAME.fullmatch(label) for label in labels
        )
    )
