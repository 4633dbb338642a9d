"""The description of the API: every route is in it, and it says what the routes do."""

import json
import re
from typing import Any

import pytest
from flask import Flask
from openapi_spec_validator import validate

from api.jobs.request import CreateJob
from api.openapi.document import document
from api.openapi.error_codes import faults
from api.openapi.operation import Operation
from api.openapi.refusals import errors_of
from api.openapi.schemas import meanings
from api.openapi.sections import operations
from tests.unit.api.conftest import Caller
from tests.unit.api.openapi.described import errors_in

PAGES = {"pages", "console"}
"""Blueprints whose routes are for people at a browser, and no part of the API."""
_NAMED, _IN_BRACES = re.compile(r"<(?:[a-z]+:)?([a-z_]+)>"), r"{\1}"
WHERE = "describe it in a module of api/openapi/sections/, then run `make docs`"


def routes(app: Flask) -> set[str]:
    """Every route of the API as the description calls it, such as ``GET /v1/jobs/{job_id}``."""
    return {
        f"{method} {_NAMED.sub(_IN_BRACES, rule.rule)}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static" and rule.endpoint.partition(".")[0] not in PAGES
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_route_is_described_and_the_other_way_round(app: Flask) -> None:
    described = {operation.call for operation in operations()}
    for missing in sorted(routes(app) - described):
        pytest.fail(f"{missing} is not described: {WHERE}")
    for gone in sorted(described - routes(app)):
        pytest.fail(f"{gone} is described in api/openapi/sections/, and is no route")


def test_the_document_is_openapi_and_what_the_api_serves(app: Flask) -> None:
    response = app.test_client().get("/openapi.json")
    assert response.mimetype == "application/json"
    assert response.json == document()
    validate(response.json)
    etag = response.headers["ETag"]
    again = app.test_client().get("/openapi.json", headers={"If-None-Match": etag})
    assert again.status_code == 304


def test_operations_have_names_of_their_own() -> None:
    names = [operation.name for operation in operations()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.call)
def test_an_operation_names_only_errors_that_come_with_its_statuses(operation: Operation) -> None:
    for status, codes in errors_of(operation).items():
        for code in codes:
            fault = faults("calls").get(code)
            if operation.name == "create_chat_completion":
                assert fault or code in faults("jobs"), f"{code}: add it to errors.toml"
                continue
            assert fault, f"{code}: add it to [calls] of api/openapi/error_codes.toml"
            assert status in fault.statuses, f"{code} comes with {fault.statuses}, not {status}"


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.call)
def test_every_example_is_what_its_schema_says(operation: Operation) -> None:
    said = document()["paths"][operation.path][operation.method.lower()]
    places = [said.get("requestBody", {}), *said["responses"].values()]
    for place in places:
        for media, content in place.get("content", {}).items():
            if "json" in media and "example" in content:
                assert errors_in(content["example"], content["schema"]) == []
    for parameter in said.get("parameters", ()):
        assert errors_in(parameter["example"], parameter["schema"]) == []


def test_every_parameter_of_a_path_is_described() -> None:
    for operation in operations():
        named = {p.name for p in operation.parameters if p.place == "path"}
        assert named == set(re.findall(r"{(\w+)}", operation.path)), operation.call


def test_every_link_leads_to_a_call_with_such_a_parameter() -> None:
    known = {operation.name: operation for operation in operations()}
    for operation in operations():
        for link in (link for answer in operation.answers for link in answer.links):
            parameters = {parameter.name for parameter in known[link.operation].parameters}
            assert set(link.parameters) <= parameters, (operation.call, link)


def test_every_field_of_a_request_has_a_meaning() -> None:
    components = document()["components"]["schemas"]
    for name, schema in components.items():
        if schema.get("additionalProperties") is False:
            assert set(meanings().get(name, ())) == set(schema["properties"]), (
                f"say in [{name}] of api/openapi/fields.toml what its fields mean"
            )


@pytest.mark.parametrize(
    "changes",
    [
        {"question": None},
        {"images": []},
        {"messages": [{"role": "user", "content": "?"}]},
        {"supersede": True},
        {"deadline": "soon"},
        {"stop": ["a"] * 5},
        {"images": [{}]},
        {"images": [{"data": "AAAA", "id": "img_1"}]},
        {"nonsense": 1},
    ],
    ids=json.dumps,
)
def test_the_schema_of_a_job_refuses_what_the_api_refuses(
    api: Caller, changes: dict[str, Any]
) -> None:
    sent = {"question": "?", "images": [{"data": "AAAA"}], **changes}
    schema = {"$ref": f"#/components/schemas/{CreateJob.__name__}"}
    assert errors_in(sent, schema)
    assert api("POST", "/v1/jobs", json=sent).status_code == 422
