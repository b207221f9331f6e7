"""How this node proves itself to others, and how they prove themselves to it.

Certificates wrap the transport; the cluster's secret goes into the handshake of the messenger. One
does, and both may be set. Both are files, and may change while the node runs: new streams use
what the files say, those that stand live on.
"""

from __future__ import annotations

from collections.abc import Callable

from sadik_comms import TlsCredentials, TlsTransport, Transport
from sadik_members import ClusterSecrets
from sadik_node.certificate_expiry import expiry_of
from sadik_node.errors import EXIT_REFUSED, NodeError
from sadik_node.log import Log
from sadik_node.private_files import FileWatch, check_private, read_private
from sadik_node.settings import Settings

__all__ = ["PeerSecurity"]


class PeerSecurity:
    """The credentials of one node.

    Raises:
        NodeError: a file is missing, is not what it should be, or is readable by everybody.
    """

    def __init__(self, settings: Settings, transport: Transport, log: Log) -> None:
        self._log = log
        self._files = settings.tls.peer
        self._secret_file = settings.auth.cluster_secret_file
        self.strangers = 0
        """Connections that ended without a TLS handshake."""
        self.transport = transport
        """What peers are dialled and listened for by."""
        self.secrets: ClusterSecrets | None = None
        """Those of now; None where the cluster has none."""
        self.expires_s: float | None = None
        """When its certificate runs out, in Unix time, as far as that is known."""
        self._credentials: TlsCredentials | None = None
        key = "auth.cluster_secret_file"
        try:
            if self._secret_file is not None:
                self._load_secrets()
            key = "tls.peer"
            if self._files.cert is not None:
                self._credentials = self._make_credentials()
        except ValueError as error:
            raise NodeError(EXIT_REFUSED, f"{key}: {error}") from error
        if self._credentials is not None:
            self.transport = TlsTransport(
                inner=transport, credentials=self._credentials, on_stranger=self._note_stranger
            )

    def watch(
        self,
        files: FileWatch,
        use_secrets: Callable[[ClusterSecrets], None],
        on_certificate: Callable[[], None],
    ) -> None:
        """Have changes noticed; new secrets are handed to ``use_secrets`` too, and
        ``on_certificate`` is told when there is a new one in use.
        """
        if self._secret_file is not None:

            def reload_secrets() -> None:
                use_secrets(self._load_secrets())

            files.add("auth.cluster_secret_file", [self._secret_file], reload_secrets)
        if self._credentials is not None:
            cert, key, ca = self._files.cert, self._files.key, self._files.ca

            def reload_tls() -> None:
                self._reload_tls()
                on_certificate()

            files.add("tls.peer", [each for each in (cert, key, ca) if each], reload_tls)

    def _load_secrets(self) -> ClusterSecrets:
        assert self._secret_file is not None
        text = read_private(self._secret_file)
        try:
            self.secrets = ClusterSecrets.parse(text)
        except ValueError as error:
            raise ValueError(f"{self._secret_file}: {error}") from None
        return self.secrets

    def _make_credentials(self) -> TlsCredentials:
        cert, key, ca = self._files.cert, self._files.key, self._files.ca
        assert cert is not None
        assert key is not None
        assert ca is not None
        check_private(key)
        credentials = TlsCredentials(cert, key, ca)
        self.expires_s = expiry_of(cert)
        return credentials

    def _reload_tls(self) -> None:
        assert self._credentials is not None
        assert self._files.key is not None
        assert self._files.cert is not None
        check_private(self._files.key)
        self._credentials.reload()
        self.expires_s = expiry_of(self._files.cert)

    def _note_stranger(self, address: str, reason: str) -> None:
        self.strangers += 1
        self._log.event("stranger", address=address, reason=reason)
