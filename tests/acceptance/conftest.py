"""Clusters for acceptance tests: one that many tests share, and one of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_cluster import RealCluster


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Three nodes for tests that stop none of them; each test uses buckets of its own."""
    with RealCluster(tmp_path_factory.mktemp("shared")) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    """Three nodes of this test's own."""
    with RealCluster(tmp_path) as cluster:
        cluster.start()
        yield cluster
