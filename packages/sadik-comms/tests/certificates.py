"""Certificates for tests, in files that go with the process."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trustme

from sadik_comms import TlsCredentials


class Authority:
    """A small authority; everything that it makes lies in one temporary directory."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self._directory = tempfile.TemporaryDirectory(prefix="sadik-certificates-")
        self.ca = self._file("ca.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def _file(self, name: str) -> Path:
        return Path(self._directory.name) / name

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Files with a certificate for these names, and with its key."""
        made = self._ca.issue_cert(*names)
        cert, key = self._file(f"{names[0]}.pem"), self._file(f"{names[0]}.key")
        cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return cert, key

    def credentials(self, *names: str) -> TlsCredentials:
        """What a node of these names shows, and accepts."""
        return TlsCredentials(*self.issue(*names), self.ca)
