"""``GET /v1/openapi.json``: the API as OpenAPI 3.1 describes it, made from the routes.

Nothing is said twice: the routes have the paths, methods, parameters and statuses, and
`sadik_node.http.api_schemas` the shapes. HEAD is described for objects alone, and served wherever
GET is.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

from attrs import frozen

from sadik_node.http.api_schemas import (
    ANSWER_FIELDS,
    PARAMETERS,
    REQUEST_FIELDS,
    SCHEMAS,
    STATUSES,
    Schema,
)

if TYPE_CHECKING:
    from sadik_node.http.routes import Route

__all__ = ["Api", "openapi_document"]

_ANY = (400, 403, 408, 414, 421, 431)
"""What any request may be answered."""

_ASKED = (401, 429)
"""What it may be answered where a token is asked for."""

_BODY = (411, 413, 415)
"""What a request with a body may be answered."""

_FIELDS_OF = {
    200: ("Sadik-Context", "ETag", "Last-Modified", "Sadik-TTL", "Sadik-Siblings", "Sadik-Acks",
          "Sadik-Replies"),
    204: ("Sadik-Context", "ETag", "Sadik-Acks"),
    300: ("Sadik-Context", "ETag", "Sadik-Replies"),
    304: ("Sadik-Context", "ETag", "Sadik-Replies"),
    401: ("WWW-Authenticate",),
    404: ("Sadik-Context",),
    412: ("Sadik-Context", "ETag"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}  # fmt: skip

_NO_BODY = (204, 304)
_NDJSON = "application/x-ndjson"

_BINARY: Schema = {"application/octet-stream": {}, "*/*": {}}
_PATH_PARAMETERS: dict[str, tuple[Schema, str]] = {
    "name": ({"type": "string", "minLength": 1, "maxLength": 64}, "the name of a member"),
    "action": ({"enum": ["leave", "remove"]}, "what becomes of it"),
    "bucket": (
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "The bucket's name.",
    ),
    "key": (
        {"type": "string", "minLength": 1, "maxLength": 400},
        "The key: 1 to 400 bytes, any bytes, percent-encoded; slashes may stand bare.",
    ),
}


@frozen
class Api:
    """What a route's description needs beyond its method, path and parameters.

    ``answers`` are its own statuses, each with a media type and a schema's name (empty: bytes of
    any type); ``refusals`` the errors beyond those that any request may get. ``body`` is as an
    answer. ``fields`` are names of header fields that it takes.
    """

    answers: dict[int, tuple[str, str]]
    refusals: tuple[int, ...] = ()
    fields: tuple[str, ...] = ()
    body: tuple[str, str] | None = None
    is_object: bool = False
    """Whether it is about an object, whose answers bear contexts and tags."""


def openapi_document(routes: Iterable[Route]) -> Schema:
    """The description of these routes."""
    paths: dict[str, Schema] = {}
    for route in routes:
        operations = paths.setdefault(route.template, {})
        operations[route.method.lower()] = _operation(route, route.method)
        if route.method == "GET" and route.api.is_object:
            operations["head"] = _operation(route, "HEAD")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sadik",
            "version": version("sadik-node"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "A leaderless, always-writable key-value store. Any node takes any request. Keys "
                "are arbitrary bytes and paths are never normalised; values are bytes as they come."
                " `Sadik-Meta-*` fields of a PUT come back with the value. HEAD is served wherever "
                "GET is. Unknown parameters are refused."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "Where the node has auth.tokens. Scopes are read, write and admin, each "
                        "for all buckets or for those whose names begin with a prefix."
                    ),
                }
            },
        },
    }


def _operation(route: Route, method: str) -> Schema:
    api = route.api
    is_asked = route.needs.value != "nothing"
    described: Schema = {
        "operationId": _operation_id(method, route.template),
        "summary": route.summary if method != "HEAD" else f"{route.summary}, without the value",
        "parameters": list(_parameters(route)),
        "responses": _responses(api, method, is_asked=is_asked),
    }
    if is_asked:
        # Nothing is asked for where no tokens are configured.
        described["security"] = [{"token": []}, {}]
        described["description"] = f"Needs, where tokens are asked for: {route.needs.value}."
    if not route.for_clients:
        # A listener of operators' own is the exception; where there is none, it is served here.
        said = "Where operators have a listener of their own: only there, elsewhere 421."
        described["description"] = f"{described.get('description', '')} {said}".strip()
    if api.body is not None:
        content = _content(*api.body)
        if api.body[0] == _NDJSON:
            content |= _content("application/json", api.body[1])  # a body of one line
        described["requestBody"] = {"required": True, "content": content}
    return described


def _operation_id(method: str, template: str) -> str:
    words = template.replace("{", "").replace("}", "").replace(".", "/").split("/")
    return "_".join([method.lower(), *[word for word in words if word not in ("", "v1")]])


def _parameters(route: Route) -> Iterable[Schema]:
    for name, (schema, meaning) in _PATH_PARAMETERS.items():
        if f"{{{name}}}" in route.template:
            yield {"name": name, "in": "path", "required": True, "description": meaning,
                   "schema": schema}  # fmt: skip
    for name, meaning in route.parameters.items():
        yield {"name": name, "in": "query", "description": meaning, "schema": PARAMETERS[name]}
    for name in ("Sadik-Request-Id", *route.api.fields):
        schema, meaning = REQUEST_FIELDS[name]
        yield {"name": name, "in": "header", "description": meaning, "schema": schema}


def _responses(api: Api, method: str, *, is_asked: bool) -> Schema:
    described: dict[int, Schema] = {}
    refusals = {*_ANY, *api.refusals, *(_BODY if api.body is not None else ())}
    refusals = (refusals | set(_ASKED if is_asked else ())) - {*api.answers}
    for status in (*api.answers, *refusals):
        fields = ["Sadik-Request-Id"]
        if status in _ASKED:
            fields += _FIELDS_OF[status]
        elif api.is_object or status == 503:
            fields += ["Sadik-Node", *_FIELDS_OF.get(status, ())]
        answer: Schema = {
            "description": STATUSES[status],
            "headers": {name: _field(name) for name in fields},
        }
        if method != "HEAD" and status not in _NO_BODY:
            media, schema = api.answers.get(status, ("application/problem+json", "Problem"))
            answer["content"] = _content(media, schema)
        described[status] = answer
    return {str(status): described[status] for status in sorted(described)}


def _field(name: str) -> Schema:
    schema, meaning = ANSWER_FIELDS[name]
    return {"description": meaning, "schema": schema}


def _content(media: str, schema: str) -> Schema:
    if not media:
        return _BINARY
    if not schema:
        return {media: {}}
    if media == _NDJSON:
        # A body of many documents has no schema of its own in 3.1: this is of one line.
        return {media: {"x-line-schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
