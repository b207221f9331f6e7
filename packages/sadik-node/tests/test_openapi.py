"""The API's description: valid, complete, and true of what the server does."""

from __future__ import annotations

import json

import pytest
import trio
from openapi_spec_validator import OpenAPIV31SpecValidator

from node_fakes import site
from sadik_node.http.answers import STATUS_LINES
from sadik_node.http.api_schemas import ANSWER_FIELDS, PARAMETERS, SCHEMAS, STATUSES
from sadik_node.http.openapi import openapi_document
from sadik_node.http.routes import ROUTES


@pytest.mark.system  # the validator alone takes two seconds
def test_the_description_is_valid_openapi() -> None:
    OpenAPIV31SpecValidator(json.loads(json.dumps(openapi_document(ROUTES)))).validate()


def test_every_route_is_described_and_every_word_is_used() -> None:
    document = openapi_document(ROUTES)
    described = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert described == {(route.method, route.template) for route in ROUTES} | {
        ("HEAD", "/v1/kv/{bucket}/{key}")
    }
    text = json.dumps(document)
    for name in SCHEMAS:
        assert f'"#/components/schemas/{name}"' in text, name
    assert {name for route in ROUTES for name in route.parameters} == PARAMETERS.keys()
    assert STATUSES.keys() <= STATUS_LINES.keys()
    ids = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(ids) == len(set(ids))
    assert {"Sadik-Acks", "Sadik-Replies", "Retry-After"} <= ANSWER_FIELDS.keys()


async def test_a_node_serves_its_description() -> None:
    async with site() as here:
        with trio.fail_after(10):
            wire = await here.connect()
            got = await wire.ask(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (got.status, got.fields["content-type"]) == (200, "application/json")
    assert json.loads(got.body) == json.loads(json.dumps(openapi_document(ROUTES)))
