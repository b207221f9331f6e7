"""The routes: one description that the router works from and that documents the API.

A template is a literal path, or one that ends in ``{bucket}``, ``{bucket}/{key}`` or
``{name}/{action}``; a key is all that follows, slashes included. HEAD is served wherever GET is.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import cache

from attrs import Factory, define, field, frozen

from sadik_node.http import batch, buckets, console, copies, kv, membership, repair, scrub, views
from sadik_node.http.answers import Answer, json_answer, problem
from sadik_node.http.exchange import Exchange
from sadik_node.http.openapi import Api, openapi_document
from sadik_node.http.service import Service
from sadik_node.http.target import BadTarget
from sadik_node.tokens import Action

__all__ = ["CONSOLE_FILES", "ROUTES", "Needs", "Route", "Router"]


Admit = Callable[[Service, Exchange, bytes, bytes, bytes], Answer | None]
"""Judges a request by its header, and sets its handler; raises `BadTarget` for a 400.

After service and exchange come the bucket and the key of the path (empty where it has none) and the
query, all still encoded.
"""


class Needs(enum.Enum):
    """What a client must show for a route, where tokens are asked for."""

    NOTHING = "nothing"
    TOKEN = "a token"  # noqa: S105 - none, but the word for one
    """Any; the handler goes on from there, operation by operation."""
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    """These three of the bucket in the path."""
    OPERATOR = "admin of all"

    @property
    def action(self) -> Action | None:
        """The action that must be allowed."""
        if self is Needs.OPERATOR:
            return Action.ADMIN
        return Action(self.value) if self in (Needs.READ, Needs.WRITE, Needs.ADMIN) else None

    @property
    def is_global(self) -> bool:
        """Whether it must be allowed on the cluster, whatever bucket the path names."""
        return self is Needs.OPERATOR


@frozen
class Route:
    """One method on one template. ``parameters`` are those of its query, by name.

    Where operators have a listener of their own, that serves everything, and the clients' listener
    what is ``for_clients``: data, where to find them, and whether the node is well.
    """

    method: str
    template: str
    summary: str
    admit: Admit = field(repr=False)
    api: Api = field(repr=False)
    parameters: Mapping[str, str] = Factory(dict)
    needs: Needs = field(kw_only=True)
    for_clients: bool = field(default=False, kw_only=True)
    action: Action | None = field(init=False, repr=False)
    """What its client must be allowed to do, or None where that is not judged by the route."""
    is_of_bucket: bool = field(init=False, repr=False)
    """Whether it must be allowed on the bucket in the path; else on the cluster."""

    @action.default
    def _action(self) -> Action | None:
        return self.needs.action

    @is_of_bucket.default
    def _is_of_bucket(self) -> bool:
        return "{bucket}" in self.template and not self.needs.is_global


def _keys(
    service: Service, exchange: Exchange, bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    return kv.admit_list(service, exchange, bucket, query)


def _batch(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    return batch.admit_batch(service, exchange, query)


def _bucket(
    service: Service, exchange: Exchange, bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    return buckets.admit_bucket(service, exchange, bucket, query)


def _buckets(
    service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
) -> Answer | None:
    return buckets.admit_buckets(service, exchange, query)


def _explain(
    service: Service, exchange: Exchange, bucket: bytes, key: bytes, query: bytes
) -> Answer | None:
    _no_query(query)
    return views.admit_explain(service, exchange, bucket, key)


def _view(handler: views.View) -> Admit:
    def admit(
        _service: Service, exchange: Exchange, _bucket: bytes, _key: bytes, query: bytes
    ) -> Answer | None:
        _no_query(query)
        exchange.handler = handler
        return None

    return admit


def _no_query(query: bytes) -> None:
    if query:
        raise BadTarget("there are no query parameters here")


def _describe(_service: Service, exchange: Exchange) -> None:
    exchange.answer(_description())


@cache
def _description() -> Answer:
    # Some milliseconds of the loop to make, and nobody needs a token to ask for it.
    return json_answer(openapi_document(ROUTES))


_object = kv.admit_object

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_TEXT = ("text/plain", "")
_CBOR = "application/cbor"
_QUORUM = (503, 504)
_QUORUM_FULL = (*_QUORUM, 507)
_WRITE = (404, 409, 412, 428, 503, 504, 507)
_CONDITIONS = ("Sadik-Context", "If-Match", "If-None-Match")


def _shows(schema: str, *refusals: int) -> Api:
    return Api({200: (_JSON, schema)}, refusals)


_READ = Api(
    {200: ("", ""), 300: (_JSON, "Siblings"), 304: ("", "")},
    (404, 412, *_QUORUM), _CONDITIONS, is_object=True,
)  # fmt: skip
_PUT = Api(
    {200: ("", ""), 204: ("", "")}, _WRITE, (*_CONDITIONS, "Sadik-TTL"), ("", ""), is_object=True,
)  # fmt: skip
_DELETE = Api({204: ("", "")}, _WRITE, _CONDITIONS, is_object=True)
_BUCKET_CHANGE = Api({200: (_JSON, "Bucket")}, (409, 503, 504, 507), body=(_JSON, "BucketChanges"))
_BATCH = Api({200: (_NDJSON, "Outcome")}, (503,), body=(_NDJSON, "Operation"))

ROUTES = (
    Route("GET", "/v1/kv/{bucket}/{key}", "read an object", _object, _READ, kv.READ_PARAMETERS,
          needs=Needs.READ, for_clients=True),
    Route("PUT", "/v1/kv/{bucket}/{key}", "write an object", _object, _PUT, kv.PUT_PARAMETERS,
          needs=Needs.WRITE, for_clients=True),
    Route("DELETE", "/v1/kv/{bucket}/{key}", "delete an object", _object, _DELETE,
          kv.DELETE_PARAMETERS, needs=Needs.WRITE, for_clients=True),
    Route("GET", "/v1/kv/{bucket}", "list keys in byte order", _keys,
          Api({200: (_NDJSON, "Entry")}, _QUORUM), kv.LIST_PARAMETERS,
          needs=Needs.READ, for_clients=True),
    Route("POST", "/v1/batch", "many operations in one request", _batch, _BATCH,
          batch.BATCH_PARAMETERS, needs=Needs.TOKEN, for_clients=True),
    Route("GET", "/v1/buckets", "buckets with properties of their own", _buckets,
          _shows("Buckets", 503), needs=Needs.TOKEN, for_clients=True),
    Route("GET", "/v1/buckets/{bucket}", "a bucket's properties", _bucket, _shows("Bucket", 503),
          needs=Needs.READ, for_clients=True),
    Route("PUT", "/v1/buckets/{bucket}", "change some of a bucket's properties", _bucket,
          _BUCKET_CHANGE, needs=Needs.ADMIN, for_clients=True),
    Route("DELETE", "/v1/buckets/{bucket}", "reset a bucket's properties", _bucket,
          _shows("Bucket", 409, 503, 504, 507), needs=Needs.ADMIN, for_clients=True),
    Route("GET", "/v1/explain/{bucket}/{key}", "where a key lives and who holds what", _explain,
          _shows("Explanation", *_QUORUM), needs=Needs.READ),
    Route("GET", "/v1/members", "the members of the cluster", _view(views.members),
          _shows("Members"), needs=Needs.TOKEN, for_clients=True),
    Route("POST", "/v1/members/{name}/{action}", "have a member leave, or remove a dead one",
          membership.admit_member, Api({202: (_JSON, "Plan")}, (404, 409, 503)),
          membership.REMOVE_PARAMETERS, needs=Needs.OPERATOR),
    Route("GET", "/v1/plan", "what a change of members would move", membership.admit_plan,
          Api({200: (_JSON, "Plan")}, (404, 409, 503)), membership.PLAN_PARAMETERS,
          needs=Needs.OPERATOR),
    Route("GET", "/v1/ring", "who owns which partition", _view(views.ring), _shows("Ring", 503),
          needs=Needs.TOKEN, for_clients=True),
    Route("GET", "/v1/status", "this node in figures", _view(views.status), _shows("Status"),
          needs=Needs.TOKEN),
    Route("GET", "/v1/transfers", "partitions that move", _view(membership.transfers),
          _shows("Transfers"), needs=Needs.TOKEN),
    Route("GET", "/v1/hints", "writes that wait here for others", _view(views.hints),
          _shows("Hints", 503), needs=Needs.TOKEN),
    Route("POST", "/v1/repair", "compare owners now and exchange what differs", repair.admit_repair,
          Api({200: (_JSON, "Repair"), 202: (_JSON, "Repair")}, (503,)), repair.PARAMETERS,
          needs=Needs.OPERATOR),
    Route("GET", "/v1/backup/sums", "this node's hash tree, for backups", copies.admit_sums,
          _shows("Sums", 503), copies.SUMS_PARAMETERS, needs=Needs.OPERATOR),
    Route("GET", "/v1/backup/records", "this node's records, for backups", copies.admit_records,
          Api({200: (_CBOR, "")}, (503,)), copies.RECORDS_PARAMETERS, needs=Needs.OPERATOR),
    Route("GET", "/v1/backup/values/{bucket}/{key}", "one version's value, for backups",
          copies.admit_value, Api({200: ("application/octet-stream", "")}, (404, 503)),
          copies.VALUE_PARAMETERS, needs=Needs.OPERATOR),
    Route("POST", "/v1/restore", "put a backup's records into this node", copies.admit_restore,
          Api({200: (_JSON, "Taken")}, _QUORUM_FULL, body=(_CBOR, "")), needs=Needs.OPERATOR),
    Route("POST", "/v1/scrub", "read all that this node holds and look for damage",
          scrub.admit_scrub, Api({200: (_JSON, "Scrub"), 202: (_JSON, "Scrub")}, (503,)),
          needs=Needs.OPERATOR),
    Route("GET", "/healthz", "whether the process is alive", _view(views.health),
          Api({200: _TEXT}), needs=Needs.NOTHING, for_clients=True),
    Route("GET", "/readyz", "whether the node serves", _view(views.readiness),
          Api({200: _TEXT}, (503,)), needs=Needs.NOTHING, for_clients=True),
    Route("GET", "/metrics", "Prometheus metrics", _view(views.metrics), Api({200: _TEXT}),
          needs=Needs.TOKEN),
    Route("GET", "/v1/openapi.json", "this description", _view(_describe),
          Api({200: (_JSON, "")}), needs=Needs.NOTHING, for_clients=True),
    Route("GET", "/", "the web console", _view(console.page), Api({200: ("text/html", "")}),
          needs=Needs.NOTHING),
)  # fmt: skip
"""Everything that this version answers, but for the console's own files."""

