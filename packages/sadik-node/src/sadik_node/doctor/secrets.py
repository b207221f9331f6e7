"""What nodes prove themselves by: files that load, that nobody else reads, and that do not run out.

A certificate that runs out stops a node from being dialled on a day when nobody has touched it, so
it is worth a word a month before.
"""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from pathlib import Path

from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.exposure import unprotected
from sadik_node.settings import Settings

__all__ = ["examine_secrets"]

_SOON_DAYS = 30


def examine_secrets(settings: Settings, now: dt.datetime | None = None) -> Iterator[Finding]:
    """Certificates and secret as a node would load them at start, and what is left open."""
    yield from _loaded(settings)
    cert = settings.tls.peer.cert
    if cert is not None:
        yield from _expiry(cert, settings.node.name, now or dt.datetime.now(dt.UTC))
    text = unprotected(settings)
    if text:
        yield Finding("exposure", Verdict.WARN, text, "set tls.peer and auth (docs/security.md)")
    else:
        yield Finding("exposure", Verdict.OK, "nothing is open that nobody asks for")


def _loaded(settings: Settings) -> Iterator[Finding]:
    from sadik_comms import TcpTransport  # noqa: PLC0415 - brings trio
    from sadik_node.errors import NodeError  # noqa: PLC0415 - see above
    from sadik_node.log import Log  # noqa: PLC0415 - see above
    from sadik_node.peer_security import PeerSecurity  # noqa: PLC0415 - see above

    if settings.tls.peer.cert is None and settings.auth.cluster_secret_file is None:
        yield Finding("secrets", Verdict.SKIP, "neither certificates nor a secret between nodes")
        return
    try:
        PeerSecurity(settings, TcpTransport(), Log(settings.node.name, stream=io.StringIO()))
    except NodeError as error:
        yield Finding(
            "secrets",
            Verdict.FAIL,
            str(error),
            "make it with `sadik-node certs` or `sadik-node secret` (docs/security.md), owned by "
            "the node's user and readable by nobody else",
        )
    else:
        yield Finding("secrets", Verdict.OK, "they load, and nobody else may read them")


def _expiry(cert: Path, name: str, now: dt.datetime) -> Iterator[Finding]:
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra
    except ImportError:
        yield Finding(
            "certificate", Verdict.SKIP, 'when it runs out is told with "sadik-node[certs]"'
        )
        return
    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
    except (OSError, ValueError):
        return  # told already, by its loading
    left = (found.not_valid_after_utc - now).days
    shown = f"{cert} is valid for {left} more days"
    if left < 0:
        shown = f"{cert} has run out {-left} days ago"
    if left < _SOON_DAYS:
        yield Finding(
            "certificate",
            Verdict.FAIL if left < 0 else Verdict.WARN,
            shown,
            f"issue a new one (sadik-node certs issue DIR {name}); a running node reads it itself",
        )
    else:
        yield Finding("certificate", Verdict.OK, shown)
