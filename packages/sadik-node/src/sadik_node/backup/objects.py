"""A vault in an object store, or wherever else fsspec reaches: `s3://bucket/prefix`, `sftp://…`.

The idea: an object store makes an object whole or not at all, which is all that a vault needs. What
it cannot do is keep other writers out. Two backups at once do no harm, since files are named by
what is in them; only removing older backups could take what the other counts on. So whoever writes
leaves a mark, and nobody removes while there is a fresh one of somebody else.

Where to and as whom is for the driver to know: `s3fs` reads what every tool for S3 does
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, profiles), and fsspec reads defaults for any driver
from its configuration. On what has no whole writes, such as SFTP, a file may be left half: its hash
shows that, and the next backup writes it again.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from typing import Any, Final

from sadik_node.backup.vault import VaultError

__all__ = ["ObjectVault"]

_MARKS: Final = "writing"
_FRESH_S: Final = 24 * 3600
"""A mark that was not renewed for so long is of a writer that died."""
_RENEWED_EVERY_S: Final = 600


class ObjectVault:
    """Objects below one address. Methods may be called from several threads."""

    def __init__(self, address: str, *, writing: bool) -> None:
        try:
            import fsspec  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise VaultError(
                f"{address} needs fsspec and its driver for that: "
                'pip install "sadik-node[fsspec]", or "sadik-node[s3]"'
            ) from error
        self.address = address
        self._mark: str | None = None
        self._renew_at = 0.0
        self._lock = threading.Lock()
        try:
            # No listings from memory: a vault is what it is now.
            self._fs, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except (ImportError, ValueError, OSError) as error:
            raise VaultError(f"{address} cannot be opened: {error}") from error
        self._root = path.rstrip("/")
        if writing:
            self._mark = f"{_MARKS}/{secrets.token_hex(8)}.json"
            self._renew()

    def close(self) -> None:
        """Take the mark away."""
        mark, self._mark = self._mark, None
        if mark is not None:
            # Left behind it only makes others wait before they remove old backups.
            with contextlib.suppress(VaultError):
                self.remove(mark)

    def read(self, name: str) -> bytes | None:
        """What is in an object; None where there is none."""
        try:
            data: bytes = self._fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        except Exception as error:  # each driver has errors of its own
            raise self._translated(error, name) from error
        return data

    def write(self, name: str, data: bytes) -> None:
        """Make or replace an object."""
        self._renew()
        self._put(name, data)

    def sizes(self, directory: str) -> dict[str, int]:
        """The objects below a name by their names from the vault's root, with their sizes."""
        try:
            found: dict[str, dict[str, Any]] = self._fs.find(self._path(directory), detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise self._translated(error, directory) from error
        start = len(self._root) + 1
        return {path[start:]: int(about["size"]) for path, about in found.items()}

    def remove(self, name: str) -> None:
        """Remove an object that may be there."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            pass
        except Exception as error:
            raise self._translated(error, name) from error

    def other_writer(self) -> str | None:
        """Who else seems to be making a backup here."""
        for name in self.sizes(_MARKS):
            if name == self._mark:
                continue
            try:
                about = json.loads(self.read(name) or b"{}")
                if time.time() - about["renewed"] < _FRESH_S:
                    return f"process {about['process']} on {about['host']}"
            except (ValueError, KeyError, TypeError):
                return name
            self.remove(name)
        return None

    def _renew(self) -> None:
        with self._lock:
            if self._mark is None or time.monotonic() < self._renew_at:
                return
            self._renew_at = time.monotonic() + _RENEWED_EVERY_S
            about = {
                "host": socket.gethostname(), "process": os.getpid(), "renewed": int(time.time()),
            }  # fmt: skip
            self._put(self._mark, json.dumps(about).encode())

    def _put(self, name: str, data: bytes) -> None:
        path = self._path(name)
        try:
            try:
                self._fs.pipe_file(path, data)
            except FileNotFoundError:
                # The store has directories, or the bucket is not there yet.
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._fs.pipe_file(path, data)
        except Exception as error:
            raise self._translated(error, name) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _translated(self, error: Exception, name: str) -> VaultError:
        return VaultError(
            f"{self.address.rstrip('/')}/{name}: {str(error) or type(error).__name__}"
        )