CONSOLE_FILES = tuple(
    Route("GET", f"/console/{name}", "a file of the web console", _view(console.asset),
          Api({200: ("", "")}), needs=Needs.NOTHING)
    for name in console.ASSETS
)  # fmt: skip
"""What the page at ``/`` loads. No part of the API, and not described as such."""


@define
class _Resource:
    prefix: bytes
    has_key: bool
    methods: dict[bytes, Route] = Factory(dict)

    @property
    def allow(self) -> bytes:
        return b"Allow: " + b", ".join(self.methods) + b"\r\n"


class Router:
    """Finds the route of a path and a method."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES + CONSOLE_FILES) -> None:
        self._literal: dict[bytes, _Resource] = {}
        self._prefixed: list[_Resource] = []
        for route in routes:
            resource = self._resource(route.template)
            method = route.method.encode()
            resource.methods[method] = route
            if method == b"GET":
                resource.methods[b"HEAD"] = route

    def _resource(self, template: str) -> _Resource:
        literal, brace, variables = template.partition("{")
        prefix = literal.encode()
        if not brace:
            return self._literal.setdefault(prefix, _Resource(prefix, has_key=False))
        has_key = variables in ("bucket}/{key}", "name}/{action}")
        assert has_key or variables == "bucket}", f"{template} has variables of another shape"
        for resource in self._prefixed:
            if resource.prefix == prefix and resource.has_key == has_key:
                return resource
        resource = _Resource(prefix, has_key=has_key)
        self._prefixed.append(resource)
        return resource

    def find(self, method: bytes, path: bytes) -> tuple[Route, bytes, bytes] | Answer:
        """The route, and the bucket and key of the path, still encoded; or a 404 or 405."""
        bucket = key = b""
        found = self._literal.get(path)
        if found is None:
            for resource in self._prefixed:
                if path.startswith(resource.prefix):
                    bucket, slash, key = path[len(resource.prefix) :].partition(b"/")
                    if bool(slash) is resource.has_key:
                        found = resource
                        break
            else:
                return problem(404, f"there is no {path.decode('latin-1')[:200]} here")
        route = found.methods.get(method)
        if route is None:
            return problem(
                405, f"{method.decode('latin-1')} is not for this resource", fields=found.allow
            )
        return route, bucket, key
