"""Clusters for acceptance tests: one that many tests share, and one of a test's own.

With ``SECURED=1`` in the environment (``make test-secured``) their nodes have certificates and a
secret, and their clients speak TLS and show tokens: everything must work there as it does without.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster
from secured_cluster import any_cluster


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Three nodes for tests that stop none of them; each test uses buckets of its own."""
    with any_cluster(tmp_path_factory.mktemp("shared")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """Three nodes of this test's own."""
    with any_cluster(tmp_path) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage backend for all nodes that the test starts: one line of their configuration.

    Takes its name from `every_backend`, and stands before `cluster` in a test's parameters.
    """
    name: str = request.param
    if name == "rocksdb":
        pytest.importorskip("rocksdict", reason="needs the extra sadik-storage[rocksdb]")
    monkeypatch.setenv("SADIK_STORAGE__BACKEND", name)
    return name
