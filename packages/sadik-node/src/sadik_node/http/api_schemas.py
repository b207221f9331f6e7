"""The words that the API's description is made of: shapes of JSON, parameters, header fields,
statuses. Written as OpenAPI 3.1 and JSON Schema have them; `sadik_node.http.openapi` joins them
with the routes.

Objects are open (more fields may be added) where a node writes them, and closed where it reads.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["ANSWER_FIELDS", "PARAMETERS", "REQUEST_FIELDS", "SCHEMAS", "STATUSES", "Schema"]

Schema = dict[str, Any]


def _object(required: str, **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required.split()}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT: Final[Schema] = {"type": "string"}
_FLAG: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_NUMBER: Final[Schema] = {"type": "number"}
_BASE64: Final[Schema] = {"type": "string", "contentEncoding": "base64"}
_META: Final[Schema] = {"type": "object", "additionalProperties": _TEXT}
_WORDS: Final[Schema] = {"enum": ["one", "quorum", "all"]}
_BUCKET: Final[Schema] = {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}


def _quorum(least: int) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": least}, _WORDS]}


_PROPERTIES: Final[dict[str, Schema]] = {
    "r": _quorum(1), "w": _quorum(1), "pr": _quorum(0), "pw": _quorum(0), "dw": _quorum(0),
    "conflict": {"enum": ["siblings", "lww"]},
    "blind_writes": {"enum": ["replace", "sibling", "refuse"]},
    "ttl_seconds": _or_null({"type": "integer", "minimum": 1}),
    "value_bytes": _or_null({"type": "integer", "minimum": 1, "maximum": 64 * 2**20}),
}  # fmt: skip

SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": {
        **_object(
            "type title status detail",
            type={**_TEXT, "format": "uri-reference"}, title=_TEXT, status=_COUNT, detail=_TEXT,
            needed=_COUNT, got=_COUNT, durable=_COUNT, primaries=_COUNT, hinted=_COUNT,
            outcome={"enum": ["not_applied", "indeterminate"]}, retry=_FLAG,
        ),
        "description": "RFC 9457. The counts and the outcome come where a quorum was not reached.",
    },
    "Siblings": _object(
        "context siblings",
        context=_TEXT,
        siblings={**_list(_ref("Sibling")), "minItems": 2},
    ),
    "Sibling": {
        **_object(
            "value_b64 content_type meta etag last_modified",
            value_b64=_BASE64, text=_TEXT, content_type=_TEXT, meta=_META, etag=_TEXT,
            last_modified=_TEXT, ttl_seconds=_COUNT,
        ),
        "description": "``text`` is there where the value is UTF-8.",
    },
    "Bucket": _object(
        "bucket n " + " ".join(_PROPERTIES), bucket=_BUCKET, n=_COUNT, **_PROPERTIES
    ),
    "BucketChanges": {
        "type": "object", "properties": _PROPERTIES, "additionalProperties": False,
    },
    "Buckets": _object("buckets", buckets=_list(_ref("Bucket"))),
    "Members": _object("members", members=_list(_ref("Member"))),
    "Member": _object(
        "name id state http peer zone",
        name=_TEXT, id=_TEXT, http=_TEXT, peer=_TEXT, zone=_TEXT, weight=_NUMBER,
        state={"enum": ["joining", "up", "suspect", "down", "leaving", "left"]},
        incarnation=_COUNT, boot=_COUNT, self=_FLAG,
    ),
    "Ring": _object(
        "epoch partitions replicas owners",
        epoch=_COUNT, partitions=_COUNT, replicas=_COUNT, owners=_list(_list(_TEXT)),
    ),
    "Status": _object(
        "name id version cluster ready",
        name=_TEXT, id=_TEXT, version=_TEXT, ready=_FLAG, waits_for=_TEXT, boot=_COUNT,
        uptime_seconds=_NUMBER, cluster={"type": "object"}, store={"type": "object"},
        requests={"type": "object"}, hints={"type": "object"}, clock={"type": "object"},
        tombstones=_object(
            "waiting reaped generation waits_for",
            waiting=_COUNT, reaped=_COUNT, generation=_COUNT, waits_for=_list(_TEXT),
        ),
        foreign={"type": "object"}, catching_up=_FLAG,
        certificates={
            "type": "object",
            "propertyNames": {"enum": ["http", "admin", "peer"]},
            "additionalProperties": _object(
                "expires days_left", expires=_TEXT, days_left={"type": "integer"}
            ),
        },
    ),
    "Transfers": _object("transfers", transfers=_list(_object(
        "partition from to bytes_done bytes_total state reason",
        **{"partition": _COUNT, "from": _or_null(_TEXT), "to": _or_null(_TEXT),
           "bytes_done": _COUNT, "bytes_total": _COUNT, "state": _TEXT, "reason": _TEXT},
    ))),
    "Plan": _object(
        "moves moves_min nodes",
        moves=_list(_object("partition from to", **{
            "partition": _COUNT, "from": _or_null(_TEXT), "to": _or_null(_TEXT),
        })),
        moves_min=_COUNT,
        nodes=_list(_object(
            "name partitions_now partitions_then",
            name=_TEXT, partitions_now=_COUNT, partitions_then=_COUNT,
        )),
    ),
    "Hints": _object(
        "total bytes by_node",
        total=_COUNT, bytes=_COUNT, by_node={"type": "object", "additionalProperties": _COUNT},
    ),
    "Repair": _object(
        "partitions partitions_done compared differing differences repaired unreachable finished",
        partitions=_COUNT, partitions_done=_COUNT, compared=_COUNT, differing=_COUNT,
        differences=_COUNT, repaired=_COUNT, unreachable=_list(_TEXT), finished=_FLAG,
    ),
    "Sums": {
        **_object(
            "node partitions sums",
            node=_TEXT, partitions=_COUNT,
            sums={"type": "object", "additionalProperties": {**_TEXT, "pattern": "^[0-9a-f]{32}$"}},
        ),
        "description": "Sums of the middles of the hash tree by number; 0 where one is left out.",
    },
    "Taken": _object("taken", taken=_COUNT),
    "Scrub": _object(
        "records values damaged misplaced sums_wrong unlisted finished",
        records=_COUNT, values=_COUNT, damaged=_COUNT, misplaced=_COUNT, sums_wrong=_COUNT,
        unlisted=_COUNT, finished=_FLAG,
    ),
    "Explanation": _object(
        "bucket key partition owners fallbacks replicas hints",
        bucket=_BUCKET, key=_TEXT, partition=_COUNT, epoch=_COUNT, owners=_list(_TEXT),
        fallbacks=_list(_TEXT), replicas=_list(_ref("Replica")),
        hints=_list(_object("on for", **{"on": _TEXT, "for": _TEXT})),
    ),
    "Replica": _object(
        "node state versions behind why",
        node=_TEXT, owner=_FLAG, behind=_FLAG, why=_TEXT,
        state={"enum": ["ok", "behind", "missing", "unreachable"]},
        versions=_list(_object(
            "dot bytes deleted time",
            dot=_TEXT, bytes=_COUNT, deleted=_FLAG, time=_TEXT, expires=_TEXT,
        )),
    ),
    "Operation": {
        "type": "object",
        "properties": {
            "op": {"enum": ["get", "put", "delete"]}, "bucket": _BUCKET,
            "key": {**_TEXT, "description": "Percent-encoded."},
            "context": _or_null(_TEXT), "value_b64": _BASE64, "content_type": _or_null(_TEXT),
            "meta": _or_null(_META),
            "ttl_seconds": _or_null({"type": "integer", "minimum": 1}),
        },
        "required": ["op", "bucket", "key"],
        "additionalProperties": False,
        "description": "One line of a batch.",
    },
    "Outcome": {
        **_object(
            "status title",
            status=_COUNT, title=_TEXT, detail=_TEXT, value_b64=_BASE64, context=_TEXT,
            etag=_TEXT, last_modified=_TEXT, content_type=_TEXT, meta=_META, ttl_seconds=_COUNT,
            siblings=_list(_ref("Sibling")), outcome={"enum": ["not_applied", "indeterminate"]},
        ),
        "description": "What became of one line of a batch. Above 399 it is a Problem.",
    },
    "Entry": {
        "anyOf": [_object("key", key=_TEXT), _object("next", next=_or_null(_TEXT))],
        "description": "One line of a page of keys; the last one has ``next``.",
    },
}  # fmt: skip

PARAMETERS: Final[dict[str, Schema]] = {
    "r": _quorum(1), "w": _quorum(1), "pr": _quorum(0), "pw": _quorum(0), "dw": _quorum(0),
    "sloppy": _FLAG,
    "timeout": {"type": "integer", "minimum": 1, "maximum": 60_000},
    "resolve": {"const": "latest"},
    "return": {"const": "body"},
    "prefix": _TEXT,
    "after": {**_TEXT, "maxLength": 600},
    "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "partition": {"type": "integer", "minimum": 0, "maximum": 4095},
    "force": {"type": "boolean"},
    "join": {"type": "array", "items": {"type": "string"}},
    "leave": {"type": "array", "items": {"type": "string"}},
    "remove": {"type": "array", "items": {"type": "string"}},
    "middle": {"type": "integer", "minimum": 0, "maximum": 4095},
    "dot": {**_TEXT, "pattern": "^([0-9a-f]{2}){1,12}:[0-9]{1,19}$"},
}  # fmt: skip
"""Schemas of query parameters, by name; what each means stands with its route."""

_TOKEN: Final[Schema] = {**_TEXT, "pattern": "^[!-~]{1,12288}$"}
_TAGS: Final[Schema] = {**_TEXT, "pattern": '^(\\*|"[!#-~]*")$'}

REQUEST_FIELDS: Final[dict[str, tuple[Schema, str]]] = {
    "Sadik-Request-Id": (
        {**_TEXT, "pattern": "^[!-~]{1,128}$"},
        "A name for the request, to find it in the log of every node that it touches.",
    ),
    "Sadik-Context": (
        _TOKEN, "The context that an answer about this key gave: a write replaces what it covers.",
    ),
    "Sadik-TTL": ({"type": "integer", "minimum": 1, "maximum": 10**9},
                  "In how many seconds the value expires."),
    "If-Match": (_TAGS, "Do it only if the object has one of these entity tags."),
    "If-None-Match": (_TAGS, "Do it only if the object has none of these entity tags."),
}  # fmt: skip
"""Header fields of requests: schema and meaning. ``Sadik-Meta-*`` is any name, and so not here."""

ANSWER_FIELDS: Final[dict[str, tuple[Schema, str]]] = {
    "Sadik-Request-Id": (_TEXT, "The request's id, the client's or one made here."),
    "Sadik-Node": (_TEXT, "Who coordinated."),
    "Sadik-Context": (_TEXT, "What a next write may replace; opaque."),
    "ETag": (_TEXT, "Of all versions of the object together."),
    "Last-Modified": (_TEXT, "When the version was written."),
    "Sadik-TTL": (_COUNT, "In how many seconds the value expires."),
    "Sadik-Siblings": (_COUNT, "How many versions there are, of which this is the latest."),
    "Sadik-Acks": (_TEXT, "needed=2, got=2, durable=2, primaries=2, hinted=0"),
    "Sadik-Replies": (_TEXT, "needed=2, got=2, primaries=2"),
    "Retry-After": (_COUNT, "In how many seconds to try again."),
    "WWW-Authenticate": (_TEXT, "What proof is wanted (RFC 6750)."),
    "Allow": (_TEXT, "The methods of this resource."),
}
"""Header fields of answers: schema and meaning."""

STATUSES: Final[dict[int, str]] = {
    200: "Done.",
    202: "Not done yet: it goes on; this is how far it is.",
    204: "Done; there is no body.",
    300: "There are several live versions: all of them. A PUT with the context resolves them.",
    304: "The object has the entity tag that was named.",
    400: "The request is malformed, or asks for what cannot be.",
    401: "A token is wanted, or this one is unknown, revoked or over.",
    403: "The token does not reach so far; or a web page of another origin asks on loopback.",
    404: "There is nothing here; a Sadik-Context says that there was.",
    408: "The request did not come in time.",
    409: "It would add a sibling too many, or properties of a bucket too many.",
    411: "A body needs Content-Length or chunked Transfer-Encoding.",
    412: "The condition of the request does not hold.",
    413: "The body, or the value, is larger than is accepted.",
    414: "The target is longer than is accepted.",
    415: "The body's type or coding is not taken here.",
    421: "The Host field names nobody who is here, or this node owns no replica of a key.",
    428: "The bucket refuses writes without a context; new keys take `If-None-Match: *`.",
    429: "Too many wrong tokens, or connections, came from this address.",
    431: "The header is larger than is accepted.",
    503: "Not applied: not ready, overloaded, or a quorum cannot be reached.",
    504: "Indeterminate: it may have been applied, or may be yet; a read came too late.",
    507: "Not applied: the coordinator's disk is full.",
}
"""What each status means."""
