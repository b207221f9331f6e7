"""What goes wrong with a test's cluster: said so that the test's author can read it."""

from __future__ import annotations

__all__ = ["ClusterError", "ClusterTimeoutError"]


class ClusterError(Exception):
    """A node failed, the cluster does not answer, or a switch was used where it makes no sense."""


class ClusterTimeoutError(ClusterError, TimeoutError):
    """What was waited for did not come; the message says what stood in its way at the end."""
