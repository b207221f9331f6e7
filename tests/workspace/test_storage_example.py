"""The worked example of a storage backend, as its reader would use it: built, installed, run.

It goes into an environment of its own, beside nothing but wheels: first with ``sadik-storage``
alone, where it must pass the suite of all backends, then with a node, which must keep its data in
it through ``kill -9``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from real_cluster import RealNode, eventually, free_ports
from wheelhouse import ROOT, build_wheel, install, make_environment, run

EXAMPLE = ROOT / "docs" / "examples" / "sadik-storage-journal"

# The first test waits for every wheel to be built and fetched.
pytestmark = pytest.mark.timeout(300)


def test_the_example_backend_installs_passes_the_suite_and_carries_a_node(
    wheels: Path, tmp_path: Path
) -> None:
    build_wheel(EXAMPLE, tmp_path)
    (wheel,) = tmp_path.glob("sadik_storage_journal-*.whl")
    environment = tmp_path / "environment"
    python = make_environment(environment)

    install(f"{wheel}[test]", wheels, environment)
    suite = ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "tests")]
    assert " passed" in run([python, *suite], cwd=tmp_path)

    install("sadik-node", wheels, environment)
    http_port, peer_port = free_ports(2)
    node = RealNode(
        name="n1",
        directory=tmp_path / "n1",
        http_port=http_port,
        peer_port=peer_port,
        join=[],
        log=tmp_path / "n1.log",
        environment={"SADIK_STORAGE__BACKEND": "journal", "SADIK_CLUSTER__PARTITIONS": "8"},
        python=str(python),
    )
    try:
        node.start()
        eventually(30, node.is_ready, "the node is ready")
        for number in range(20):
            assert node.ask("PUT", f"/v1/kv/b/k{number}", b"v%d" % number).status == 204
        node.kill()
        node.start()
        eventually(30, node.is_ready, "the node is ready again")
        for number in range(20):
            answer = node.ask("GET", f"/v1/kv/b/k{number}")
            assert (answer.status, answer.body) == (200, b"v%d" % number)
        assert node.stop() == 0
    finally:
        node.kill()
    assert (tmp_path / "n1" / "store" / "journal").exists()
    assert "store=journal" in node.log.read_text()
