"""How clients prove who they are to this node: what its files say, and changes of these.

As with peers (`sadik_node.peer_security`) everything is a file that may change while the node runs.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sadik_comms.tls import load_authority, load_certificate
from sadik_node.certificate_expiry import expiry_of
from sadik_node.errors import EXIT_REFUSED, NodeError
from sadik_node.http.access import Access
from sadik_node.private_files import FileWatch, check_private, read_private
from sadik_node.settings import Settings, TlsFiles
from sadik_node.tokens import TokenFile

__all__ = ["ClientSecurity", "ListenerTls"]

TOKEN_FILE_BYTES_MAX = 4 * 2**20


class ListenerTls:
    """What HTTP listeners show, and ask for, by one table of the configuration (``key``).

    Raises:
        ValueError: a file is missing, is not what it should be, or is readable by everybody.
    """

    def __init__(self, key: str, files: TlsFiles) -> None:
        self.key = key
        self._files = files
        self.context: ssl.SSLContext | None = None
        """That of now; None where clients speak in the clear."""
        self.expires_s: float | None = None
        """When its certificate runs out, in Unix time, as far as that is known."""
        if files.cert is not None:
            self.load()

    @property
    def files(self) -> list[Path]:
        """What it is loaded from."""
        files = self._files
        return [each for each in (files.cert, files.key, files.ca) if each is not None]

    def load(self) -> ssl.SSLContext:
        """Read the files, anew if they were read before.

        Raises:
            ValueError: as at construction; then what was loaded before stays.
        """
        cert, key, ca = self._files.cert, self._files.key, self._files.ca
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
        self.context, self.expires_s = context, expiry_of(cert)
        return context


UseTls = Callable[[ListenerTls, ssl.SSLContext], None]
"""Told of what was loaded anew."""


class ClientSecurity:
    """What one node asks of its clients, and of its operators.

    Raises:
        NodeError: a file is missing, is not what it should be, or is readable by everybody.
    """

    def __init__(self, settings: Settings) -> None:
        self._tokens_file = settings.auth.tokens
        self.tokens: TokenFile | None = None
        """Those of now; None where no token is asked for."""
        key = "auth.tokens"
        try:
            if self._tokens_file is not None:
                self._load_tokens()
            key = "tls.http"
            self.http = self.admin = ListenerTls(key, settings.tls.http)
            if settings.tls.admin.cert is not None:
                key = "tls.admin"
                self.admin = ListenerTls(key, settings.tls.admin)
        except ValueError as error:
            raise NodeError(EXIT_REFUSED, f"{key}: {error}") from error

    def watch(
        self,
        files: FileWatch,
        access: Access,
        use_tls: UseTls,
    ) -> None:
        """Have changes noticed, and used from then on; connections that stand live on."""
        for tls in dict.fromkeys((self.http, self.admin)):
            if tls.context is not None:
                files.add(tls.key, tls.files, partial(_reload, tls, use_tls))
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


def _reload(tls: ListenerTls, use_tls: UseTls) -> None:
    use_tls(tls, tls.load())
