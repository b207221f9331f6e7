"""Every metric that a node exposes, as one table: name, kind, help, labels and their values.

Label values are closed sets, so the number of series is known before a node starts: no key, bucket,
address or peer ever becomes one. Names bear the prefix ``sadik_`` and base units (seconds, bytes),
as the Prometheus naming guide asks. A counter's attribute on `NodeMetrics` is its name here without
``_total``.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping

from attrs import frozen

__all__ = [
    "BATCH_OPERATIONS",
    "BYTES_BOUNDS",
    "COMMIT_BOUNDS",
    "COPY_BOUNDS",
    "FAMILIES",
    "LAG_BOUNDS",
    "LATE_BOUNDS",
    "LISTENERS",
    "MEMBER_STATES",
    "OPERATIONS",
    "OUTCOMES",
    "REJECTIONS",
    "REPLICA_OPERATIONS",
    "REPLICA_OUTCOMES",
    "REQUEST_BOUNDS",
    "ROWS_BOUNDS",
    "SIBLINGS_BOUNDS",
    "Family",
    "Kind",
]

OPERATIONS = (
    "get",
    "put",
    "delete",
    "list",
    "explain",
    "bucket",
    "view",
    "batch",
    "repair",
    "copy",
    "scrub",
)
"""What a client asked: ``view`` is any of the JSON pages about the cluster."""

BATCH_OPERATIONS = ("get", "put", "delete", "invalid")
"""What a line of a batch asked: ``invalid`` is one that could not be read."""

OUTCOMES = (
    "ok",
    "siblings",
    "not_found",
    "refused",
    "overloaded",
    "not_applied",
    "indeterminate",
    "cancelled",
    "failed",
)
"""How it ended: ``refused`` is the client's mistake (4xx), ``overloaded`` a 503 of this node's own
bounds, ``not_applied`` and ``indeterminate`` a quorum not reached, ``failed`` this node's fault."""

REPLICA_OPERATIONS = ("read", "write", "scan", "forward", "hint", "repair", "explain")
"""What a coordinator asked of another replica."""

REPLICA_OUTCOMES = ("ok", "refused", "failed", "timeout", "unsent")
"""What became of it: ``unsent`` provably never left this node."""

MEMBER_STATES = ("joining", "up", "suspect", "down", "leaving", "left")
"""The states of ``/v1/members``."""

REJECTIONS = (
    "malformed",
    "header_too_large",
    "uri_too_long",
    "value_too_large",
    "length_required",
    "header_timeout",
    "body_too_slow",
    "idle",
    "connections",
    "pipeline",
    "host",
    "origin",
    "listener",
    "unauthorized",
    "forbidden",
    "guessing",
    "tls",
    "unknown_parameter",
    "bad_context",
    "context_required",
    "too_many_siblings",
    "not_in_this_version",
    "not_ready",
    "overloaded",
    "draining",
    "disk_full",
    "other",
)
"""Why a request or a connection was turned away before any replica was asked."""

PEER_REFUSALS = (
    "tls",
    "not_sadik",
    "malformed",
    "protocol_version",
    "proof",
    "certificate",
    "other_cluster",
    "wrong_node",
    "stale_boot",
    "removed",
    "timeout",
    "busy",
    "closed",
    "duplicate",
    "no_link",
    "self",
    "shutting_down",
    "not_a_member",
    "bad_message",
    "forged",
    "other",
)
"""Why a peer's stream, or what it said, was refused, by either side. ``duplicate``, ``no_link``,
``self``, ``closed`` and ``shutting_down`` belong to nodes that dial each other or stop."""

LISTENERS = ("http", "admin", "peer")
"""Where a node listens: for clients, for operators if they have their own, for other nodes."""

REQUEST_BOUNDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0
)  # fmt: skip
"""Seconds; a request may take up to 60 of them."""

COMMIT_BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0
)  # fmt: skip
"""Seconds of one durable commit."""

LAG_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Seconds that the loop came late."""

COPIES = ("first", "majority", "last")
"""Which of a write's owners: the first that had it, enough for a majority, the last."""

LATE_WAYS = ("hint", "anti_entropy")
"""How an owner got what it had missed."""

COPY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds until a copy was on a disk."""

LATE_BOUNDS = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0,
               604800.0)  # fmt: skip
"""Seconds of age, up to a week."""

SIBLINGS_BOUNDS = (1.0, 2.0, 3.0, 5.0, 10.0, 25.0, 50.0, 100.0)
"""Versions in one answer: 25 is where a node warns, 100 where it refuses."""

ROWS_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
"""Rows in one commit."""

BYTES_BOUNDS = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0)
"""Bytes of one value."""


class Kind(enum.Enum):
    """What a family's numbers mean to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@frozen
