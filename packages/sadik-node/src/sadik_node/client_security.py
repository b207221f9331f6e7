"""How clients prove who they are to this node: what its files say, and changes of these.

As with peers (`sadik_node.peer_security`) everything is a file that may change while the node runs.
"""

from __future__ import annotations

from sadik_node.errors import EXIT_REFUSED, NodeError
from sadik_node.http.access import Access
from sadik_node.private_files import FileWatch, read_private
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
        try:
            if self._tokens_file is not None:
                self._load_tokens()
        except ValueError as error:
            raise NodeError(EXIT_REFUSED, f"auth.tokens: {error}") from error

    def watch(self, files: FileWatch, access: Access) -> None:
        """Have changes noticed, and used from then on."""
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
