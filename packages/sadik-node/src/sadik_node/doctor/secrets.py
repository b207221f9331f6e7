"""What a node proves itself by: files that load, that nobody else reads, and that do not run out.

A certificate that runs out stops a node from being reached on a day when nobody has touched it, so
it is worth a word a month before.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

from sadik_node.certificate_expiry import days_left, expiry_of
from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.exposure import unprotected
from sadik_node.settings import Settings

__all__ = ["SOON_DAYS", "examine_secrets"]

SOON_DAYS = 30
"""Before that there is nothing to do about a certificate; a node warns by itself, but later."""


def examine_secrets(settings: Settings, now_s: float | None = None) -> Iterator[Finding]:
    """Certificates, secret and tokens as a node would load them at start, and what is left open.

    ``now_s`` is Unix time.
    """
    tls = settings.tls
    certs = [each for each in (tls.peer.cert, tls.http.cert, tls.admin.cert) if each is not None]
    files = [*certs, settings.auth.cluster_secret_file, settings.auth.tokens]
    if any(files):
        yield _loaded(settings)
    else:
        yield Finding("secrets", Verdict.SKIP, "no certificates, no secret and no tokens")
    for cert in dict.fromkeys(certs):
        yield from _expiry(cert, time.time() if now_s is None else now_s)
    text = unprotected(settings)
    if text:
        yield Finding("exposure", Verdict.WARN, text, "set tls and auth (docs/security.md)")
    else:
        yield Finding("exposure", Verdict.OK, "nothing is open that nobody asks for")


def _loaded(settings: Settings) -> Finding:
    from sadik_comms import TcpTransport  # noqa: PLC0415 - brings trio
    from sadik_node.client_security import ClientSecurity  # noqa: PLC0415 - see above
    from sadik_node.errors import NodeError  # noqa: PLC0415 - see above
    from sadik_node.log import Log  # noqa: PLC0415 - see above
    from sadik_node.peer_security import PeerSecurity  # noqa: PLC0415 - see above

    try:
        PeerSecurity(settings, TcpTransport(), Log(settings.node.name, stream=io.StringIO()))
        ClientSecurity(settings)
    except NodeError as error:
        return Finding(
            "secrets",
            Verdict.FAIL,
            str(error),
            "make it with `sadik-node certs`, `secret` or `token` (docs/security.md), owned by "
            "the node's user and readable by nobody else",
        )
    return Finding("secrets", Verdict.OK, "they load, and nobody else may read them")


def _expiry(cert: Path, now_s: float) -> Iterator[Finding]:
    expires_s = expiry_of(cert)
    if expires_s is None:
        return  # told already, by its loading
    left = days_left(expires_s, now_s)
    shown = f"{cert} is valid for {left} more days"
    if left < 0:
        shown = f"{cert} has run out {-left} days ago"
    if left < SOON_DAYS:
        yield Finding(
            "certificate",
            Verdict.FAIL if left < 0 else Verdict.WARN,
            shown,
            f"issue a new one (sadik-node certs issue DIR {cert.stem}); a running node reads it "
            "itself",
        )
    else:
        yield Finding("certificate", Verdict.OK, shown)