class Family:
    """One metric family."""

    name: str
    """As exposed, with ``sadik_`` and a counter's ``_total``."""
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = {}
    """Label names, each with all the values that it can take."""
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, ascending, infinity left out."""

    @property
    def attribute(self) -> str:
        """The name of its figures on `NodeMetrics`."""
        return self.name.removeprefix("sadik_").removesuffix("_total")

    def label_values(self) -> list[tuple[str, ...]]:
        """All combinations of label values; one empty tuple where there are no labels."""
        return list(itertools.product(*self.labels.values()))


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Family:
    return Family(f"sadik_{name}_total", Kind.COUNTER, text, labels)


def _gauge(name: str, text: str, **labels: tuple[str, ...]) -> Family:
    return Family(f"sadik_{name}", Kind.GAUGE, text, labels)


def _histogram(
    name: str, text: str, bounds: tuple[float, ...], **labels: tuple[str, ...]
) -> Family:
    return Family(f"sadik_{name}", Kind.HISTOGRAM, text, labels, bounds)


FAMILIES: tuple[Family, ...] = (
    _counter("requests", "Client requests by what was asked and how it ended.",
             op=OPERATIONS, outcome=OUTCOMES),
    _histogram("request_duration_seconds", "From the whole request read to its answer ready.",
               REQUEST_BOUNDS, op=OPERATIONS),
    _counter("batch_operations", "Operations of batches by what was asked and how it ended.",
             op=BATCH_OPERATIONS, outcome=OUTCOMES),
    _counter("replica_requests", "Requests to other replicas by what was asked and what came.",
             op=REPLICA_OPERATIONS, outcome=REPLICA_OUTCOMES),
    _histogram("write_copy_seconds",
               "From the making of a write to when so many of its owners had it on disk.",
               COPY_BOUNDS, copy=COPIES),
    _histogram("late_copy_age_seconds",
               "Age of what an owner had missed, when it got it, by what brought it.",
               LATE_BOUNDS, by=LATE_WAYS),
    _counter("rejected", "Requests and connections turned away before a replica was asked.",
             reason=REJECTIONS),
    _histogram("siblings", "Live versions of a key in the answer to a read.", SIBLINGS_BOUNDS),
    _histogram("value_bytes", "Bytes of a value written by a client.", BYTES_BOUNDS),
    _counter("http_received_bytes", "Bytes received from HTTP clients."),
    _counter("http_sent_bytes", "Bytes sent to HTTP clients."),
    _gauge("requests_open", "Requests of clients that are under way."),
    _gauge("http_connections", "Open connections of HTTP clients."),
    _gauge("ready", "1 if the node answers 200 on /readyz, else 0."),
    _gauge("members", "Members of the cluster by state, as this node sees them.",
           state=MEMBER_STATES),
    _gauge("partitions_owned", "Partitions of which this node owns a replica."),
    _gauge("ring_epoch", "The greatest epoch of any partition's register."),
    _gauge("hints_pending", "Hint notes that wait on this node."),
    _gauge("hints_bytes", "Bytes of the hint notes that wait on this node."),
    _counter("hints_delivered", "Hint notes whose owner has acknowledged the record."),
    _counter("hints_dropped", "Hint notes dropped at the bound limits.hint_bytes."),
    _counter("hedged_reads", "Reads that asked one more replica because one was slow."),
    _counter("read_repairs", "Records sent to owners that answered a read with less."),
    _counter("damaged_records", "Stored rows that were met damaged, and not served."),
    _counter("scrubs", "Passes over all that this node holds in search of damage."),
    _counter("anti_entropy_rounds", "Rounds of anti-entropy with another owner."),
    _counter("anti_entropy_differences", "Records that differed when owners were compared."),
    _counter("anti_entropy_repaired", "Records sent to owners that had less, and kept there."),
    _counter("anti_entropy_bytes", "Bytes of sums, hashes and records sent for anti-entropy."),
    _counter("anti_entropy_races", "Sums that differed because a write came in between."),
    _gauge("transfers_active", "Partition transfers that are moving."),
    _counter("transferred_records", "Records that came because this node is to own them."),
    _gauge("tombstones", "Deleted keys whose dots this node still holds."),
    _counter("reaped", "Records of deleted and expired keys taken away by proof."),
    _gauge("reap_generation", "The reap generation that this node has entered."),
    _gauge("reaping_waits_for", "Members that hold reaping up, which is all right for a minute."),
    _counter("foreign_handed_off", "Records of others' partitions handed to all their owners."),
    _histogram("store_commit_seconds", "Time of one durable commit.", COMMIT_BOUNDS),
    _histogram("store_commit_rows", "Rows gathered into one commit.", ROWS_BOUNDS),
    _counter("store_failures", "Commits that failed; nothing of them was applied."),
    _gauge("store_waiting_bytes", "Bytes of writes that wait for their commit."),
    _gauge("store_keys", "Rows in the store."),
    _gauge("store_bytes", "Bytes that the store uses."),
    _gauge("disk_short", "1 while writes are refused for want of space, else 0."),
    _counter("peer_received_bytes", "Bytes received from other nodes."),
    _counter("peer_sent_bytes", "Bytes sent to other nodes."),
    _counter("peer_messages_received", "Messages received from other nodes."),
    _counter("peer_messages_sent", "Messages handed to the transport for other nodes."),
    _counter("peer_messages_unsent", "Messages to other nodes that never left this one."),
    _counter("peer_violations", "Peer streams closed because of what they carried."),
    _counter("peer_refused", "Streams between nodes, and words of peers, that were refused.",
             reason=PEER_REFUSALS),
    _gauge("certificate_expiry_timestamp_seconds",
           "When the certificate shown by a listener runs out, as Unix time; 0 where it has none.",
           listener=LISTENERS),
    _gauge("peers_connected", "Nodes to which a stream is open."),
    _counter("clock_refused", "Remote times not adopted, too far ahead of this node's clock."),
    _counter("loop_steps", "Inputs that the node's machines have taken."),
    _histogram("loop_lag_seconds", "How late the loop woke for a deadline.", LAG_BOUNDS),
)  # fmt: skip
"""All of a node's families but ``sadik_build_info``, in the order in which they are exposed."""
