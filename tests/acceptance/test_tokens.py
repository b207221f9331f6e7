"""Tokens on a real node: nobody in without one, from HTTP and from the command line."""

from __future__ import annotations

from pathlib import Path

from command import sadik
from real_cluster import RealCluster, eventually


def test_a_node_with_tokens_serves_who_has_one_and_learns_of_new_ones(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    kept = tmp_path / "app.token"
    kept.write_text(sadik("token", "add", str(file), "app", "--scope", "write:app-").stdout)
    environment = {"SADIK_AUTH__TOKENS": str(file)}
    with RealCluster(tmp_path, nodes=1, environment=environment) as cluster:
        (node,) = cluster.nodes
        node.start()
        eventually(20, node.is_ready, cluster.tail(node))
        at = {"SADIK_NODE": node.url}

        refused = sadik("put", "app-1", "k", "v", **at)
        assert refused.returncode == 1
        assert "token is wanted" in refused.stderr
        assert node.ask("GET", "/metrics").status == 401
        assert node.ask("GET", "/healthz").status == 200
        assert node.ask("GET", "/").status == 200, "the page, which asks for a token itself"

        bearer = {**at, "SADIK_TOKEN_FILE": str(kept)}
        assert sadik("put", "app-1", "k", "v", **bearer).returncode == 0
        assert sadik("get", "app-1", "k", **bearer).returncode == 1, "write is not read"
        assert sadik("put", "other", "k", "v", **bearer).returncode == 1
        assert sadik("repair", **bearer).returncode == 1

        operator = tmp_path / "operator.token"
        operator.write_text(sadik("token", "add", str(file), "op", "--scope", "admin").stdout)
        bearer_of_all = {**at, "SADIK_TOKEN_FILE": str(operator)}

        def reads() -> bool:
            return sadik("get", "app-1", "k", **bearer_of_all).stdout.startswith("v")

        eventually(15, reads, "the node has read the file again")
        assert sadik("repair", **bearer_of_all).returncode == 0

        assert sadik("token", "revoke", str(file), "app").returncode == 0
        eventually(
            15,
            lambda: sadik("put", "app-1", "k", "w", **bearer).returncode == 1,
            "the revoked token opens nothing",
        )
        log = cluster.tail(node)
        for secret in (kept, operator):
            assert secret.read_text().strip() not in log
