"""Prometheus metric families of Sadik and their exposition.

`NodeMetrics` holds one node's figures as plain numbers; `FAMILIES` is the table of all of them.
"""

from sadik_metrics.families import (
    FAMILIES,
    MEMBER_STATES,
    OPERATIONS,
    OUTCOMES,
    REJECTIONS,
    REPLICA_OPERATIONS,
    REPLICA_OUTCOMES,
    Family,
    Kind,
)
from sadik_metrics.histogram import Histogram
from sadik_metrics.node_metrics import (
    CONTENT_TYPE,
    Buckets,
    Figures,
    HistogramSource,
    NodeMetrics,
    Source,
)

__all__ = [
    "CONTENT_TYPE",
    "FAMILIES",
    "MEMBER_STATES",
    "OPERATIONS",
    "OUTCOMES",
    "REJECTIONS",
    "REPLICA_OPERATIONS",
    "REPLICA_OUTCOMES",
    "Buckets",
    "Family",
    "Figures",
    "Histogram",
    "HistogramSource",
    "Kind",
    "NodeMetrics",
    "Source",
]
