"""Where a node listens: a host and a port.

A host is an IPv4 or IPv6 literal or a DNS name. It is brought to one spelling when the address is
made (``::1`` for ``0:0:0:0:0:0:0:1``, names in lower case), so equal addresses compare equal.
Nothing is resolved here.
"""

from __future__ import annotations

import ipaddress
import re

import attrs

from sadik_comms.errors import AddressInvalid

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NAME_CHARS_MAX = 253
_PORT_MAX = 65535
_ACCEPTED = "accepted: 127.0.0.1:7071, [::1]:7071 or name:7071"


def _port(port: int) -> int:
    if isinstance(port, bool) or not isinstance(port, int):
        raise AddressInvalid(f"port {port!r} is not a whole number")
    if not 0 <= port <= _PORT_MAX:
        raise AddressInvalid(f"port {port} is not between 0 and {_PORT_MAX}")
    return port


def _host(host: str) -> str:
    """Return the one spelling of ``host``, or say what is wrong with it."""
    if not host:
        raise AddressInvalid(f"the host is missing; {_ACCEPTED}")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise AddressInvalid(f"host {host!r} is no IPv6 address: {error}") from None
    if not host.isascii():
        raise AddressInvalid(f"host {host!r} is not ASCII: write the name in its xn-- form")
    name = host.lower()
    labels = name.removesuffix(".").split(".")
    if labels[-1].isdigit():
        # No top-level domain is a number, so this was meant to be an address.
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise AddressInvalid(f"host {host!r} is no IPv4 address: {error}") from None
    if len(name) > _NAME_CHARS_MAX:
        raise AddressInvalid(f"the host is {len(name)} characters long, at most {_NAME_CHARS_MAX}")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise AddressInvalid(
                f"host {host!r} is no name: its part {label!r} must be 1 to 63 letters, digits, "
                "'-' or '_', and not begin or end with '-'"
            )
    return name


@attrs.frozen(order=True)
class Address:
    """A host and a port; hashable, ordered, and `parse` undoes ``str``.

    ``port`` is 0 to 65535; 0 asks `Transport.listen` for any free port and cannot be dialled.
    Raises `AddressInvalid` when either is no such thing.
    """

    host: str = attrs.field(converter=_host)
    port: int = attrs.field(converter=_port)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``"127.0.0.1:7071"``, ``"[::1]:7071"`` or ``"name:7071"``.

        Raises `AddressInvalid`, whose message names the part that is wrong.
        """
        host, colon, port = text.rpartition(":")
        if not colon or port.endswith("]"):
            raise AddressInvalid(f"{text!r} has no port; {_ACCEPTED}")
        if host.startswith("["):
            if not host.endswith("]"):
                raise AddressInvalid(f"{text!r} has a '[' that is not closed before the port")
            host = host[1:-1]
            if ":" not in host:
                raise AddressInvalid(f"{text!r}: only an IPv6 address stands in brackets")
        elif ":" in host:
            raise AddressInvalid(f"{text!r}: an IPv6 address stands in brackets; {_ACCEPTED}")
        # int() would take "+1", "1_0", " 1" and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,5}", port):
            raise AddressInvalid(f"{text!r}: port {port!r} is not between 0 and {_PORT_MAX}")
        try:
            return cls(host, int(port))
        except AddressInvalid as error:
            raise AddressInvalid(f"{text!r}: {error}") from None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: a literal loopback address, or ``localhost``.

        Other names are not resolved, so the answer for them is False.
        """
        literal = self._literal()
        if literal is None:
            return self.host in ("localhost", "localhost.")
        return literal.is_loopback

    @property
    def is_unspecified(self) -> bool:
        """Whether it is a wildcard (``0.0.0.0``, ``::``): good to listen at, not to be dialled."""
        literal = self._literal()
        return literal is not None and literal.is_unspecified

    def _literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        try:
            literal = ipaddress.ip_address(self.host)
        except ValueError:
            return None
        if isinstance(literal, ipaddress.IPv6Address) and literal.ipv4_mapped is not None:
            return literal.ipv4_mapped
        return literal
