"""Clusters whose nodes prove to each other who they are, and whose clients do, for tests.

`any_cluster` is for tests of what must work in such a cluster as it does in any: it makes one where
``SECURED=1`` is in the environment (``make test-secured``), and an open one else.
"""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner
from real_cluster import Credentials, RealCluster, RealNode

from sadik_node.cli.root import cli

__all__ = ["Secured", "any_cluster", "is_wanted", "run_sadik"]


def is_wanted() -> bool:
    """Whether tests of any cluster are to have a secured one."""
    return os.environ.get("SECURED") == "1"


def any_cluster(
    root: Path, nodes: int = 3, environment: dict[str, str] | None = None
) -> RealCluster:
    """A cluster that has not been started, of the kind that is wanted."""
    if is_wanted():
        return Secured(root, nodes, environment, clients=True).cluster
    return RealCluster(root, nodes, environment=environment)


def run_sadik(*arguments: str) -> str:
    """What a command prints that has to be done. It runs within this process, which is quicker."""
    done = CliRunner().invoke(cli, arguments, prog_name="sadik-node")
    assert done.exit_code == 0, done.output
    return done.stdout


class _Cluster(RealCluster):
    """Has every node that comes later made one of it."""

    def __init__(
        self, root: Path, nodes: int, environment: dict[str, str] | None, secured: Secured
    ) -> None:
        self._secured = secured
        super().__init__(root, nodes, environment=environment)

    def add(self, name: str, join: Iterable[str], ports: list[int] | None = None) -> RealNode:
        node = super().add(name, join, ports)
        self._secured.equip(node)
        return node


class Secured:
    """A cluster whose nodes have certificates of one authority (``tls``) and share a ``secret``.

    With ``clients`` its clients speak TLS and show a token, which may do everything.
    """

    def __init__(
        self,
        root: Path,
        nodes: int = 3,
        environment: dict[str, str] | None = None,
        *,
        tls: bool = True,
        secret: bool = True,
        clients: bool = False,
    ) -> None:
        self.pki, self.secret = root / "pki", root / "cluster.secret"
        self._tls, self._has_secret = tls, secret
        run_sadik("certs", "init", str(self.pki))
        run_sadik("secret", "new", str(self.secret))
        self.tokens = root / "tokens.toml"
        self.credentials: Credentials | None = None
        if clients:
            self.credentials = Credentials(self.pki / "ca.crt", root / "client.token")
            shown = run_sadik("token", "add", str(self.tokens), "tests", "--scope", "admin")
            self.credentials.token_file.write_text(shown, "ascii")
        self.cluster = _Cluster(root, nodes, environment, self)

    def equip(self, node: RealNode) -> None:
        """Give a node all that it needs, in copies of its own, as on a machine of its own."""
        node.directory.parent.joinpath(f"{node.name}.d").mkdir()
        if self._tls or self.credentials is not None:
            self.issue(node)
            self.give(self.pki / "ca.crt", node)
        own = {"CERT": f"{node.name}.crt", "KEY": f"{node.name}.key"}
        if self._tls:
            for word, name in {**own, "CA": "ca.crt"}.items():
                node.environment[f"SADIK_TLS__PEER__{word}"] = str(self.file(node, name))
        if self._has_secret:
            self.give(self.secret, node)
            file = str(self.file(node, self.secret.name))
            node.environment["SADIK_AUTH__CLUSTER_SECRET_FILE"] = file
        if self.credentials is not None:
            for word, name in own.items():
                node.environment[f"SADIK_TLS__HTTP__{word}"] = str(self.file(node, name))
            self.give(self.tokens, node)
            node.environment["SADIK_AUTH__TOKENS"] = str(self.file(node, self.tokens.name))
            node.credentials = self.credentials

    def file(self, node: RealNode, name: str) -> Path:
        return node.directory.parent / f"{node.name}.d" / name

    def give(self, file: Path, node: RealNode) -> None:
        """Copy a file to a node, in place of the one that it has, with its mode."""
        there = self.file(node, file.name)
        new = there.with_name(there.name + ".new")
        shutil.copy(file, new)
        new.replace(there)

    def issue(self, node: RealNode, pki: Path | None = None) -> None:
        """Make a certificate for a node, by the names that clients use too, and give it that."""
        pki = pki or self.pki
        hosts = ("--host", "127.0.0.1", "--host", "localhost")
        run_sadik("certs", "issue", str(pki), node.name, *hosts)
        for suffix in ("key", "crt"):
            self.give(pki / f"{node.name}.{suffix}", node)

    def stolen(self, node: RealNode) -> ssl.SSLContext:
        """What somebody has who took a node's certificate and key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.pki / "ca.crt")
        context.load_cert_chain(self.pki / f"{node.name}.crt", self.pki / f"{node.name}.key")
        return context
