"""Ports and addresses: may this node listen where it shall, and do its seeds answer."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from sadik_node.address import Address
from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.settings import Settings

__all__ = ["dial", "examine_ports", "examine_seeds"]

_PATIENCE_S = 2.0


def examine_ports(settings: Settings, running: str | None) -> Iterator[Finding]:
    """Whether the node's ports are free; ``running`` names the node that has them.

    The address that others are told must mean something to this machine too.
    """
    listen = settings.listen
    for key, address in (
        ("listen.http", listen.http), ("listen.admin", listen.admin), ("listen.peer", listen.peer)
    ):  # fmt: skip
        if address is None:
            continue
        if running is not None:
            yield Finding(key, Verdict.OK, f"{address}: {running} runs there")
        else:
            yield _port(key, address)
    told = (
        ("listen.advertise", listen.advertise),
        ("listen.advertise_http", listen.advertise_http),
        ("listen.advertise_admin", listen.advertise_admin),
    )
    for key, advertised in told:
        if advertised is not None:
            yield _resolved(key, advertised)


def _port(key: str, address: Address) -> Finding:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        host = socket.getaddrinfo(address.host, address.port, family, socket.SOCK_STREAM)[0][4]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(host)
            probe.listen()
    except OSError as error:
        return Finding(key, Verdict.FAIL, f"{address}: {error.strerror}", _advice(key, error))
    return Finding(key, Verdict.OK, f"{address} is free")


def _advice(key: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"another program has the port (ss -ltnp shows which); end it, or change {key}"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no such address (ip addr shows which it has); change {key}"
    if error.errno == errno.EACCES:
        return f"ports below 1024 are for root; change {key}"
    return f"change {key} to an address of this machine"


def _resolved(key: str, address: Address) -> Finding:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            key,
            Verdict.FAIL,
            f"{address.host}: {error.strerror or error}",
            f"others are told this name and must find it: mend the name service, or change {key}",
        )
    return Finding(key, Verdict.OK, f"{address} is {found[0][4][0]}")


def examine_seeds(settings: Settings) -> Iterator[Finding]:
    """Whether each address of ``cluster.join`` can be reached from here."""
    for seed in settings.cluster.join:
        reason = dial(seed.host, seed.port)
        if reason is None:
            yield Finding("cluster.join", Verdict.OK, f"{seed} takes connections")
        else:
            yield Finding(
                "cluster.join",
                Verdict.WARN,
                f"{seed}: {reason}",
                "start that node, open its peer port to this machine, or take it off the list",
            )


def dial(host: str, port: int) -> str | None:
    """Connect and hang up; None, or why it could not be."""
    try:
        socket.create_connection((host, port), _PATIENCE_S).close()
    except TimeoutError:
        return f"no answer within {_PATIENCE_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    return None
