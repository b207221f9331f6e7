"""What a client of a node may ask, and what it may be told.

A front end (HTTP today) turns its protocol into these requests and these results into its
answers; nothing here knows of any. Requests are validated by type, size and alphabet in
the front end; what depends on the cluster (an R above the owners that there are) is judged here.
"""

from __future__ import annotations

from sadik_vnode.requests.buckets import (
    BucketList,
    BucketProperties,
    BucketReset,
    BucketResult,
    BucketSet,
    BucketShow,
    BucketsResult,
)
from sadik_vnode.requests.copying import (
    BodyResult,
    CopyBody,
    CopyRecords,
    CopySums,
    PlainRecord,
    RecordsResult,
    SumsResult,
    TakenResult,
    TakeRecords,
)
from sadik_vnode.requests.explaining import Explain, ExplainReplica, ExplainResult, ExplainVersion
from sadik_vnode.requests.listing import ListKeys, ListResult
from sadik_vnode.requests.mending import (
    Hints,
    HintsResult,
    Repair,
    RepairResult,
    Scrub,
    ScrubResult,
)
from sadik_vnode.requests.moving import Plan, PlanResult, Transfer, Transfers, TransfersResult
from sadik_vnode.requests.objects import (
    GETS_MAX,
    PUTS_MAX,
    Condition,
    Delete,
    Found,
    Get,
    GetMany,
    ManyFound,
    ManyWritten,
    Missing,
    Put,
    PutMany,
    Quorum,
    VersionView,
    Written,
)
from sadik_vnode.requests.outcomes import Outcome, Refusal, Refused, Tally, Unavailable

__all__ = [
    "GETS_MAX",
    "PUTS_MAX",
    "BodyResult",
    "BucketList",
    "BucketProperties",
    "BucketReset",
    "BucketResult",
    "BucketSet",
    "BucketShow",
    "BucketsResult",
    "Condition",
    "CopyBody",
    "CopyRecords",
    "CopySums",
    "Delete",
    "Explain",
    "ExplainReplica",
    "ExplainResult",
    "ExplainVersion",
    "Found",
    "Get",
    "GetMany",
    "Hints",
    "HintsResult",
    "ListKeys",
    "ListResult",
    "ManyFound",
    "ManyWritten",
    "Missing",
    "Outcome",
    "PlainRecord",
    "Plan",
    "PlanResult",
    "Put",
    "PutMany",
    "Quorum",
    "RecordsResult",
    "Refusal",
    "Refused",
    "Repair",
    "RepairResult",
    "Request",
    "Result",
    "Scrub",
    "ScrubResult",
    "SumsResult",
    "TakeRecords",
    "TakenResult",
    "Tally",
    "Transfer",
    "Transfers",
    "TransfersResult",
    "Unavailable",
    "VersionView",
    "Written",
]

Request = (
    Get | GetMany | Put | PutMany | Delete | ListKeys | Explain | BucketShow | BucketSet
    | BucketReset | BucketList | Hints | Repair | CopySums | CopyRecords | CopyBody | TakeRecords
    | Scrub | Plan | Transfers
)  # fmt: skip


Result = (
    Found | Missing | ManyFound | Written | ManyWritten | Refused | Unavailable | ListResult
    | ExplainResult | BucketResult | BucketsResult | HintsResult | RepairResult | SumsResult
    | RecordsResult | BodyResult | TakenResult | PlanResult | TransfersResult | ScrubResult
)  # fmt: skip
