"""How clients prove who they are to this node: what its files say, and changes of these.

As with peers (`sadik_node.peer_security`) everything is a file that may change while the node runs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from sadik_comms.tls import load_authority, load_certificate
from sadik_node.errors import EXIT_REFUSED, NodeError
from sadik_node.http.access import Access
from sadik_node.private_files import FileWatch, check_private, read_private
from sadik_node.settings import Settings
from sadik_node.tokens import TokenFile

__all__ = ["ClientSecurity"]

TOKEN_FILE_BYTES_MAX = 4 * 2**20


class ClientSecurity:
    """What one node asks of its clients.

    Raises:
        NodeError: a file is missing, is not what it should be, or is readable by everybody.
    """

    def __init__(self, settings: Settings) -> None:
        self._tokens_file = settings.auth.tokens
        self.tokens: TokenFile | None = None
        """Those of now; None where no token is asked for."""
        self._tls_files = settings.tls.http
        self.tls: ssl.SSLContext | None = None
        """That of now; None where clients speak in the clear."""
        key = "auth.tokens"
        try:
            if self._tokens_file is not None:
                self._load_tokens()
            key = "tls.http"
            if self._tls_files.cert is not None:
                self._load_tls()
        except ValueError as error:
            raise NodeError(EXIT_REFUSED, f"{key}: {error}") from error

    def watch(
        self, files: FileWatch, access: Access, use_tls: Callable[[ssl.SSLContext], None]
    ) -> None:
        """Have changes noticed, and used from then on; connections that stand live on."""
        tls = self._tls_files
        if tls.cert is not None:

            def reload_tls() -> None:
                use_tls(self._load_tls())

            files.add(
                "tls.http", [each for each in (tls.cert, tls.key, tls.ca) if each], reload_tls
            )
        if self._tokens_file is not None:

            def reload_tokens() -> None:
                access.tokens = self._load_tokens()

            files.add("auth.tokens", [self._tokens_file], reload_tokens)

    def _load_tokens(self) -> TokenFile:
        assert self._tokens_file is not None
        data = read_private(self._tokens_file, bytes_max=TOKEN_FILE_BYTES_MAX)
        try:
            self.tokens = TokenFile.parse(data)
        except ValueError as error:
            raise ValueError(f"{self._tokens_file}: {error}") from None
        return self.tokens

    def _load_tls(self) -> ssl.SSLContext:
        cert, key, ca = self._tls_files.cert, self._tls_files.key, self._tls_files.ca
        assert cert is not None
        assert key is not None
        check_private(key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        load_certificate(context, cert, key)
        if ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            load_authority(context, ca)
        self.tls = context
        return context
