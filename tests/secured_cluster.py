"""A cluster whose nodes prove to each other who they are, for tests and benchmarks."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

from real_cluster import RealCluster, RealNode

__all__ = ["Secured", "run_sadik"]


def run_sadik(*arguments: str) -> None:
    command = [sys.executable, "-m", "sadik_node", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


class Secured:
    """A cluster whose nodes have certificates of one authority and share a secret."""

    def __init__(self, root: Path, *, tls: bool = True, secret: bool = True) -> None:
        self.pki, self.secret = root / "pki", root / "cluster.secret"
        self.cluster = RealCluster(root)
        run_sadik("certs", "init", str(self.pki))
        run_sadik("secret", "new", str(self.secret))
        for node in self.cluster.nodes:
            # Each has its own copies, as on machines of their own.
            node.directory.parent.joinpath(f"{node.name}.d").mkdir()
            if tls:
                self.issue(node)
                self.give(self.pki / "ca.crt", node)
                for word, name in (("CERT", f"{node.name}.crt"), ("KEY", f"{node.name}.key"),
                                   ("CA", "ca.crt")):  # fmt: skip
                    node.environment[f"SADIK_TLS__PEER__{word}"] = str(self.file(node, name))
            if secret:
                self.give(self.secret, node)
                file = str(self.file(node, self.secret.name))
                node.environment["SADIK_AUTH__CLUSTER_SECRET_FILE"] = file

    def file(self, node: RealNode, name: str) -> Path:
        return node.directory.parent / f"{node.name}.d" / name

    def give(self, file: Path, node: RealNode) -> None:
        """Copy a file to a node, in place of the one that it has, with its mode."""
        there = self.file(node, file.name)
        new = there.with_name(there.name + ".new")
        shutil.copy(file, new)
        new.replace(there)

    def issue(self, node: RealNode, pki: Path | None = None) -> None:
        pki = pki or self.pki
        run_sadik("certs", "issue", str(pki), node.name, "--host", "127.0.0.1")
        for suffix in ("key", "crt"):
            self.give(pki / f"{node.name}.{suffix}", node)

    def credentials(self, node: RealNode) -> ssl.SSLContext:
        """What somebody has who took a node's certificate and key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.pki / "ca.crt")
        context.load_cert_chain(self.pki / f"{node.name}.crt", self.pki / f"{node.name}.key")
        return context
