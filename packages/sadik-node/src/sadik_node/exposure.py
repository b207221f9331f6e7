"""What may be listened at beyond loopback: only what asks whoever comes who they are.

Clients' port, and the operators' where they have one, needs a certificate and tokens, or a
certificate that clients must answer with one of their own; peers' port needs certificates, or the
cluster's secret. Anything else takes the operator's word, ``listen.insecure``. A secret alone keeps
strangers out and hides nothing from who can read the network, so a node that relies on it says so
in its log.
"""

from __future__ import annotations

from collections.abc import Iterator

from sadik_node.address import Address
from sadik_node.settings import Settings, TlsFiles

__all__ = [
    "are_clients_asked",
    "are_operators_asked",
    "are_peers_asked",
    "exposures",
    "unprotected",
]

_HTTP = (
    "{} is beyond loopback, and clients are not asked who they are; accepts 127.0.0.1, [::1] or "
    "localhost, or any address with tls.http.cert and tls.http.key and either auth.tokens or "
    "tls.http.ca, or with listen.insecure = true or --insecure, on a network that you trust"
)
_ADMIN = (
    "{} is beyond loopback, and operators are not asked who they are; accepts 127.0.0.1, [::1] or "
    "localhost, or any address with tls.admin or tls.http (cert, key) and either auth.tokens or ca "
    "beside them, or with listen.insecure = true or --insecure, on a network that you trust"
)
_PEER = (
    "{} is beyond loopback, and nodes are not asked who they are; accepts 127.0.0.1, [::1] or "
    "localhost, or any address with tls.peer (cert, key, ca) or auth.cluster_secret_file, or with "
    "listen.insecure = true or --insecure, on a network that you trust"
)


def are_clients_asked(settings: Settings) -> bool:
    """Whether clients prove who they are, over a connection that nobody can read."""
    return _are_asked(settings, settings.tls.http)


def are_operators_asked(settings: Settings) -> bool:
    """The same of those who come to the operators' own listener."""
    return _are_asked(settings, settings.tls.of_admin)


def _are_asked(settings: Settings, files: TlsFiles) -> bool:
    return files.cert is not None and (files.ca is not None or settings.auth.tokens is not None)


def are_peers_asked(settings: Settings) -> bool:
    """Whether nodes prove that they belong to the cluster."""
    return settings.tls.peer.cert is not None or settings.auth.cluster_secret_file is not None


def exposures(settings: Settings) -> list[tuple[str, str]]:
    """What is open to the network and must not be: keys of the configuration, and why."""
    if settings.listen.insecure:
        return []
    return [
        (key, text.format(where))
        for key, where, is_asked, text in _listeners(settings)
        if not is_asked and not where.is_loopback
    ]


def unprotected(settings: Settings) -> str:
    """What of the traffic nothing protects, in a sentence; empty where all is well."""
    open_to_all = [
        str(where)
        for _, where, is_asked, _ in _listeners(settings)
        if not is_asked and not where.is_loopback
    ]
    if open_to_all:
        return (
            f"whoever reaches {' or '.join(open_to_all)} can read, change and delete everything: "
            "listen.insecure says that the network is trusted"
        )
    if settings.tls.peer.cert is None and not settings.listen.peer.is_loopback:
        return (
            "the cluster's secret keeps strangers out, and encrypts nothing: who can read the "
            "network between the nodes reads the data; set tls.peer to prevent that"
        )
    return ""


def _listeners(settings: Settings) -> Iterator[tuple[str, Address, bool, str]]:
    listen = settings.listen
    yield "listen.http", listen.http, are_clients_asked(settings), _HTTP
    if listen.admin is not None:
        yield "listen.admin", listen.admin, are_operators_asked(settings), _ADMIN
    yield "listen.peer", listen.peer, are_peers_asked(settings), _PEER
