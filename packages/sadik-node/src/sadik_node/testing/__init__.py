"""For tests of software that uses Sadik: a cluster of real nodes in the test's own process.

`start_cluster` runs one beside code of any kind, `open_cluster` in the caller's trio run; both have
switches for faults. `sadik_node.testing.pytest` has the fixtures. See docs/testing.md.
"""

from sadik_node.testing.cluster import Cluster, start_cluster
from sadik_node.testing.errors import ClusterError, ClusterTimeoutError
from sadik_node.testing.trio_cluster import TrioCluster, open_cluster

__all__ = [
    "Cluster",
    "ClusterError",
    "ClusterTimeoutError",
    "TrioCluster",
    "open_cluster",
    "start_cluster",
]
