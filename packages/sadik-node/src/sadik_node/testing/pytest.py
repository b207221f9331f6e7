"""The fixtures: put ``pytest_plugins = ["sadik_node.testing.pytest"]`` into ``conftest.py``.

A cluster ends with its test. If the test failed, the logs of its nodes are shown with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from sadik_node.testing import Cluster, start_cluster

__all__ = ["sadik_cluster", "sadik_cluster_factory"]


@pytest.fixture
def sadik_cluster_factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Cluster]]:
    """Start clusters with the arguments of `start_cluster`; they end with the test."""
    with ExitStack() as stack:

        def start(nodes: int = 3, **options: Any) -> Cluster:
            cluster = stack.enter_context(start_cluster(nodes, **options))
            stack.callback(_show_log, request.node, cluster)
            return cluster

        yield start


@pytest.fixture
def sadik_cluster(sadik_cluster_factory: Callable[..., Cluster]) -> Cluster:
    """A ready cluster of three nodes with the memory backend."""
    return sadik_cluster_factory()


def _show_log(item: pytest.Item, cluster: Cluster) -> None:
    item.add_report_section("teardown", "sadik", cluster.log())
